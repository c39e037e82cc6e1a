"""Routing that is spread over all experts: a weight for each, mostly zero, or one for each slot of an expert's capacity."""

import torch
from torch import Tensor

from moedesk.probe.adapters.adapter import Routing


def slots_of(weights: Tensor, slots: int) -> Routing:
    """Return ids and weights, the largest weight first, of (N, E) weights that are zero where an expert was not chosen.

    An empty slot has id -1 and weight 0. A row with more than ``slots`` experts gets the id E, which no expert has, so that it is
    found out where values may be looked at.
    """
    experts = weights.shape[-1]
    taken = min(slots + 1, experts)
    size, ids = weights.detach().abs().topk(taken, dim=-1)
    if taken > slots:
        more = size[:, -1:] != 0
        size, ids = size[:, :slots], torch.where(more, experts, ids[:, :slots])
    values = weights.detach().gather(-1, ids.clamp(max=experts - 1))
    return Routing(torch.where(size != 0, ids, -1), values)


def chosen_of(ids: Tensor, weights: Tensor, experts: int) -> Tensor:
    """Return (N, E) weights of (N, k) ids, summed where an expert has several slots; -1 is nobody's."""
    kept = ids >= 0
    spread = torch.zeros(ids.shape[0], experts, dtype=weights.dtype, device=weights.device)
    return spread.scatter_add_(-1, ids.long().clamp(min=0), torch.where(kept, weights, 0))


def picked_of(ids: Tensor, weights: Tensor, rows: int, experts: int) -> Tensor | None:
    """Return (N, E) weights of what each expert picked, or None if that is none.

    Parameters
    ----------
    ids, weights : (E, C), (batch, E, C), or the same with the last two axes the other way round
        Tokens, numbered in their sequence if there is a batch, and their weights.
    rows, experts : int
        Tokens in all, and experts.
    """
    if ids.shape[-2] != experts:
        ids, weights = ids.mT, weights.mT
    batch = ids.shape[0] if ids.ndim == 3 else 1
    length = rows // batch
    if rows % batch or not ids.numel() or int(ids.min()) < 0 or int(ids.max()) >= length:
        return None
    return spread_picks(ids, weights, rows, experts)


def spread_picks(ids: Tensor, weights: Tensor, rows: int, experts: int) -> Tensor:
    """Return the same without looking at values, so without waiting for a device."""
    if ids.shape[-2] != experts:
        ids, weights = ids.mT, weights.mT
    batch = ids.shape[0] if ids.ndim == 3 else 1
    spread = weights.new_zeros(batch, experts, rows // batch)
    spread.scatter_(-1, ids.long().reshape(batch, experts, -1), weights.detach().reshape(batch, experts, -1))
    return spread.mT.reshape(rows, experts)
