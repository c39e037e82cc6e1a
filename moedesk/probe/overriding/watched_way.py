"""Where the routing of a watched block is changed, while it calculates it: places in its operations, found out and tried."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.adapters.dense_routing import chosen_of, slots_of
from moedesk.probe.overriding.way import Way
from moedesk.probe.watched.operations import Place
from moedesk.probe.watched.plan import Plan


@dataclass(frozen=True, eq=False)
class WatchedWay:
    """How one block goes from a score to what its experts do, in training or in evaluation.

    Attributes
    ----------
    names : tuple of str
        The operations up to the last place: as long as they are the same, the places hold the same.
    plan : Plan
        Where the routing is read, if ``weights`` is None.
    ids : Place or None
        Where (N, k) ids come by first; None if there are none, or they don't say where tokens go.
    weights : Place or None
        Where weights come by that the block uses as they are; None if no such place was found: then only what experts return
        can be changed.
    dense : bool
        Whether these weights are (N, E), zero where an expert wasn't chosen, or (N, k) beside the ids.
    moves : bool
        Whether tokens go to other experts if other ids are put there.
    score : Way or None
        Where the score is changed.
    """

    names: tuple[str, ...]
    plan: Plan
    ids: Place | None = None
    weights: Place | None = None
    dense: bool = False
    moves: bool = False
    score: Way | None = None

    @property
    def places(self) -> frozenset[Place]:
        """All that have to be seen."""
        if self.weights is None:
            return frozenset(self.plan.places)
        return frozenset(place for place in (self.ids, self.weights) if place is not None)

    def at(self, names: tuple[str, ...], ids: Place | None, weights: Place, dense: bool) -> "WatchedWay":
        """Return the way that changes ids and weights at these places."""
        last = max(weights.step, -1 if ids is None else ids.step)
        return replace(self, names=names[: last + 1], ids=ids, weights=weights, dense=dense)

    def with_slots(self, number: int) -> "WatchedWay":
        """Return the way with another number of slots a token; 0 for its own."""
        return replace(self, plan=replace(self.plan, slots=number)) if number else self

    def read(self, taken: dict[Place, Tensor], rows: int) -> Routing:
        """Return the (N, k) routing in what came by at the places; gradients of the weights are kept where they are written."""
        if self.weights is None:
            return self.plan.read({place: value.detach() for place, value in taken.items()}, rows)
        weights = taken[self.weights].reshape(rows, -1)
        if self.ids is None:
            return slots_of(weights, self.plan.slots)
        ids = taken[self.ids].detach().reshape(rows, -1).long()
        if not self.dense:
            return Routing(ids, weights)
        weights = weights.gather(1, ids)
        if self.plan.ids is not None:
            return Routing(ids, weights)
        order = weights.detach().abs().argsort(dim=-1, descending=True, stable=True)  # as a recording has them
        return Routing(ids.gather(1, order), weights.gather(1, order))

    def as_ids(self, ids: Tensor, own: Tensor, like: Tensor) -> Tensor:
        """Return (N, k) ids in the form that they have at their place, where the block's own ones came by."""
        return filled(ids, own, self.plan.experts).to(like.dtype).reshape(like.shape)

    def as_weights(self, routing: Routing, like: Tensor) -> Tensor:
        """Return the weights of a routing, 0 in dropped slots, in the form that they have at their place."""
        weights = routing.weights
        if self.dense:
            weights = chosen_of(routing.ids, weights, self.plan.experts)
        return weights.to(like.dtype).reshape(like.shape)


def filled(ids: Tensor, own: Tensor, experts: int) -> Tensor:
    """Return (N, k) ids with an expert in each dropped slot, since a block's code needs one there: the one that the block chose
    for this slot, so that its experts run on the same rows, or one that the row doesn't have.
    """
    dropped = ids < 0
    free = ~(own.unsqueeze(-1) == ids.unsqueeze(-2)).any(-1)
    ids = torch.where(dropped & free, own, ids)
    dropped = ids < 0
    used = torch.zeros(len(ids), experts + 1, dtype=torch.bool, device=ids.device)
    used = used.scatter_(1, torch.where(dropped, experts, ids), True)[:, :experts]
    numbers = torch.arange(experts, device=ids.device)
    unused = torch.where(used, experts - 1, numbers).sort(-1).values
    turn = (dropped.cumsum(-1) - 1).clamp(0, experts - 1)
    return torch.where(dropped, unused.gather(1, turn), ids)
