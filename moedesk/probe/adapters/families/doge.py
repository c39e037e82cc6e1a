"""Doge: E experts of one neuron each, rows of two embeddings; the choice is the best of √E + √E keys, added in pairs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from moedesk.probe.adapters.adapter import Adapter, Routing

WIDE = 4096
"""Experts up to which their added logits are kept: those of 16,384 would be 64 kB a token and layer."""


def read(block: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Routing:
    """Read the choice from the two logits that the block returns, by the block's own operations: nothing else leaves it."""
    logits = output[1]
    rows, keys = logits.shape[1], block.num_keys
    (scores_x, scores_y), (x, y) = logits.topk(keys, dim=-1)
    pairs = (scores_x.unsqueeze(-1) + scores_y.unsqueeze(-2)).view(rows, -1)
    numbers = (x.unsqueeze(-1) * keys + y.unsqueeze(-2)).view(rows, -1)
    best, places = pairs.topk(block.top_k, dim=-1)
    weights = best.softmax(-1)
    if block.norm_topk_prob:
        weights = weights / weights.sum(-1, keepdim=True)
    whole = (logits[0].unsqueeze(-1) + logits[1].unsqueeze(-2)).view(rows, -1) if keys * keys <= WIDE else None
    return Routing(numbers.gather(-1, places), weights, whole)


def run_expert(block: Any, expert: int, rows: Tensor) -> Tensor:
    """Run one expert: one neuron."""
    active = block.act_fn(rows @ block.down_embed.weight[expert])
    return active.unsqueeze(-1) * block.up_embed.weight[expert]


ADAPTERS = (
    Adapter(
        "doge", ("DogeCDMoE",), read, router="router_gate", run_expert=run_expert,
        n_experts=lambda block: block.num_keys**2, shared=1, score="logits", post_scale=1.0,
    ),
)  # fmt: skip
