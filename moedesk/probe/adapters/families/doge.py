"""Doge: E experts of one neuron each, rows of two embeddings; the choice is the best of √E + √E keys, added in pairs."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
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
    whole = _added(logits) if keys * keys <= WIDE else None
    return Routing(numbers.gather(-1, places), _weights(block, best), whole)


def select(
    block: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, edit: Callable[[Tensor], Tensor]
) -> Routing:
    """Choose the best pairs of other logits: all pairs are candidates, so no pair of keys is left out before."""
    best, ids = edit(_added(output[1])).topk(block.top_k, dim=-1)
    return Routing(ids, _weights(block, best))


def _added(logits: Tensor) -> Tensor:
    """(N, E) logits of all pairs of keys."""
    return (logits[0].unsqueeze(-1) + logits[1].unsqueeze(-2)).view(logits.shape[1], -1)


def _weights(block: Any, best: Tensor) -> Tensor:
    weights = best.softmax(-1)
    return weights / weights.sum(-1, keepdim=True) if block.norm_topk_prob else weights


def write(block: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, routing: Routing) -> Any:
    """Run everything behind the choice again with another one, by the block's own operations: no module receives it."""
    given = args[0] if args else kwargs["hidden_states"]
    rows, dropped = given.reshape(-1, given.shape[-1], 1), routing.ids < 0
    ids, weights = routing.ids.clamp(min=0), routing.weights.masked_fill(dropped, 0)
    active = block.act_fn(torch.matmul(block.down_embed(ids), rows).flatten(1)) * weights
    routed = torch.matmul(active.unsqueeze(1), block.up_embed(ids)).view(given.shape)
    shared = block.down_proj(block.act_fn(block.gate_proj(given)) * block.up_proj(given))
    return shared + routed, *output[1:]


def run_expert(block: Any, expert: int, rows: Tensor) -> Tensor:
    """Run one expert: one neuron."""
    active = block.act_fn(rows @ block.down_embed.weight[expert])
    return active.unsqueeze(-1) * block.up_embed.weight[expert]


ADAPTERS = (
    Adapter(
        "doge", ("DogeCDMoE",), read, router="router_gate", write=write, select=select, run_expert=run_expert,
        n_experts=lambda block: block.num_keys**2, shared=1, score="logits", post_scale=1.0,
    ),
)  # fmt: skip
