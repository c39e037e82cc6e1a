"""The window that balance is computed over: the last so many passes, or as many as hold enough slots to judge."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.analysis.waterfall_counts import column_counts
from moedesk.core.store import Store

SLOTS_AN_EXPERT = 32
"""Slots an expert that a window by slots holds on average: fewer, and chance alone looks like imbalance."""
LONGEST = 8192
"""Passes that a window by slots holds at most."""
_AHEAD = 1 << 19  # counts read at a time of what leaves


@dataclass(frozen=True)
class Tail:
    """The window as it stands before a column, for that one to go on from.

    Attributes
    ----------
    column, start : int
        It holds the columns ``start`` to ``column``, end excluded.
    sums : (R,) int64
        Slots per expert.
    """

    column: int
    start: int
    sums: npt.NDArray[np.int64]


class BalanceWindow:
    """Moves over columns one after another; each enters once and leaves once.

    Parameters
    ----------
    passes : int
        Passes a column.
    length : int
        Passes in the window, rounded up to whole columns; 0 for the fewest columns that hold ``SLOTS_AN_EXPERT`` slots an expert
        in every layer of the main stream.
    column : int
        The first column that will enter.
    tail : Tail or None
        The window before it, if it is known.

    Attributes
    ----------
    coarse : bool
        Whether what left was only known in blocks of several columns.
    """

    def __init__(self, store: Store, passes: int, length: int, column: int, tail: Tail | None = None) -> None:
        self._store, self._passes = store, passes
        experts = np.array([layer.experts for layer in store.model.layers], np.int64)
        self._offsets = np.concatenate(([0], np.cumsum(experts)))
        main = store.model.streams[0]
        self._judged = np.array([layer.stream == main for layer in store.model.layers])
        self._needed = SLOTS_AN_EXPERT * experts[self._judged]
        self._by_slots = length == 0
        self._columns = max(1, -(-(length or LONGEST) // passes))
        self._old: np.ndarray | None = None  # counts of the columns that leave next, from ``_old_first`` on
        self._old_first = 0
        self.coarse = False
        known = tail if tail is not None and tail.column == column else self._look_back(column)
        self._column, self._start, self._sums = known.column, known.start, known.sums.copy()

    def _look_back(self, column: int) -> Tail:
        """Return a window that is long enough before a column: what is too much leaves when the next one enters."""
        start = max(0, column - self._columns + 1)
        if self._by_slots:
            length = 1
            while length < column - start and not self._enough(self._counts_of(column - length, column)):
                length *= 2
            start = max(start, column - length)
        return Tail(column, start, self._counts_of(start, column))

    def _counts_of(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        counts = self._store.window_counts(max(start, 0) * self._passes, stop * self._passes)
        return np.concatenate(counts).astype(np.int64)

    def _enough(self, sums: np.ndarray) -> bool:
        totals = np.add.reduceat(sums, self._offsets[:-1])[self._judged]
        return bool((totals >= self._needed).all())

    def enter(self, counts: np.ndarray) -> tuple[np.ndarray, npt.NDArray[np.int64]]:
        """Let columns enter one after another; return (N, R) slots per expert and (N,) columns in the window after each."""
        if self._columns == 1:  # each column alone: nothing to add up
            self._column += len(counts)
            self._start = self._column
            return counts, np.ones(len(counts), np.int64)
        sums = np.empty(counts.shape, np.result_type(counts, np.int64))
        lengths = np.empty(len(counts), np.int64)
        current = self._sums.astype(sums.dtype)
        for place, entering in enumerate(counts):
            current += entering
            self._column += 1
            while self._start < self._column - 1:
                if self._column - self._start <= self._columns:
                    if not self._by_slots:
                        break
                    less = current - self._leaving(self._start)
                    if not self._enough(less):
                        break
                    current = less
                else:
                    current = current - self._leaving(self._start)
                self._start += 1
            sums[place] = current
            lengths[place] = self._column - self._start
        self._sums = current
        return (np.maximum(sums, 0) if self.coarse else sums), lengths

    def _leaving(self, column: int) -> np.ndarray:
        """Return the counts of a column that may leave."""
        if self._old is None or not self._old_first <= column < self._old_first + len(self._old):
            count = max(1, min(_AHEAD // max(1, int(self._offsets[-1])), self._column - column, 256))
            edges = np.minimum(np.arange(column, column + count + 1), self._column) * self._passes
            self._old, wide = column_counts(self._store, np.minimum(edges, self._store.n_passes))
            self._old_first = column
            self.coarse = self.coarse or bool(wide)
        return self._old[column - self._old_first]

    @property
    def tail(self) -> Tail | None:
        """The window as it stands; None if it is not exact."""
        return None if self.coarse else Tail(self._column, self._start, self._sums)
