"""What overrides do to a routing on its way to the experts. On the device, without waiting for it."""

from math import ceil

import numpy as np
import torch
from torch import Tensor

from moedesk.core.override import Override, OverrideKind
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.overriding.forcing import with_forced

Rows = Tensor | None
"""(N,) bool: the rows that an override acts on; None for all."""
ONE = torch.tensor([False]), torch.tensor([True])
"""Whether the only row, on the host, differs; nobody writes to them."""


def rows_differing(*pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Return (N,) which rows differ in any pair of (…, k) tensors; nobody may write to it."""
    first = pairs[0][0]
    pairs = tuple([(one, other) for one, other in pairs if one is not other])
    if (
        first.numel() == first.shape[-1] and first.is_cpu
    ):  # nobody has to wait, and one token a pass is when Python's time shows
        return ONE[any(not torch.equal(one, other) for one, other in pairs)]
    if not pairs:
        return torch.zeros(first.shape[:-1].numel(), dtype=torch.bool, device=first.device)
    parts = [(one != other).any(-1).view(-1) for one, other in pairs]
    return parts[0] if len(parts) == 1 else parts[0] | parts[1]


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
            return _with(routing, weights=routing.weights.masked_fill(_hit(override, routing, rows), 0))
        case OverrideKind.SCALE:
            assert override.value is not None
            scaled = routing.weights * override.value
            return _with(routing, weights=torch.where(_hit(override, routing, rows), scaled, routing.weights))
        case OverrideKind.SWAP:
            (one, other), ids = override.experts, routing.ids
            swapped = ids.masked_fill(ids == one, other).masked_fill(ids == other, one)
            return _with(routing, ids=swapped if rows is None else torch.where(rows[:, None], swapped, ids))
        case OverrideKind.FORCE:
            forced = with_forced(routing.ids, override.experts, routing.weights.detach())
            return _with(routing, ids=forced if rows is None else torch.where(rows[:, None], forced, routing.ids))
        case OverrideKind.CAPACITY:
            assert override.value is not None
            return _limited(routing, override.value, experts)
    raise AssertionError(override.kind)


def _with(routing: Routing, ids: Tensor | None = None, weights: Tensor | None = None) -> Routing:
    """The routing with these; a fifth of the time of ``dataclasses.replace``."""
    return Routing(routing.ids if ids is None else ids, routing.weights if weights is None else weights, routing.logits)


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
    if ids.is_cpu:
        if len(ids) == 1 and len(set(row := ids.tolist()[0])) == len(row):  # one slot of each expert
            return routing
        late = _late_on_host(ids, room)
        if late is None:
            return routing
    else:
        late = _late(ids, room, experts)
    return _with(routing, ids.masked_fill(late, -1), routing.weights.masked_fill(late, 0))


def _late(ids: Tensor, room: int, experts: int) -> Tensor:
    """Which slots come after the first so many of their expert."""
    flat = ids.reshape(-1)
    ordered, order = flat.sort(stable=True)
    first = torch.searchsorted(ordered, torch.arange(experts, device=ids.device, dtype=ordered.dtype))
    place = torch.arange(len(flat), device=ids.device) - first[ordered.clamp(min=0).long()]
    return torch.empty_like(flat, dtype=torch.bool).scatter_(0, order, (place >= room) & (ordered >= 0)).view_as(ids)


def _late_on_host(ids: Tensor, room: int) -> Tensor | None:
    """The same of ids on the host, in a tenth of the time; None if no slot does."""
    flat = ids.numpy().reshape(-1) + 2  # -1 has no expert, nor has -2
    counts = np.bincount(flat)
    if not (counts[2:] > room).any():
        return None
    order = flat.astype(np.uint16).argsort(kind="stable")  # sorted by digits, as wider integers are not
    ordered = flat[order]
    place = np.arange(len(flat)) - (counts.cumsum() - counts)[ordered]
    late = np.empty(len(flat), np.bool_)
    late[order] = (place >= room) & (ordered > 1)
    return torch.from_numpy(late).view(ids.shape)
