"""Llama 4: a gate weight multiplies what an expert *receives*; every expert runs on every token, most of them on zeros."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.probe.adapters.adapter import Adapter, Routing


def read(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Routing:
    """Read the (N, E) scores, zero for all experts that were not chosen."""
    scores, logits = output
    weights, ids = scores.topk(router.top_k, dim=-1)
    return Routing(ids, weights, logits)


def write(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, routing: Routing) -> Any:
    """Return the router's output with other scores; what was dropped has none."""
    scores, logits = output
    weights = routing.weights.to(scores.dtype).masked_fill(routing.ids < 0, 0)
    return torch.zeros_like(scores).scatter_add_(1, routing.ids.clamp(min=0), weights), logits


def run_expert(block: Any, expert: int, rows: Tensor) -> Tensor:
    """Run one expert on rows that were multiplied by their weights already."""
    experts = block.experts
    if isinstance(experts, nn.ModuleList):
        return experts[expert](rows)
    gate, up = (rows @ experts.gate_up_proj[expert]).chunk(2, dim=-1)
    return (up * experts.act_fn(gate)) @ experts.down_proj[expert]


ADAPTERS = (
    Adapter(
        "llama4", ("Llama4TextMoe",), read, hook="router", router="router", experts="experts", write=write,
        run_expert=run_expert, weighs="inputs", n_experts=lambda block: block.num_experts, post_scale=1.0,
    ),
)  # fmt: skip
