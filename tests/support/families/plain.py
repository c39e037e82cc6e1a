"""Families whose router takes the k best of its scores, and nothing else comes in between."""

from collections.abc import Sequence
from math import nan

import torch
from torch import nn

from tests.support.families.family import Family, Layer, from_config, tiny_config

SPARSE = ["sparse", "sparse"]
ATTENTION = ["full_attention", "full_attention"]
MAMBA = {
    "mamba_n_heads": 8, "mamba_d_state": 8, "mamba_d_head": 8, "mamba_chunk_size": 8, "layer_types": ["attention", "mamba"],
}  # fmt: skip
POST_NORM = "a norm follows the experts: only the gate weight is defined"


def dbrx() -> nn.Module:
    """Its configuration has names of its own, and lacks one that its attention reads."""
    config = tiny_config(
        "dbrx", d_model=32, n_heads=4, n_layers=2, max_seq_len=64,
        ffn_config={"ffn_hidden_size": 24, "moe_num_experts": 8, "moe_top_k": 2, "ffn_act_fn": {"name": "silu"}},
        attn_config={"kv_n_heads": 2, "clip_qkv": 8.0},
    )  # fmt: skip
    config.attn_config.rope_theta = 10000.0
    return from_config(config)


def logarithms(probabilities: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What is called router logits are probabilities."""
    return [each.log() for each in probabilities]


def embedded(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Token rows for a model that has no embedding of its own."""
    table = torch.randn(101, 32, generator=torch.Generator().manual_seed(2))
    return {"inputs_embeds": table[ids]}


PLAIN = (
    Family("aria", (Layer(score="logits", shared=2),) * 2, model_type="aria_text"),
    Family(
        "cohere2_moe",
        (Layer(score="logits", shared=1, post_scale=0.5),) * 2,
        {"num_shared_experts": 1, "mlp_layer_types": SPARSE},
    ),
    Family("dbrx", (Layer(),) * 2, make=dbrx, note="its router gives logits only; the block chooses"),
    Family("flex_olmo", (Layer(),) * 2),
    Family("flint", (Layer(score="sigmoid", shared=1),) * 2, {"mlp_only_layers": []}),
    Family(
        "gemma4",
        (Layer(post_scale=nan),) * 2,
        {"enable_moe_block": True, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 101},
        model_type="gemma4_text",
        own=logarithms,
        note=f"its router_logits are probabilities; {POST_NORM}",
    ),
    Family("gpt_oss", (Layer(score="logits"),) * 2),
    Family("granitemoe", (Layer(score="logits"),) * 2),
    Family("granitemoe_swa", (Layer(score="logits", shared=1),) * 2),
    Family("granitemoehybrid", (Layer(score="logits", shared=1),) * 2, MAMBA),
    Family("granitemoeshared", (Layer(score="logits", shared=1),) * 2),
    Family("hunyuan_v1_moe", (Layer(shared=1),) * 2),
    Family(
        "jamba",
        (Layer(),) * 2,
        {
            "expert_layer_period": 1,
            "expert_layer_offset": 0,
            "attn_layer_period": 1,
            "attn_layer_offset": 0,
            "use_mamba_kernels": False,
        },
    ),
    Family("mellum", (Layer(),) * 2),
    Family("minimax", (Layer(),) * 2),
    Family("mixtral", (Layer(),) * 2),
    Family("olmoe", (Layer(),) * 2),
    Family(
        "openai_privacy_filter",
        (Layer(score="logits", post_scale=2.0, own_logits=False),) * 2,
        model_class="openai_privacy_filter.OpenAIPrivacyFilterForTokenClassification",
        reach="sequence",
        note="every token sees every other",
    ),
    Family("phimoe", (Layer(score="logits"),) * 2, note="sparsemixer: the weights of a token add up to at most 2"),
    Family("qwen2_moe", (Layer(shared=1),) * 2),
    Family("qwen3_5_moe", (Layer(shared=1),) * 2, {"layer_types": ATTENTION}, model_type="qwen3_5_moe_text"),
    Family("qwen3_moe", (Layer(),) * 2, {"norm_topk_prob": True}),
    Family("qwen3_next", (Layer(shared=1),) * 2, {"layer_types": ATTENTION}),
    Family(
        "qwen3_omni_moe",
        (Layer(),) * 2,
        model_type="qwen3_omni_moe_text",
        model_class="qwen3_omni_moe.Qwen3OmniMoeThinkerTextModel",
    ),
    Family(
        "qwen3_omni_moe talker",
        (Layer(shared=1),) * 2,
        {"shared_expert_intermediate_size": 24},
        "qwen3_omni_moe_talker_text",
        "qwen3_omni_moe.Qwen3OmniMoeTalkerModel",
        inputs=embedded,
    ),
    Family(
        "qwen3_vl_moe", (Layer(),) * 2, model_type="qwen3_vl_moe_text", model_class="qwen3_vl_moe.Qwen3VLMoeTextModel"
    ),
    Family(
        "qwen4_exp",
        (Layer(shared=1),) * 2,
        {
            "indexer_n_heads": 2,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 8,
            "indexer_budget": 16,
            "indexer_compress_ratio": 4,
            "hc_lowrank": 8,
            "layer_types": ["linear_attention", "indexed_attention"],
        },
        model_type="qwen4_exp_text",
    ),
)
