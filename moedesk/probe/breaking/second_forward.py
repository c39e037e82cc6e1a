"""What a layer's calls were changed to at stops, for the second forward that gradient checkpointing computes."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.notice import notice

KEPT = 64
"""Calls of a layer between a forward and its backward pass; beyond, a change is forgotten."""
_LOST = (
    "a forward that gradient checkpointing computed again does not route as the first one did; if something was changed there at "
    "a stop, its gradients lack it"
)
_ALIKE = (
    "gradient checkpointing computes one of several forwards of the same tokens again, of which some were changed at a stop: it "
    "is taken to be the newest that is due, as in one backward pass of all"
)
_TOLERANCE = 1e-3
"""Of weights that a device computes a second time."""


@dataclass(frozen=True)
class Rewrite:
    """What was made of a routing; of the same routing computed again it makes the same.

    Attributes
    ----------
    ids : (N, k) tensor or None
        Those that are used; None for the router's.
    own : (N, k) bool tensor
        Which weights are the router's, through which gradients flow.
    weights : (N, k) tensor
        The others, constants.
    """

    ids: Tensor | None
    own: Tensor
    weights: Tensor

    @classmethod
    def between(cls, given: Routing, used: Routing) -> Self:
        """Return what was made of ``given``."""
        weights = used.weights.detach()
        own = (weights == given.weights) | (weights.isnan() & given.weights.isnan())
        return cls(None if torch.equal(used.ids, given.ids) else used.ids, own, weights)

    def of(self, given: Routing) -> Routing:
        """Return what is used in place of a routing."""
        weights = given.weights if bool(self.own.all()) else torch.where(self.own, given.weights, self.weights)
        return replace(given, ids=given.ids if self.ids is None else self.ids, weights=weights)


@lru_cache(maxsize=8)
def _multipliers(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Numbers that tell places apart: whole ones, and some between 1 and 2."""
    places = torch.arange(1, count + 1, device=device)
    return places * -0x61C8864680B583EB, 1 + (places.double() * 0.6180339887498949) % 1


@dataclass
class _Call:
    """What tells a call of the layer from others, on its device, and what was made of it; None for nothing."""

    ids: Tensor
    weights: Tensor
    rewrite: Rewrite | None = None
    times: int = 0
    """How often it was computed again."""

    @classmethod
    @torch.no_grad()
    def of(cls, given: Routing, rewrite: Rewrite | None = None) -> Self:
        whole, real = _multipliers(given.ids.numel(), given.ids.device)
        ids = (given.ids.reshape(-1) * whole).sum()
        return cls(ids, (given.weights.reshape(-1).double().nan_to_num() * real).sum(), rewrite)

    def is_like(self, other: "_Call") -> bool:
        return bool((self.ids == other.ids) & torch.isclose(self.weights, other.weights, _TOLERANCE, 0.0))


class SecondForward:
    """The last calls of one layer that gradients may flow through.

    Which of them is computed again is told by the routing, which comes out the same. Several alike, as of the same tokens, are
    taken to be computed again the newest first, each as often as the others, as one backward pass does; that is said.

    Parameters
    ----------
    path : str
        Of the layer.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._calls: list[_Call] = []
        self._said: set[str] = set()

    @property
    def awaited(self) -> bool:
        """Whether a call that was changed may be computed again."""
        return any(call.rewrite is not None for call in self._calls)

    def note(self, given: Routing, rewrite: Rewrite | None) -> None:
        """Take note of a call."""
        self._calls.append(_Call.of(given, rewrite))
        del self._calls[:-KEPT]

    def again(self, given: Routing) -> Rewrite | None:
        """Return what is to be made of a call that is computed again."""
        if not self.awaited:
            return None
        this = _Call.of(given)
        same = [call for call in reversed(self._calls) if call.is_like(this)]
        if not same:
            self._say(_LOST)
            return None
        if len(same) > 1 and any(call.rewrite is not None for call in same):
            self._say(_ALIKE)
        call = min(same, key=lambda call: call.times)  # of several the newest
        call.times += 1
        return call.rewrite

    def _say(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            notice(f"{self._path}: {what}")
