"""Columns of the routing waterfall: layer×expert rows, a few passes a column, read as they come."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from moedesk.analysis.balance import DEFAULT, balance, band
from moedesk.analysis.balance_window import BalanceWindow, Tail
from moedesk.analysis.conventions import Conventions
from moedesk.analysis.heatmap import Heatmap, reduce_blocks
from moedesk.analysis.ring import ColumnRing
from moedesk.analysis.waterfall_counts import column_counts
from moedesk.analysis.waterfall_means import column_means
from moedesk.analysis.waterfall_measure import MEASURES, NONE, Measure
from moedesk.core.model import ModelInfo
from moedesk.core.store import LoadBlocks, Store

CHUNK = 1 << 21
"""Counts read at a time: a long stretch of columns of a large model is read in pieces."""
BUDGET = 1 << 19
"""Token rows × layers that may be read for 16 columns or fewer."""

_UNKNOWN = 3e38  # takes the place of NaN while rows are reduced: above any value, but below "no slot"


class Ticket(Protocol):
    """What a running job says to the outside, as ``session.jobs.Ticket`` does."""

    def check(self, done: float | None = None) -> None:
        """Report the share done, 0 to 1; raise if the answer is no longer wanted."""


@dataclass(frozen=True)
class Frame:
    """What a picture shows, but for which columns.

    Attributes
    ----------
    measure : str
        Key of ``MEASURES``.
    passes : int
        Passes a column: column c shows the passes ``c * passes`` to ``(c + 1) * passes``.
    rows : tuple of int
        The experts first…last (end excluded), numbered through all layers.
    lines : int
        Picture rows there is room for.
    window : int
        Passes that the balance is computed over, up to the end of each column; 0 for as many as hold enough slots to judge
        (``balance_window``).
    conventions : Conventions
        By which definitions it is given.
    """

    measure: str
    passes: int
    rows: tuple[int, int]
    lines: int
    window: int = 0
    conventions: Conventions = DEFAULT

    def row_edges(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return (H + 1,): picture row y shows the experts ``row_edges[y]`` to ``row_edges[y + 1]``."""
        nothing = LoadBlocks(np.zeros(1, np.int64), np.zeros((0, int(offsets[-1])), np.uint32), offsets)
        return reduce_blocks(nothing, 1, self.lines, self.rows).row_edges


@dataclass(frozen=True)
class Columns:
    """Some columns of a picture.

    Attributes
    ----------
    frame : Frame
    first : int
        Number of the first column.
    end : int
        The pass before which the last one ends.
    fields : mapping
        ``image`` (H, N) uint8, indexes as in ``analysis.heatmap``; ``values`` (H, N) float32 behind them;
        ``balance`` (3, L, N) float32, its ``band`` (3, 3, N) over the layers, and the ``window`` (N,) of passes it is over;
        ``passes``, ``read``, ``bare``, ``spared`` (N,) int64: passes in the column, those whose token rows were read, those that
        kept counts only, and those that were spared what is shown.
    coarse : int
        Passes a stored block has where that is more than a column's, else 0.
    cut : int
        Token rows read of a pass that has more; 0 if none was cut.
    tail : Tail or None
        None if the next columns can't go on from these.
    """

    frame: Frame
    first: int
    end: int
    fields: dict[str, np.ndarray]
    coarse: int
    cut: int
    tail: Tail | None


def offsets_of(model: ModelInfo) -> npt.NDArray[np.int64]:
    """Return (L + 1,): layer l has the experts ``offsets[l]`` to ``offsets[l + 1]``, numbered through all layers."""
    return np.cumsum([0, *(layer.experts for layer in model.layers)], dtype=np.int64)


def new_ring(columns: Columns, capacity: int) -> ColumnRing:
    """Return an empty ring for columns like these."""
    return ColumnRing(capacity, {name: (field.shape[:-1], field.dtype) for name, field in columns.fields.items()})


