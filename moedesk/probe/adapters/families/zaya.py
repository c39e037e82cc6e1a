"""ZAYA: its router has one class more than there are experts: skip. The experts get (id 0, weight 0) for it.

It is recorded as one more expert, the last: it computes nothing, and its weight is 0. So expert 0 isn't taken for busy, and a
skip isn't taken for a drop.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moedesk.probe.adapters.adapter import Adapter, Routing


def read(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Routing:
    """Read the router's ids; a softmax is never exactly 0 where it is the largest, so weight 0 is the skip."""
    logits, weights, ids, _ = output
    return Routing(ids.masked_fill(weights == 0, router.num_experts), weights, logits)


def write(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, routing: Routing) -> Any:
    """Return the router's output with other ids and weights; what is skipped or dropped is (id 0, weight 0)."""
    logits, weights, _, states = output
    none = (routing.ids < 0) | (routing.ids == router.num_experts)
    return logits, routing.weights.to(weights).masked_fill(none, 0), routing.ids.masked_fill(none, 0), states


def run_expert(block: Any, expert: int, rows: Tensor) -> Tensor:
    """Run one expert; the last one computes nothing."""
    experts = block.experts
    if expert == experts.num_experts:
        return torch.zeros_like(rows)
    gate, up = (rows @ experts.gate_up_proj[expert].T).chunk(2, dim=-1)
    return (experts.act_fn(gate) * up) @ experts.down_proj[expert].T


ADAPTERS = (
    Adapter(
        "zaya", ("ZayaSparseMoeBlock",), read, hook="gate", router="gate", experts="experts", write=write,
        run_expert=run_expert,
        n_experts=lambda block: block.gate.num_experts + 1, identity=1, post_scale=1.0,
    ),
)  # fmt: skip
