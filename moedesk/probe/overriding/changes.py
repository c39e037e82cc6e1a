"""What overrides do to a routing on its way to the experts. On the device, without waiting for it."""

from dataclasses import replace
from math import ceil

import torch
from torch import Tensor

from moedesk.core.override import Override, OverrideKind
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.overriding.forcing import with_forced

Rows = Tensor | None
"""(N,) bool: the rows that an override acts on; None for all."""


def changed_routing(override: Override, routing: Routing, rows: Rows, experts: int) -> Routing:
    """Return what an override of this sort makes of a routing; gradients of its weights flow on.

    Parameters
    ----------
    override : Override
        That ablates, scales, swaps or limits experts, or forces them where the caller gives the choice.
    routing : Routing
        (N, k) ids and weights.
    rows : (N,) bool tensor or None
    experts : int
        Of the layer.
    """
    match override.kind:
        case OverrideKind.ABLATE:
            return replace(routing, weights=routing.weights.masked_fill(_hit(override, routing, rows), 0))
        case OverrideKind.SCALE:
            assert override.value is not None
            scaled = routing.weights * override.value
            return replace(routing, weights=torch.where(_hit(override, routing, rows), scaled, routing.weights))
        case OverrideKind.SWAP:
            one, other = override.experts
            swapped = torch.where(routing.ids == one, other, torch.where(routing.ids == other, one, routing.ids))
            return replace(routing, ids=swapped if rows is None else torch.where(rows[:, None], swapped, routing.ids))
        case OverrideKind.FORCE:
            forced = with_forced(routing.ids, override.experts, routing.weights.detach())
            return replace(routing, ids=forced if rows is None else torch.where(rows[:, None], forced, routing.ids))
        case OverrideKind.CAPACITY:
            assert override.value is not None
            return _limited(routing, override.value, experts)
    raise AssertionError(override.kind)


def _hit(override: Override, routing: Routing, rows: Rows) -> Tensor:
    """(N, k) slots that hold one of the experts."""
    ids = routing.ids
    hit = ids == override.experts[0]
    for expert in override.experts[1:]:
        hit = hit | (ids == expert)
    return hit if rows is None else hit & rows[:, None]


def _limited(routing: Routing, factor: float, experts: int) -> Routing:
    """Drop what is beyond the first ceil(factor · N · k / E) slots of each expert, in token order."""
    ids = routing.ids
    room = ceil(factor * ids.numel() / experts)
    flat = ids.reshape(-1)
    ordered, order = flat.sort(stable=True)
    first = torch.searchsorted(ordered, torch.arange(experts, device=ids.device, dtype=ordered.dtype))
    place = torch.arange(len(flat), device=ids.device) - first[ordered.clamp(min=0).long()]
    late = torch.empty_like(flat, dtype=torch.bool).scatter_(0, order, (place >= room) & (ordered >= 0)).view_as(ids)
    return replace(routing, ids=ids.masked_fill(late, -1), weights=routing.weights.masked_fill(late, 0))
