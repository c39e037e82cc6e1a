"""Families that do something else altogether: capacity, weights before the experts, experts that are rows of an embedding."""

from typing import Any

from torch import Tensor

from tests.support.families.family import Family, Layer, some_ids


def translated(ids: Tensor) -> dict[str, Any]:
    """Both sides of an encoder-decoder model."""
    return {"input_ids": ids, "decoder_input_ids": some_ids(*ids.shape, seed=5)}


ENCODER, DECODER = (Layer(experts=4, top_k=1, stream=stream, own_logits=False) for stream in ("encoder", "decoder"))

UNUSUAL = (
    Family(
        "switch_transformers",
        (ENCODER,) * 4 + (DECODER,) * 4,
        {
            "d_model": 32,
            "d_ff": 48,
            "d_kv": 8,
            "num_heads": 4,
            "num_layers": 4,
            "num_decoder_layers": 4,
            "num_experts": 4,
            "expert_capacity": 3,
            "decoder_start_token_id": 0,
        },
        model_class="switch_transformers.SwitchTransformersForConditionalGeneration",
        inputs=translated,
        reach="sequence",
        note="an expert takes so many tokens of a sequence, the rest are dropped",
    ),
)
