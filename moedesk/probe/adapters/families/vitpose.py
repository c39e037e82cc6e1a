"""ViTPose++: no router; the caller says which data set an image is of, and that is the expert of all its patches."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moedesk.probe.adapters.adapter import Adapter, Routing


def read(block: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Routing:
    """Read the index that the block was called with, one an image; all experts run, the others' output is multiplied by zero."""
    hidden = args[0] if args else kwargs["hidden_state"]
    indices = kwargs["indices"] if "indices" in kwargs else args[1]
    ids = indices.reshape(-1, 1, 1).expand(-1, hidden.shape[1], 1).to(torch.int64)
    return Routing(ids, torch.ones_like(ids, dtype=hidden.dtype))


def run_expert(block: Any, expert: int, rows: Tensor) -> Tensor:
    """Run one expert, on what the block's first layer gives."""
    return block.experts[expert](rows)


ADAPTERS = (
    Adapter(
        "vitpose_backbone", ("VitPoseBackboneMoeMLP",), read, experts="experts", run_expert=run_expert,
        n_experts=lambda block: block.num_experts, selection="given", score="given", stream="vision", shared=1,
        post_scale=1.0,
    ),
)  # fmt: skip
