"""Tiny random models of real families, with routers that spread and biases that matter."""

from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SIZES: dict[str, Any] = {
    "vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "num_experts": 8, "num_local_experts": 8,
    "n_routed_experts": 8, "moe_num_experts": 8, "num_experts_per_tok": 2, "moe_k": 2, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

FURTHER: dict[str, dict[str, Any]] = {
    "olmoe": {},
    "mixtral": {},
    "qwen3_moe": {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []},
    "deepseek_v3": {
        "num_hidden_layers": 3, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2, "n_shared_experts": 1,
        "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    },
    "gpt_oss": {"layer_types": ["full_attention", "sliding_attention"]},
    "qwen2_moe": {"shared_expert_intermediate_size": 24, "decoder_sparse_step": 1, "mlp_only_layers": []},
    "jamba": {
        "expert_layer_period": 1, "expert_layer_offset": 0, "attn_layer_period": 1, "attn_layer_offset": 0,
        "use_mamba_kernels": False,
    },
    "granitemoe": {},
    "glm4_moe": {"first_k_dense_replace": 1, "n_group": 4, "topk_group": 2, "n_shared_experts": 1},
    "ernie4_5_moe": {"moe_layer_start_index": 0, "moe_num_shared_experts": 2},
    "minimax": {},
    "phimoe": {},
    "minimax_m2": {},
    "lfm2_moe": {"num_dense_layers": 1, "layer_types": ["full_attention"] * 2},
    "cohere2_moe": {"shared_expert_combination_strategy": "average", "num_shared_experts": 1, "first_k_dense_replace": 0},
    "beam": {"num_hidden_layers": 4, "n_group": 4, "topk_group": 2},
    "gemma4_text": {
        "enable_moe_block": True, "top_k_experts": 2, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
        "vocab_size_per_layer_input": 101,
    },
    "dbrx": {
        "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64,
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 8, "moe_top_k": 2, "ffn_act_fn": {"name": "silu"}},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0},
    },
}  # fmt: skip

_ROUTING = ("gate", "router", "expert", "correction", "balanc", "proj")


def build(family: str, **changes: Any) -> nn.Module:
    """A tiny model of a family in evaluation mode; the same weights each time."""
    torch.manual_seed(0)
    if family == "switch_transformers":
        sizes = {
            "vocab_size": 101, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 4, "num_decoder_layers": 4,
            "num_experts": 4, "expert_capacity": 3, "pad_token_id": 0, "decoder_start_token_id": 0,
        }  # fmt: skip
        config = CONFIG_MAPPING[family](**{**sizes, **changes})
        model = transformers.SwitchTransformersForConditionalGeneration(config)
    else:
        sizes = {} if family == "dbrx" else SIZES
        config = CONFIG_MAPPING[family](**{**sizes, **FURTHER[family], **changes})
        if family == "dbrx":
            config.attn_config.rope_theta = 10000.0  # transformers 5.23 forgets it
        model = AutoModelForCausalLM.from_config(config)
    _spread(model)
    return model.eval()


def _spread(model: nn.Module) -> None:
    """Make routers decide differently for different tokens, and selection biases change the choice."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point() or "norm" in name:
                continue
            if "bias" in name and any(word in name for word in ("gate", "router", "correction", "expert")):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
            elif tensor.ndim >= 2 and any(word in name for word in _ROUTING):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)


def some_ids(batch: int = 2, length: int = 9, seed: int = 3) -> torch.Tensor:
    """(batch, length) token ids without special ones."""
    return torch.randint(3, 100, (batch, length), generator=torch.Generator().manual_seed(seed))