def read_columns(
    store: Store, frame: Frame, first: int, last: int, end: int, tail: Tail | None = None, ticket: Ticket | None = None
) -> Columns:
    """Read the columns first…last (end excluded); none of the passes from ``end`` on.

    The work grows with the number of columns, not with what came before them.

    Parameters
    ----------
    tail : Tail, optional
        From the answer with the columns just before ``first``.
    """
    last = min(last, -(-end // frame.passes))
    offsets = offsets_of(store.model)
    step = max(1, CHUNK // max(1, int(offsets[-1])))
    budget = BUDGET * min(8, -(-(last - first) // 16)) // max(1, last - first)
    parts: list[Columns] = []
    for start in range(first, last, step):
        if ticket is not None:
            ticket.check((start - first) / (last - first))
        stop = min(start + step, last)
        parts.append(_read_part(store, frame, offsets, (start, stop, end), tail, budget * (stop - start)))
        tail = parts[-1].tail
    if not parts:
        raise ValueError(f"there are no columns {first} to {last} before pass {end}")
    fields = {name: np.concatenate([part.fields[name] for part in parts], axis=-1) for name in parts[0].fields}
    coarse, cut = max(part.coarse for part in parts), max(part.cut for part in parts)
    return Columns(frame, first, min(last * frame.passes, end), fields, coarse, cut, tail)


def _read_part(
    store: Store,
    frame: Frame,
    offsets: npt.NDArray[np.int64],
    span: tuple[int, int, int],
    tail: Tail | None,
    budget: int,
) -> Columns:
    first, last, end = span
    measure = MEASURES[frame.measure]
    edges = np.minimum(np.arange(first, last + 1) * frame.passes, end)
    counts, coarse = column_counts(store, edges)
    passes = np.diff(edges)
    read, bare, spared, cut = passes, np.zeros_like(passes), np.zeros_like(passes), 0
    if measure.column:
        row_edges = frame.row_edges(offsets)
        low, high = np.searchsorted(offsets, (frame.rows[0], frame.rows[1] - 1), side="right")
        means = column_means(store, measure.column, edges, range(int(low) - 1, int(high)), offsets, budget)
        values = _reduce(means.values, row_edges, measure)
        read, bare, spared, cut = means.read, means.bare, means.spared, means.cut
        image = measure.indexes(values)
    else:
        # Shares of blocks are no whole numbers; what a cell shows is a ratio, so that any multiple does.
        blocks = LoadBlocks(edges, (counts * 1024).astype(np.uint64) if coarse else counts, offsets)
        picture: Heatmap = reduce_blocks(blocks, len(passes), frame.lines, frame.rows, measure.scale)
        image, values = picture.image, picture.ratios
    sums, windows, tail = _windows(store, frame, counts, edges, tail, bool(coarse))
    evenness = balance(sums, offsets, frame.conventions)
    fields: dict[str, np.ndarray] = {
        "image": image,
        "values": values,
        "balance": evenness,
        "band": band(evenness),
        "window": windows,
        "passes": passes,
        "read": read,
        "bare": bare,
        "spared": spared,
    }
    return Columns(frame, first, int(edges[-1]), fields, coarse, cut, tail)


def _windows(
    store: Store, frame: Frame, counts: np.ndarray, edges: npt.NDArray[np.int64], tail: Tail | None, coarse: bool
) -> tuple[np.ndarray, npt.NDArray[np.int64], Tail | None]:
    """Return (N, R) counts of the window that ends with each column, (N,) passes in it, and where the next column goes on."""
    column = int(edges[0]) // frame.passes
    window = BalanceWindow(store, frame.passes, frame.window, column, tail)
    complete = len(counts) if edges[-1] % frame.passes == 0 else len(counts) - 1
    sums, lengths = window.enter(counts[:complete])
    tail = None if coarse else window.tail
    if complete < len(counts):  # its passes are not all there yet: it will enter again
        more, length = window.enter(counts[complete:])
        sums, lengths = np.concatenate((sums, more)), np.concatenate((lengths, length))
    starts = np.maximum(column + 1 + np.arange(len(counts)) - lengths, 0) * frame.passes
    return sums, edges[1:] - starts, tail


def _reduce(
    values: npt.NDArray[np.float32], row_edges: npt.NDArray[np.int64], measure: Measure
) -> npt.NDArray[np.float32]:
    """Return (H, N): of each row's experts the largest (or smallest) value; if none has one NaN if one is unknown, else NONE."""
    smallest = measure.peak == "smallest"
    keys = values[:, : row_edges[-1]].copy()  # made so that the smallest wins
    none = keys == NONE
    if not smallest:
        keys *= -1
    keys[np.isnan(keys)] = _UNKNOWN
    keys[none] = np.inf
    best = np.minimum.reduceat(keys, row_edges[:-1], axis=1).T
    result = best.copy() if smallest else -best
    result[best >= np.float32(_UNKNOWN)] = np.nan
    result[best == np.inf] = NONE
    return np.ascontiguousarray(result)
