"""JetMoE: experts in the feed-forward part *and* in attention, both behind one kind of router that sorts tokens by expert."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moedesk.probe.adapters.adapter import Adapter, Routing


def read(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Routing:
    """Put back in their slots what the router sorted by expert: slot ``order[i]`` has the expert that the i-th place is in."""
    order, _, gates, sizes, logits = output
    counts = torch.tensor(sizes, device=order.device) if isinstance(sizes, list) else sizes
    sorted_ids = torch.arange(len(sizes), device=order.device).repeat_interleave(counts, output_size=len(order))
    ids = torch.empty_like(order).scatter_(0, order, sorted_ids)
    weights = torch.empty_like(gates).scatter_(0, order, gates)
    return Routing(ids.view(-1, router.top_k), weights.view(-1, router.top_k), logits)


def write(router: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, routing: Routing) -> Any:
    """Return the router's output for other ids and weights, sorted by expert; what was dropped goes to expert 0 with weight 0."""
    _, _, gates, sizes, logits = output
    dropped = routing.ids < 0
    ids, order = routing.ids.masked_fill(dropped, 0).flatten().sort(0)  # as the router does
    counts = torch.bincount(ids, minlength=len(sizes))
    weights = routing.weights.to(gates).masked_fill(dropped, 0).flatten()[order]
    return order, order // router.top_k, weights, counts.tolist() if isinstance(sizes, list) else counts, logits


def run_expert(block: Any, expert: int, rows: Tensor) -> Tensor:
    """Run one expert of the feed-forward part, without the bias behind all of them."""
    gate, up = (rows @ block.input_linear.weight[expert].T).chunk(2, dim=-1)
    return (block.activation(gate) * up) @ block.output_linear.weight[expert].T


def _adapter(name: str, block: str, **parts: Any) -> Adapter:
    return Adapter(
        name, (block,), read, hook="router", router="router", n_experts=lambda module: module.router.num_experts,
        score="logits", post_scale=1.0, write=write, **parts,
    )  # fmt: skip


ADAPTERS = (_adapter("jetmoe", "JetMoeMoE", run_expert=run_expert), _adapter("jetmoe attention", "JetMoeMoA"))
