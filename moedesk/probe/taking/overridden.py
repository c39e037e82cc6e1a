"""Which rows an override changed: said by what changes them to every recording of the model, beside the routing itself.

Layers' hooks see what is used, changed or not; this is how they learn which rows would have been others.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override, noted
from moedesk.probe.taking.tap import Current, recomputing

MOST_NOTED = 200
"""Overrides of which a recording notes that they were on; of a loop over thousands, the first ones."""
_currents: "weakref.WeakSet[Current]" = weakref.WeakSet()


class Changed(NamedTuple):
    """What overrides changed in one call of a layer.

    Attributes
    ----------
    rows : (N,) bool tensor
        Whose ids or weights are others than without them.
    dropped : (N, k) bool tensor or None
        Slots that lost their expert; experts can't be told of a slot without one, so they get weight 0 there.
    by : tuple of Override
        What acted.
    """

    rows: Tensor
    dropped: Tensor | None = None
    by: tuple[Override, ...] = ()

    def through(self, take: Callable[[Tensor], Tensor]) -> "Changed":
        """Return it with its tensors taken to the host."""
        dropped = None if self.dropped is None else take(self.dropped)
        return self._replace(rows=take(self.rows), dropped=dropped)


def listen(current: Current) -> None:
    """Have the recording behind ``current`` told from now on, as long as it lives."""
    _currents.add(current)


def say(experts: nn.Module, changed: Changed, in_place_of_last: bool = False) -> None:
    """Tell what was changed in the call that is under way of the layer with these experts, once for each of its calls.

    Parameters
    ----------
    in_place_of_last : bool
        Whether something was told of this call already, which ``changed`` includes.
    """
    if recomputing():
        return
    for current in tuple(_currents):
        tap = current.tap
        if tap is not None:
            calls = tap.overridden.setdefault(experts, [])
            if in_place_of_last and calls:
                calls[-1] = changed
            else:
                calls.append(changed)


class Noted:
    """Has a recording note which overrides were on, each once.

    Parameters
    ----------
    note : function
        Takes a line.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._known: set[Override] = set()

    def take(self, changed: Mapping[nn.Module, Sequence[Changed]]) -> None:
        """Take what acted in a pass."""
        for override in (override for calls in changed.values() for call in calls for override in call.by):
            if override not in self._known and len(self._known) < MOST_NOTED:
                self._known.add(override)
                self._note(noted(override))


class Marks:
    """What was changed of one layer in a whole pass, on the host.

    Parameters
    ----------
    calls : sequence of Changed
        Of the layer's calls, in their order.
    """

    def __init__(self, calls: Sequence[Changed]) -> None:
        self._rows = np.concatenate([call.rows.cpu().numpy() for call in calls])
        dropped = [call.dropped for call in calls]
        some = next((part for part in dropped if part is not None), None)
        self._dropped: npt.NDArray[np.bool_] | None = None
        if some is not None:
            parts = [
                np.zeros((len(call.rows), some.shape[1]), bool) if part is None else part.cpu().numpy()
                for call, part in zip(calls, dropped, strict=True)
            ]
            self._dropped = np.concatenate(parts)

    def drop(self, ids: np.ndarray, weights: np.ndarray | None, margin: np.ndarray | None) -> None:
        """Write -1 into (N, k) ids where a slot lost its expert; in place, like the rest of what belongs to such a slot."""
        if self._dropped is None or self._dropped.shape != ids.shape:
            return
        ids[self._dropped] = -1
        if weights is not None:
            weights[self._dropped] = 0
        if margin is not None:
            margin[self._dropped.any(-1)] = np.nan

    def mark(self, flags: npt.NDArray[np.uint8]) -> bool:
        """Set ``OVERRIDDEN`` in (N,) flags; return whether rows and flags fit together."""
        seen = np.flatnonzero((flags & RouteFlag.ABSENT) == 0)
        if len(self._rows) not in (len(flags), len(seen)):
            return False
        places = np.flatnonzero(self._rows) if len(self._rows) == len(flags) else seen[self._rows]
        flags[places] |= np.uint8(RouteFlag.OVERRIDDEN)
        return True
