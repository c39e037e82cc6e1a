"""Which rows an override changed: said by what changes them to every recording of the model, beside the routing itself.

Layers' hooks see what is used, changed or not; this is how they learn which rows would have been others.
"""

import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override
from moedesk.probe.taking.tap import Current, Tap, recomputing

T = TypeVar("T")

_currents: tuple["weakref.ref[Current]", ...] = ()
"""What listens; a tuple, since it is gone through in every call of an overridden layer."""
_lock = threading.Lock()


class Later(ABC):
    """Which rows were changed, where that is worked out when somebody asks."""

    __slots__ = ()

    @property
    @abstractmethod
    def is_cpu(self) -> bool:
        """Whether it is about rows on the host."""

    @abstractmethod
    def rows(self) -> Tensor:
        """Return (N,) bools; nobody may write to it."""


def rows_of(rows: Tensor | Later) -> Tensor:
    """Return (N,) bools, worked out if they weren't yet."""
    return rows if isinstance(rows, Tensor) else rows.rows()


def taken(waiting: deque[T]) -> list[T]:
    """Take what is in a queue by now out of it; another thread may be adding."""
    return [waiting.popleft() for _ in range(len(waiting))]


class Changed(NamedTuple):
    """What overrides changed in one call of a layer.

    Attributes
    ----------
    rows : (N,) bool tensor, or Later
        Whose ids or weights are others than without them.
    ids, weights : (N, k) tensors or None
        What is used, where hooks can't see it: experts can't be told of a slot without one, and some routers' outputs don't say
        which expert has no weight.
    by : tuple of Override
        What acted.
    ranked : bool
        Whether the score that was ranked follows from the logits as it does without overrides; if not, there is no margin.
    """

    rows: Tensor | Later
    ids: Tensor | None = None
    weights: Tensor | None = None
    by: tuple[Override, ...] = ()
    ranked: bool = True

    def through(self, take: Callable[[Tensor], Tensor]) -> "Changed":
        """Return it with its tensors taken to the host; what is worked out later there stays so."""
        if self.ids is None and self.rows.is_cpu:
            return self
        ids, weights = (None if part is None else take(part) for part in (self.ids, self.weights))
        waits = isinstance(self.rows, Later) and self.rows.is_cpu
        return self._replace(rows=self.rows if waits else take(rows_of(self.rows)), ids=ids, weights=weights)

    def now(self) -> "Changed":
        """Return it with its rows worked out."""
        return self._replace(rows=rows_of(self.rows))


def listen(current: Current) -> None:
    """Have the recording behind ``current`` told from now on, as long as it lives."""
    global _currents
    with _lock:
        _currents = (*(known for known in _currents if known() not in (None, current)), weakref.ref(current))


def heard() -> bool:
    """Return whether anything is recording."""
    for known in _currents:
        current = known()
        if current is not None and current.tap is not None:
            return True
    return False


def listening() -> Sequence[Tap]:
    """Return the taps of the passes that are recorded now."""
    taps = []
    for known in _currents:
        current = known()
        if current is not None and current.tap is not None:
            taps.append(current.tap)
    return taps


def say(experts: nn.Module, changed: Changed, in_place_of_last: bool = False) -> None:
    """Tell what was changed in the call that is under way of the layer with these experts, once for each of its calls.

    Parameters
    ----------
    in_place_of_last : bool
        Whether something was told of this call already, which ``changed`` includes.
    """
    if recomputing():
        return
    for known in _currents:
        current = known()
        tap = None if current is None else current.tap
        if tap is not None:
            calls = tap.overridden.setdefault(experts, [])
            if in_place_of_last and calls:
                calls[-1] = changed
            else:
                calls.append(changed)


def acted(changed: Mapping[nn.Module, Sequence[Changed]]) -> tuple[Override, ...]:
    """Return what acted in a pass, each once, in the order in which it first did."""
    every = {id(override): override for calls in changed.values() for call in calls for override in call.by}
    return tuple(
        dict.fromkeys(every.values())
    )  # those of all layers are the same few objects: hashing each would cost more


class Marks:
    """What was changed of one layer in a whole pass, on the host.

    Parameters
    ----------
    calls : sequence of Changed
        Of the layer's calls, in their order.
    """

    def __init__(self, calls: Sequence[Changed]) -> None:
        rows = [_array(rows_of(call.rows)) for call in calls]
        self._rows = rows[0] if len(rows) == 1 else np.concatenate(rows)
        self._ranked = [(len(part), call.ranked) for part, call in zip(rows, calls, strict=True)]
        self._used: tuple[np.ndarray, np.ndarray] | None = None
        if all(call.ids is not None and call.weights is not None for call in calls):
            ids = np.concatenate([_array(call.ids) for call in calls if call.ids is not None])
            weights = np.concatenate([_array(call.weights.float()) for call in calls if call.weights is not None])
            self._used = ids, weights

    def correct(self, ids: np.ndarray, weights: np.ndarray | None, margin: np.ndarray | None) -> None:
        """Write what is used into (N, k) ids and weights, where it is known better; in place. A dropped slot has no margin."""
        if margin is not None and len(margin) == len(self._rows):
            first = 0
            for count, ranked in self._ranked:
                if not ranked:
                    margin[first : first + count] = np.nan
                first += count
        if self._used is None or self._used[0].shape != ids.shape:
            return
        ids[:] = self._used[0]
        if weights is not None:
            weights[:] = self._used[1]
        if margin is not None:
            margin[(ids < 0).any(-1)] = np.nan

    def mark(self, flags: npt.NDArray[np.uint8]) -> bool:
        """Set ``OVERRIDDEN`` in (N,) flags; return whether rows and flags fit together."""
        if len(self._rows) == len(flags):
            flags[self._rows] |= np.uint8(RouteFlag.OVERRIDDEN)
            return True
        seen = np.flatnonzero((flags & RouteFlag.ABSENT) == 0)
        if len(self._rows) != len(seen):
            return False
        flags[seen[self._rows]] |= np.uint8(RouteFlag.OVERRIDDEN)
        return True


def _array(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.cpu().numpy())
