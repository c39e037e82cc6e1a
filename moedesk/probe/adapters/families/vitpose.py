"""ViTPose++: no router; the caller says which data set an image is of, and that is the expert of all its patches."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moedesk.probe.adapters.adapter import Adapter, Routing


def read(experts: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Routing:
    """Read the index that the experts were called with, one an image; all run, the others' output is multiplied by zero."""
    hidden, indices = _given(*args, **kwargs)
    ids = indices.reshape(-1, 1, 1).expand(-1, hidden.shape[1], 1).to(torch.int64)
    return Routing(ids, torch.ones_like(ids, dtype=hidden.dtype))


def write(experts: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, routing: Routing) -> Any:
    """Run the experts again, as they do it, but with the weight that each token has at each of them, in place of one or zero."""
    hidden, _ = _given(*args, **kwargs)
    ids, weights = (part.reshape(*hidden.shape[:2], 1) for part in (routing.ids, routing.weights.to(hidden.dtype)))
    total = torch.zeros_like(output)
    for number, expert in enumerate(experts):
        total = total + expert(hidden) * torch.where(ids == number, weights, 0)
    return total


def _given(hidden_state: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """The arguments of the experts' call, whichever have their names."""
    return hidden_state, indices


def run_expert(block: Any, expert: int, rows: Tensor) -> Tensor:
    """Run one expert, on what the block's first layer gives."""
    return block.experts[expert](rows)


ADAPTERS = (
    Adapter(
        "vitpose_backbone", ("VitPoseBackboneMoeMLP",), read, hook="experts", experts="experts",
        write=write, run_expert=run_expert,
        n_experts=lambda block: block.num_experts, selection="given", score="given", stream="vision", shared=1,
        post_scale=1.0,
    ),
)  # fmt: skip
