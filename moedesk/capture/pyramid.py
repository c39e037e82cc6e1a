"""Counts while recording: passes gathered into blocks, eight blocks of a level summed into one of the next."""

from collections.abc import Sequence

import numpy as np

from moedesk.capture.column import EVERY, Column, Lanes
from moedesk.capture.schema import BLOCK, BLOCK_PASSES, BLOCK_TOKENS, FANOUT, LEVELS


class CountSums:
    """The open block of every level, for one table of L layers with E experts."""

    def __init__(self, columns: Sequence[Column], layers: int, experts: int) -> None:
        self.columns = columns
        self.open = np.zeros((LEVELS, layers, experts), np.int64)


class Pyramid:
    """Writes block index and counts of all tables in step."""

    def __init__(self, index: Sequence[Column]) -> None:
        self._index = index
        self._tables: list[CountSums] = []
        self._first = np.zeros(LEVELS, np.int64)
        self._blocks = np.zeros(LEVELS, np.int64)  # blocks of the level below (for level 0: passes) in the open block
        self._next_pass = 0
        self._tokens = 0

    def rows(self, level: int) -> int:
        """Return how many blocks of a level are closed."""
        return self._index[level].rows

    def add_table(self, columns: Sequence[Column], layers: int, experts: int) -> CountSums:
        """Take in a table; blocks closed so far are 0 there, as its columns start at ``rows(level)``."""
        self._tables.append(CountSums(columns, layers, experts))
        return self._tables[-1]

    def add_pass(
        self, counts: Sequence[tuple[CountSums, Sequence[tuple[Lanes, np.ndarray]]]], tokens: int, alone: bool
    ) -> None:
        """Count one pass.

        Parameters
        ----------
        counts : for each table the (lanes, E) counts of some lanes each
        tokens : token rows kept of it
        alone : whether its counts cannot be told from its ids, so that it must be a block of its own
        """
        if alone:
            self.close_block()
        for table, pieces in counts:
            for lanes, values in pieces:
                table.open[0, lanes] += values
        self._next_pass += 1
        self._blocks[0] += 1
        self._tokens += tokens
        if alone or self._tokens >= BLOCK_TOKENS or self._blocks[0] >= BLOCK_PASSES:
            self.close_block()

    def close_block(self) -> None:
        """Close the open base block, if it holds a pass."""
        if self._blocks[0]:
            self._close(0)
            self._tokens = 0

    def _close(self, level: int) -> None:
        self._index[level].append(np.array([(self._first[level], self._next_pass - self._first[level])], BLOCK))
        for table in self._tables:
            sums = table.open[level]
            counted = sums.any(axis=1)
            lanes: Lanes = EVERY if counted.all() else np.flatnonzero(counted).tolist()
            table.columns[level].extend(((lanes, sums[lanes, None]),), 1)
            if level + 1 < LEVELS:
                table.open[level + 1] += sums
            sums[:] = 0
        self._first[level], self._blocks[level] = self._next_pass, 0
        if level + 1 < LEVELS:
            self._blocks[level + 1] += 1
            if self._blocks[level + 1] == FANOUT:
                self._close(level + 1)
