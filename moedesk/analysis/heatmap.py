"""The layer×expert load over passes as a picture no larger than the screen shows it."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from moedesk.core.store import LoadBlocks, Store

DEAD = 0
"""Index of a cell whose experts all received nothing while their layer saw tokens."""
IDLE = 255
"""Index of a cell whose layer saw no tokens."""

_CACHED = 1 << 18
"""Counts worked on at a time, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class ColourScale:
    """Which load ÷ uniform share gets which of the indexes 1 to 254.

    Attributes
    ----------
    kind : {"log", "linear"}
    low, high : float
        Load ÷ uniform share at index 1 and 254; beyond them the colour stays the same.
    """

    kind: Literal["log", "linear"] = "log"
    low: float = 1 / 8
    high: float = 8.0

    def indexes(self, ratios: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Return an index per ratio: ``DEAD`` for 0, ``IDLE`` for NaN, else 1 to 254."""
        low, high = self.low, self.high
        if self.kind == "log":
            with np.errstate(divide="ignore"):
                scaled = np.log(ratios)
            low, high = float(np.log(low)), float(np.log(high))
        else:
            scaled = ratios.astype(np.float32)
        scaled -= low
        scaled *= 253 / (high - low)
        np.clip(scaled, 0, 253, out=scaled)
        scaled += 1.5  # round to the nearest, from 1 up
        np.copyto(scaled, IDLE, where=np.isnan(ratios))
        np.copyto(scaled, DEAD, where=ratios == 0)
        return scaled.astype(np.uint8)

    def ratio(self, index: int) -> float:
        """Return the load ÷ uniform share that an index from 1 to 254 stands for."""
        share = (index - 1) / 253
        if self.kind == "log":
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share


@dataclass(frozen=True)
class Cell:
    """What one pixel shows.

    Attributes
    ----------
    first, last : tuple of int
        (layer, expert) of the first and the last expert in it.
    passes : tuple of int
        First and last pass, the last one excluded.
    ratio : float
        Load ÷ uniform share of the busiest expert in it, over these passes; NaN if its layer saw no tokens.
    """

    first: tuple[int, int]
    last: tuple[int, int]
    passes: tuple[int, int]
    ratio: float


@dataclass(frozen=True)
class Heatmap:
    """A picture of the load of every expert over passes.

    Attributes
    ----------
    image : (H, W) uint8
        Indexes into a table of 256 colours; row 0 is the first expert of the first layer.
    ratios : (H, W) float32
        Load ÷ uniform share (1 is an even share) behind each index; NaN where a layer saw no tokens.
    scale : ColourScale
    row_edges : (H + 1,) int64
        Image row y shows the experts ``row_edges[y]`` to ``row_edges[y + 1]``, end excluded, numbered through all layers.
    offsets : (L + 1,) int64
        Layer l has the experts ``offsets[l]`` to ``offsets[l + 1]`` in that numbering.
    pass_edges : (W + 1,) int64
        Image column x shows the passes ``pass_edges[x]`` to ``pass_edges[x + 1]``, end excluded.
    """

    image: npt.NDArray[np.uint8]
    ratios: npt.NDArray[np.float32]
    scale: ColourScale
    row_edges: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    pass_edges: npt.NDArray[np.int64]

    @property
    def reduction(self) -> str:
        """How the picture was reduced, in one sentence."""
        experts = int(np.diff(self.row_edges).max(initial=0))
        passes = int(np.diff(self.pass_edges).max(initial=0))
        rows = "a row is one expert" if experts <= 1 else f"a row is the busiest of up to {experts} experts"
        columns = "a column is one pass" if passes <= 1 else f"a column is the mean over up to {passes:,} passes"
        return f"Load ÷ uniform share; {rows}, {columns}; padding left out"

    def at(self, row: int, column: int) -> Cell:
        """Return what the pixel at image row and column shows."""
        return Cell(
            self._expert(int(self.row_edges[row])),
            self._expert(int(self.row_edges[row + 1]) - 1),
            (int(self.pass_edges[column]), int(self.pass_edges[column + 1])),
            float(self.ratios[row, column]),
        )

    def row_of(self, layer: int, expert: int) -> int | None:
        """Return the image row that shows an expert, or None if it is out of the picture."""
        return _place(self.row_edges, int(self.offsets[layer]) + expert)

    def column_of(self, number: int) -> int | None:
        """Return the image column that shows a pass, or None if it is out of the picture."""
        return _place(self.pass_edges, number)

    def layer_bands(self) -> list[tuple[int, int, int]]:
        """Return (layer, first image row, last image row excluded) for every layer in the picture, to label and divide it."""
        bands = []
        for layer, (start, stop) in enumerate(pairwise(self.offsets.tolist())):
            rows = np.flatnonzero((self.row_edges[:-1] < stop) & (self.row_edges[1:] > start))
            if len(rows):
                bands.append((layer, int(rows[0]), int(rows[-1]) + 1))
        return bands

    def _expert(self, row: int) -> tuple[int, int]:
        layer = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return layer, row - int(self.offsets[layer])


def load_heatmap(
    store: Store,
    first: int,
    last: int,
    columns: int,
    rows_px: int,
    row_range: tuple[int, int] | None = None,
    scale: ColourScale = ColourScale(),
) -> Heatmap:
    """Return the load of experts over passes first…last (end excluded), reduced to at most rows_px × columns pixels.

    A pixel's value is c_e·E / S (metrics d7, NeMo Automodel's utilisation ratio): counts are summed over the passes of a
    column, and of the experts of a row the busiest one is shown.

    Parameters
    ----------
    row_range : tuple of int or None
        The experts to show, first…last (end excluded), numbered through all layers; None for all.
    """
    blocks = store.load_blocks(first, last, max(columns, 1))
    return reduce_blocks(blocks, columns, rows_px, row_range, scale)


def reduce_blocks(
    blocks: LoadBlocks,
    columns: int,
    rows_px: int,
    row_range: tuple[int, int] | None = None,
    scale: ColourScale = ColourScale(),
    totals: npt.NDArray[np.integer] | None = None,
) -> Heatmap:
    """Return the picture of some blocks; other parameters as in ``load_heatmap``.

    Parameters
    ----------
    totals : (B, L) int or None
        Slots per block and layer that make up the uniform share, where ``blocks`` counts only some of them.
    """
    offsets = blocks.offsets.astype(np.int64)
    start, stop = (0, int(offsets[-1])) if row_range is None else row_range
    row_edges = _row_edges(offsets, start, stop, max(rows_px, 1))
    pass_edges, counts = _columns(blocks.edges, blocks.counts, max(columns, 1))
    known = None if totals is None else _columns(blocks.edges, totals, max(columns, 1))[1].astype(np.float64)
    ratios = np.zeros((len(counts), len(row_edges) - 1), np.float32)
    image = np.zeros_like(ratios, np.uint8)
    if ratios.size:
        step = max(1, _CACHED // max(1, counts.shape[1]))
        for first in range(0, len(counts), step):
            some = slice(first, first + step)
            sums = _totals(counts[some], offsets) if known is None else known[some]
            ratios[some] = _ratios(counts[some], sums, offsets, row_edges)
            image[some] = scale.indexes(ratios[some])
    return Heatmap(np.ascontiguousarray(image.T), ratios.T, scale, row_edges, offsets, pass_edges)


def extend(older: Heatmap, newer: Heatmap, columns: int) -> Heatmap:
    """Return ``older`` with the columns of ``newer`` after its own, the oldest dropped to keep at most ``columns``.

    A live picture that scrolls costs what its new columns cost. Columns of ``older`` that ``newer`` starts within are replaced.

    Raises
    ------
    ValueError
        If the two have different rows or colour scales, or passes are missing between them.
    """
    start = int(newer.pass_edges[0])
    kept = int(np.searchsorted(older.pass_edges, start))
    same_rows = np.array_equal(older.row_edges, newer.row_edges) and np.array_equal(older.offsets, newer.offsets)
    if not same_rows or older.scale != newer.scale or kept == len(older.pass_edges) or older.pass_edges[kept] != start:
        raise ValueError("the pictures don't continue one another")
    skipped = max(0, kept + newer.image.shape[1] - columns)
    return Heatmap(
        np.concatenate((older.image[:, :kept], newer.image), axis=1)[:, skipped:],
        np.concatenate((older.ratios[:, :kept], newer.ratios), axis=1)[:, skipped:],
        older.scale,
        older.row_edges,
        older.offsets,
        np.concatenate((older.pass_edges[:kept], newer.pass_edges))[skipped:],
    )


def _place(edges: npt.NDArray[np.int64], value: int) -> int | None:
    place = int(np.searchsorted(edges, value, side="right")) - 1
    return place if 0 <= place < len(edges) - 1 else None


def _row_edges(offsets: npt.NDArray[np.int64], start: int, stop: int, rows_px: int) -> npt.NDArray[np.int64]:
    """Return the edges of at most rows_px groups of experts; a group is of one layer unless there are more layers than rows."""
    return _known_row_edges(offsets.tobytes(), start, stop, rows_px)


@lru_cache(maxsize=16)
def _known_row_edges(data: bytes, start: int, stop: int, rows_px: int) -> npt.NDArray[np.int64]:
    """Return the edges for (L + 1,) int64 offsets as bytes: a live picture asks for the same ones again and again."""
    edges = _find_row_edges(np.frombuffer(data, np.int64), start, stop, rows_px)
    edges.flags.writeable = False
    return edges


def _find_row_edges(offsets: npt.NDArray[np.int64], start: int, stop: int, rows_px: int) -> npt.NDArray[np.int64]:
    inner = offsets[(offsets > start) & (offsets < stop)]
    edges = np.unique(np.concatenate(([start], inner, [stop]))).astype(np.int64)
    if len(edges) - 1 > rows_px:
        return edges[np.linspace(0, len(edges) - 1, rows_px + 1).round().astype(int)]
    sizes = np.diff(edges)
    group = max(1, -(-int(sizes.sum()) // rows_px))
    while np.sum(-(-sizes // group)) > rows_px:
        group += 1
    parts = [np.linspace(a, b, -(-(b - a) // group) + 1).round()[:-1] for a, b in pairwise(edges.tolist())]
    return np.concatenate([*parts, [stop]]).astype(np.int64)


def _columns(
    edges: npt.NDArray[np.int64], counts: npt.NDArray[np.integer], columns: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.integer]]:
    """Sum neighbouring blocks until there are at most ``columns``."""
    if len(counts) <= columns:
        return edges, counts
    places = np.linspace(0, len(counts), columns + 1).round().astype(int)
    summed = counts[places[:-1]]
    for step in range(1, int(np.diff(places).max())):  # several times faster than np.add.reduceat along axis 0
        more = np.flatnonzero(np.diff(places) > step)
        summed[more] += counts[places[more] + step]
    return edges[places], summed


def _ratios(
    counts: npt.NDArray[np.integer],
    totals: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    row_edges: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Return (columns, rows) load ÷ uniform share of the busiest expert of each row."""
    # Where a row spans layers, its parts are compared as ratios: split there first, join after.
    parts = np.unique(np.concatenate((row_edges, offsets[(offsets > row_edges[0]) & (offsets < row_edges[-1])])))
    layer = np.searchsorted(offsets, parts[:-1], side="right") - 1
    busiest = np.maximum.reduceat(counts[:, : parts[-1]], parts[:-1], axis=1)
    with np.errstate(divide="ignore"):
        uniform = (np.diff(offsets) / totals).astype(np.float32)
    uniform[totals == 0] = np.nan
    ratios = busiest * uniform[:, layer]
    if len(parts) == len(row_edges):
        return ratios
    return np.fmax.reduceat(ratios, np.searchsorted(parts, row_edges[:-1]), axis=1)


def _totals(counts: npt.NDArray[np.integer], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return (columns, layers) slots per layer."""
    experts = np.diff(offsets)
    if (experts == experts[0]).all():  # the usual case, several times faster than reduceat
        return counts.reshape(len(counts), len(experts), experts[0]).sum(axis=2, dtype=np.uint64).astype(np.float64)
    return np.add.reduceat(counts, offsets[:-1], axis=1, dtype=np.uint64).astype(np.float64)
