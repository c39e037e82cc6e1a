"""Exact counts of any passes, from the pyramid of blocks where it covers them and from the ids at the edges."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from moedesk.capture.contents import Contents, TableInfo
from moedesk.capture.schema import FANOUT, LEVELS
from moedesk.core.model import ModelInfo
from moedesk.core.store import LoadBlocks

BUDGET = 20_000_000
"""Slots, or counts, that may be read to draw blocks finer than the pyramid's."""
SLAB = 128
"""Base blocks worked on at a time: a few hundred thousand token rows."""
FEW = 1_000_000
"""Up to so many slots and counts a table's layers are counted all at once, which costs less than one after the other."""
PAGE = 4096
"""Rows of the block index read at a time: a chunk."""

Counts = npt.NDArray[np.int64]


class CountReader:
    """Reads block index, counts and ids of a capture.

    Attributes
    ----------
    covered : int
        Passes that blocks cover; those after are counted by their ids.
    """

    def __init__(self, contents: Contents, token_span: Callable[[int, int, str], tuple[int, int]]) -> None:
        self._contents = contents
        self._tables = contents.tables
        self._token_span = token_span
        self._index = contents.column("blocks/0")
        self._page = lru_cache(64)(self._read_page)
        self._rows = lru_cache(8)(self._read_rows)
        n = min([len(self._index), *(len(contents.column(f"{table.path}/counts/0")) for table in self._tables)])
        while n and self._end(n - 1) > contents.n_passes:  # a commit between two tails
            n -= 1
        self._blocks = n
        self.covered = self._end(n - 1) if n else 0

    def window(self, table: TableInfo, lane: int, first: int, last: int) -> Counts:
        """Return the (E,) counts of passes first…last at one layer."""
        a = bisect_left(range(self._blocks), first, key=self._first)
        b = self._blocks if last >= self.covered else self._holding(last)
        if a >= b:
            return self.by_group(table, lane, np.array([first, last]))[0]
        begin, end = self._first(a), self._end(b - 1)
        total = self._sum(table, lane, a, b)
        if first < begin:
            total += self.by_group(table, lane, np.array([first, begin]))[0]
        if end < last:
            total += self.by_group(table, lane, np.array([end, last]))[0]
        return total

    def by_group(self, table: TableInfo, lane: int | None, edges: npt.NDArray[np.integer]) -> Counts:
        """Return (G, E) counts at one layer, or (G, L, E) at all; group g has passes edges[g]…edges[g + 1]."""
        lanes = (len(table.places),) if lane is None else ()
        out = np.zeros((len(edges) - 1, *lanes, table.experts), np.int64)
        first, last = int(edges[0]), int(edges[-1])
        if first >= last:
            return out
        a, b = self._holding(first), self._holding(last - 1) + 1
        for start in range(a, min(b, self._blocks), SLAB):
            stop = min(start + SLAB, b, self._blocks)
            self._add_slab(out, table, lane, edges, start, stop)
        if last > self.covered:
            self._add_ids(out, table, lane, edges, max(first, self.covered), last)
        return out

    def _add_slab(
        self, out: Counts, table: TableInfo, lane: int | None, edges: np.ndarray, start: int, stop: int
    ) -> None:
        """Add blocks start…stop: a block of one pass has its counts, the others' passes are told apart by their ids."""
        blocks = self._index.read(start, stop)
        single = blocks["count"] == 1
        if single.any():
            counts = self._contents.column(f"{table.path}/counts/0").read(start, stop, lane)
            groups = np.searchsorted(edges, blocks["first"][single], "right") - 1
            begins = np.flatnonzero(np.diff(groups, prepend=-1))
            out[groups[begins]] += np.add.reduceat(counts[single], begins, axis=0, dtype=np.int64)
        others = blocks[~single]
        if len(others):
            first, last = int(others["first"][0]), int(others["first"][-1] + others["count"][-1])
            self._add_ids(out, table, lane, edges, max(first, int(edges[0])), min(last, int(edges[-1])), (start, stop))

    def _add_ids(
        self,
        out: Counts,
        table: TableInfo,
        lane: int | None,
        edges: np.ndarray,
        first: int,
        last: int,
        counted: tuple[int, int] = (0, 0),
    ) -> None:
        """Add passes first…last by their ids, except those that are a block of their own among blocks ``counted``."""
        i, j, numbers, wanted = self._rows(table.stream, first, last, *counted)
        if i >= j:
            return
        ids = self._contents.column(f"{table.path}/experts").read(i, j, lane).reshape(j - i, -1, table.top_k)
        lanes = ids.shape[1]
        groups = np.searchsorted(edges, numbers, "right") - 1
        part = out[groups[0] : groups[-1] + 1]  # rows are in the order of their passes
        rows = (groups - groups[0])[:, None] * lanes + np.arange(lanes)
        keys = (rows[:, :, None] * table.experts + ids)[(ids >= 0) & wanted[:, None, None]]
        part += np.bincount(keys, minlength=part.size).reshape(part.shape)

    def _read_rows(
        self, stream: str, first: int, last: int, start: int, stop: int
    ) -> tuple[int, int, np.ndarray, np.ndarray]:
        """Return the row range of passes, each row's pass, and which rows ``_add_ids`` counts."""
        i, j = self._token_span(first, last, stream)
        tokens = self._contents.column(f"streams/{stream}/tokens").read(i, j)
        numbers, wanted = tokens["pass"].astype(np.int64), ~tokens["is_padding"]
        if start < stop:
            blocks = self._index.read(start, stop)
            wanted &= blocks["count"][np.searchsorted(blocks["first"], numbers, "right") - 1] > 1
        return i, j, numbers, wanted

    def load_blocks(self, model: ModelInfo, first: int, last: int, columns: int) -> LoadBlocks:
        """Return blocks for a picture ``columns`` wide."""
        offsets = np.cumsum([0, *(layer.experts for layer in model.layers)], dtype=np.int64)
        columns = max(1, columns)
        if first >= last or not model.layers:
            edges = np.array([first, last] if first < last else [first], np.int64)
            return LoadBlocks(edges, np.zeros((len(edges) - 1, int(offsets[-1])), np.uint32), offsets)
        a, b = self._holding(first), min(self._holding(last - 1) + 1, self._blocks)
        if self._is_cheap(first, last, max(0, b - a) * int(offsets[-1]), BUDGET):
            edges = np.append(np.arange(first, last, -(-(last - first) // columns)), last).astype(np.int64)
            read_from = first if (self._index.read(a, b)["count"] > 1).any() else max(first, self.covered)
            few = self._is_cheap(read_from, last, max(len(edges), b - a) * int(offsets[-1]), FEW)
            read: Callable[[TableInfo, int], np.ndarray] = partial(self.by_group, edges=edges)
        else:
            edges, read = self._stored_blocks(a, b, last, columns, int(offsets[-1]))
            few = False
        counts = np.empty((len(edges) - 1, int(offsets[-1])), np.uint32)
        for table in self._tables:
            at_once = self.by_group(table, None, edges) if few else None
            for lane, place in enumerate(table.places):
                values = read(table, lane) if at_once is None else at_once[:, lane]
                counts[:, offsets[place] : offsets[place + 1]] = values
        return LoadBlocks(edges, counts, offsets)

    def _is_cheap(self, first: int, last: int, entries: int, budget: int) -> bool:
        slots = 0
        for table in self._tables:
            i, j = self._token_span(first, last, table.stream)
            slots += (j - i) * len(table.places) * table.top_k
        return slots <= budget and entries <= budget

    def _stored_blocks(
        self, a: int, b: int, last: int, columns: int, width: int
    ) -> tuple[Counts, Callable[[TableInfo, int], np.ndarray]]:
        """Choose level and grouping for base blocks a…b; what the level does not cover yet becomes one block at the end."""
        level, scale = 0, 1
        while level + 1 < LEVELS and (n := -(-b // scale) - a // scale) > columns and n * width > BUDGET:
            level, scale = level + 1, scale * FANOUT
        start, stop = a // scale, min(-(-b // scale), self.closed(level))
        step = max(1, -(-(stop - start) // columns))
        rest = max(stop * scale, a)
        index = self._contents.column(f"blocks/{level}").read(start, stop)
        edges = [int(first) for first in index["first"][::step]]
        end = last if last > self.covered else self._end(max(b, stop * scale) - 1)
        has_rest = rest < b or last > self.covered
        if has_rest:
            edges.append(self._first(rest) if rest < b else self.covered)
        edges.append(end)

        def read(table: TableInfo, lane: int) -> np.ndarray:
            rows = self._contents.column(f"{table.path}/counts/{level}").read(start, stop, lane)
            parts = [np.add.reduceat(rows, np.arange(0, len(rows), step), axis=0)] if len(rows) else []
            if has_rest:
                parts.append(self.window(table, lane, edges[-2], end)[None])
            return np.concatenate(parts)

        return np.array(edges, np.int64), read

    def _sum(self, table: TableInfo, lane: int, a: int, b: int) -> Counts:
        """Sum base blocks a…b, from as high a level as fits."""
        total = np.zeros(table.experts, np.int64)
        for level in range(LEVELS):
            up_a, up_b = -(-a // FANOUT), b // FANOUT
            top = level + 1 == LEVELS or min(up_b, self.closed(level + 1)) <= up_a
            up_b = up_b if top else min(up_b, self.closed(level + 1))
            column = self._contents.column(f"{table.path}/counts/{level}")
            for i, j in [(a, b)] if top else [(a, up_a * FANOUT), (up_b * FANOUT, b)]:
                if i < j:
                    total += column.read(i, j, lane).sum(axis=0, dtype=np.int64)
            if top:
                break
            a, b = up_a, up_b
        return total

    def closed(self, level: int) -> int:
        """Return how many blocks of a level every table has."""
        columns = [f"blocks/{level}", *(f"{table.path}/counts/{level}" for table in self._tables)]
        lengths = [len(self._contents.column(path)) for path in columns]
        return min(self._blocks // FANOUT**level, *lengths)

    def _holding(self, number: int) -> int:
        """Return the base block that holds a pass, or the number of blocks if none does."""
        if number >= self.covered:
            return self._blocks
        return bisect_right(range(self._blocks), number, key=self._first) - 1

    def _first(self, block: int) -> int:
        return int(self._page(block // PAGE)["first"][block % PAGE])

    def _end(self, block: int) -> int:
        first, count = self._page(block // PAGE)[block % PAGE].item()
        return int(first + count)

    def _read_page(self, page: int) -> np.ndarray:
        """Return a part of the block index: every layer looks for the same few blocks."""
        return self._index.read(page * PAGE, min((page + 1) * PAGE, len(self._index)))
