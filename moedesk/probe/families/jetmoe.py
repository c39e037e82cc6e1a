"""JetMoE: experts in the feed-forward part *and* in attention, both behind one kind of router that sorts tokens by expert."""

from collections.abc import Mapping
from typing import Any

import torch

from moedesk.probe.adapter import Adapter, Routing


def read(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Routing:
    """Put back in their slots what the router sorted by expert: slot ``order[i]`` has the expert that the i-th place is in."""
    order, _, gates, sizes, logits = output
    counts = torch.tensor(sizes, device=order.device) if isinstance(sizes, list) else sizes
    sorted_ids = torch.arange(len(sizes), device=order.device).repeat_interleave(counts, output_size=len(order))
    ids = torch.empty_like(order).scatter_(0, order, sorted_ids)
    weights = torch.empty_like(gates).scatter_(0, order, gates)
    return Routing(ids.view(-1, router.top_k), weights.view(-1, router.top_k), logits)


def _adapter(name: str, block: str) -> Adapter:
    return Adapter(
        name, (block,), read, hook="router", router="router", n_experts=lambda module: module.router.num_experts,
        score="logits", post_scale=1.0,
    )  # fmt: skip


ADAPTERS = (_adapter("jetmoe", "JetMoeMoE"), _adapter("jetmoe attention", "JetMoeMoA"))
