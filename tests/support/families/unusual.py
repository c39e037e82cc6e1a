"""Families that do something else altogether: capacity, weights before the experts, experts that are rows of an embedding."""

from typing import Any

import torch
from torch import Tensor

from tests.support.families import oracles
from tests.support.families.family import Family, Layer, some_ids


def translated(ids: Tensor) -> dict[str, Any]:
    """Both sides of an encoder-decoder model."""
    return {"input_ids": ids, "decoder_input_ids": some_ids(*ids.shape, seed=5)}


def pictured(ids: Tensor) -> dict[str, Any]:
    """Two pictures of other data sets; the ids only vary them."""
    pixels = torch.randn(2, 3, 32, 16, generator=torch.Generator().manual_seed(int(ids[0, -1])))
    return {"pixel_values": pixels, "dataset_index": torch.tensor([1, 3])}


def two_streams(layers: int, **layer: Any) -> tuple[Layer, ...]:
    """So many layers in the encoder, and as many in the decoder."""
    encoder, decoder = (Layer(**layer, stream=stream) for stream in ("encoder", "decoder"))
    return (encoder,) * layers + (decoder,) * layers


FEED_FORWARD = Layer(score="logits", adapter="jetmoe")
ATTENTION = Layer(score="logits", adapter="jetmoe attention")

UNUSUAL = (
    Family(
        "switch_transformers",
        two_streams(4, experts=4, top_k=1, own_logits=False),
        {
            "d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 4, "num_decoder_layers": 4,
            "num_experts": 4, "expert_capacity": 3, "decoder_start_token_id": 0,
        },
        model_class="switch_transformers.SwitchTransformersForConditionalGeneration",
        inputs=translated,
        reach="sequence",
        note="an expert takes so many tokens of a sequence, the rest are dropped",
    ),
    Family(
        "zaya",
        (Layer(score="softmax+bias", experts=9, top_k=1, identity=1, adapter="zaya"),) * 2,
        {"num_experts_per_tok": 1, "router_hidden_size": 16},
        watching=oracles.watcher("ZayaSparseMoeBlock", oracles.zaya),
        note="skip is one more expert, the last: it computes nothing, and its weight is 0",
    ),
    Family(
        "llama4",
        (Layer(score="logits", shared=1, adapter="llama4"),) * 2,
        model_type="llama4_text",
        watching=oracles.watcher("Llama4TextMoe", oracles.llama4),
        note="weights multiply what an expert receives",
    ),
    Family(
        "jetmoe",
        (FEED_FORWARD, ATTENTION) * 2,
        {"kv_channels": 8, "num_key_value_heads": 2},
        watching=oracles.jetmoe_both,
        own=lambda given: [given[place] for place in (2, 1, 5, 4)],  # attention's are recorded twice
        note="experts in the attention too",
    ),
    Family(
        "doge",
        (Layer(score="logits", experts=16, shared=1, adapter="doge"),) * 2,
        {"is_moe": True, "num_experts": 16},
        watching=oracles.watcher("DogeCDMoE", oracles.doge),
        own=lambda given: [(x.unsqueeze(2) + y.unsqueeze(1)).flatten(1) for x, y in given],
        reach="batch",
        note="an expert is one neuron; its router mixes up the tokens of a batch",
    ),
    Family(
        "nllb_moe",
        two_streams(2, score="unknown", adapter="nllb_moe", post_scale=0.8, own_logits=False),
        {
            "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_experts": 8, "encoder_sparse_step": 1,
            "decoder_sparse_step": 1, "moe_token_dropout": 0.2, "decoder_start_token_id": 2,
        },
        model_type="nllb-moe",
        model_class="nllb_moe.NllbMoeForConditionalGeneration",
        inputs=translated,
        watching=oracles.watcher("NllbMoeSparseMLP", oracles.nllb_moe),
        reach="batch",
        note="transformers runs expert 1 and 0 for every token: recorded is what ran, logits show what was meant",
    ),
    Family(
        "vitpose_backbone",
        (
            Layer(
                experts=4, top_k=1, shared=1, score="given", selection="given", stream="vision",
                adapter="vitpose_backbone", own_logits=False,
            ),
        ) * 2,
        {"image_size": (32, 16), "patch_size": (8, 8), "mlp_ratio": 2, "num_experts": 4, "part_features": 8},
        model_class="vitpose_backbone.VitPoseBackbone",
        inputs=pictured,
        watching=oracles.watcher("VitPoseBackboneMoeMLP", oracles.vitpose),
        tells_logits=False,
        reach="batch",
        note="no router: the caller says which expert an image goes to",
    ),
)  # fmt: skip
