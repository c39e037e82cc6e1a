"""Means over the tokens that chose an expert, column by column: gate weight, router entropy, margin."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log

import numpy as np
import numpy.typing as npt

from moedesk.analysis.waterfall_measure import NONE
from moedesk.core.columns import PassFlag
from moedesk.core.store import Store


@dataclass(frozen=True)
class Means:
    """The means of some columns.

    Attributes
    ----------
    values : (N, R) float32
        ``NONE`` for an expert without a slot, NaN where a layer has no value that is known. The R columns are all experts; those
        of layers that weren't asked for are NaN.
    read : (N,) int64
        Passes of which token rows were read.
    bare : (N,) int64
        Passes that kept counts only.
    spared : (N,) int64
        Passes that were spared what is averaged.
    cut : int
        Token rows read of a pass that has more; 0 if none was cut.
    """

    values: npt.NDArray[np.float32]
    read: npt.NDArray[np.int64]
    bare: npt.NDArray[np.int64]
    spared: npt.NDArray[np.int64]
    cut: int


def column_means(
    store: Store, column: str, edges: npt.NDArray[np.int64], layers: range, offsets: npt.NDArray[np.int64], budget: int
) -> Means:
    """Return the means of a column of routes per expert, over the passes of each picture column; padding left out.

    Parameters
    ----------
    column : {"weights", "entropy", "margin"}
        Entropies are divided by ln E.
    edges : (N + 1,) int64
        Picture column n has the passes ``edges[n]`` to ``edges[n + 1]``.
    layers : range
        The layers to read.
    budget : int
        Token rows × layers that may be read; above that, passes are left out evenly and long ones are cut.
    """
    shape = (len(edges) - 1, int(offsets[-1]))
    sums, known, slots = (np.zeros(shape) for _ in range(3))
    first, last = int(edges[0]), int(edges[-1])
    headers = store.read_passes(first, last)
    bare_passes = (headers["flags"] & PassFlag.COUNTS_ONLY) != 0
    spared_passes = (headers["flags"] & (0 if column == "weights" else PassFlag.SPARED)) != 0
    read = np.zeros(last - first, bool)
    cut = 0
    streams = {store.model.layers[place].stream for place in layers}
    for stream in sorted(streams):
        places = [place for place in layers if store.model.layers[place].stream == stream]
        for i, j, passes, was_cut in _pieces(store, stream, first, last, budget // len(layers)):
            cut = max(cut, was_cut)
            read[passes[0] - first : passes[1] - first] = True
            _add(store, column, stream, (i, j), places, edges, offsets, sums, known, slots)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = (sums / known).astype(np.float32)  # NaN where nothing is known
    for place in layers:
        experts = slice(int(offsets[place]), int(offsets[place + 1]))
        seen = slots[:, experts].any(1, keepdims=True)
        values[:, experts][(slots[:, experts] == 0) & seen] = NONE
    starts = np.minimum(edges[:-1] - first, max(last - first - 1, 0))
    per_column = [
        np.add.reduceat(flags.astype(np.int64), starts) for flags in (read & ~bare_passes, bare_passes, spared_passes)
    ]
    return Means(values, per_column[0], per_column[1], per_column[2], cut)


def _pieces(
    store: Store, stream: str, first: int, last: int, rows: int
) -> Iterator[tuple[int, int, tuple[int, int], int]]:
    """Yield the token rows to read, whose passes they are, and how many of a pass if it is cut: all, or a sample."""
    i, j = store.token_span(first, last, stream)
    if j - i <= rows:
        yield i, j, (first, last), 0
        return
    step = min(ceil((j - i) / max(rows, 1)), last - first)
    chosen = range(-(-first // step) * step, last, step) or range(first, first + 1)
    allowed = max(1, rows // len(chosen))
    for number in chosen:
        i, j = store.token_span(number, number + 1, stream)
        yield i, min(j, i + allowed), (number, number + 1), allowed if j - i > allowed else 0


def _add(
    store: Store,
    column: str,
    stream: str,
    rows: tuple[int, int],
    places: list[int],
    edges: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    sums: np.ndarray,
    known: np.ndarray,
    slots: np.ndarray,
) -> None:
    """Add some token rows to the sums, number of known values and number of slots per column and expert."""
    if rows[0] >= rows[1]:
        return
    tokens = store.read_tokens(*rows, stream)
    real = ~tokens["is_padding"]
    groups = np.searchsorted(edges, tokens["pass"], side="right") - 1
    low, high = int(groups[0]), int(groups[-1]) + 1
    for place in places:
        layer = store.model.layers[place]
        ids = store.experts(layer, *rows).astype(np.int64)
        if column == "weights":
            values = store.weights(layer, *rows)
        else:
            values = store.entropy(layer, *rows) if column == "entropy" else store.margin(layer, *rows)
            values = np.broadcast_to(values[:, None], ids.shape)
        used = (ids >= 0) & real[:, None]
        keys = ((groups - low)[:, None] * layer.experts + ids)[used]
        values = values[used].astype(np.float64)
        finite = np.isfinite(values)
        shape = (high - low, layer.experts)
        scale = 1 / log(layer.experts) if column == "entropy" and layer.experts > 1 else 1.0
        span = slice(low, high), slice(int(offsets[place]), int(offsets[place + 1]))
        size = shape[0] * shape[1]
        slots[span] += np.bincount(keys, minlength=size).reshape(shape)
        known[span] += np.bincount(keys[finite], minlength=size).reshape(shape)
        sums[span] += scale * np.bincount(keys[finite], values[finite], size).reshape(shape)
