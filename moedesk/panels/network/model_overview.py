"""What the overview says about a cell of the heatmap, and what a click there selects. No Qt."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan

import numpy as np
import numpy.typing as npt

from moedesk.analysis.heatmap import Cell, Heatmap, extend, load_heatmap, reduce_blocks
from moedesk.analysis.pass_labels import PassLabels
from moedesk.core.model import ModelInfo
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store
from moedesk.panels.network.model_search import Found, found_blocks


@dataclass(frozen=True)
class View:
    """What the overview is asked to show.

    Attributes
    ----------
    first, last : int
        Passes, the last one excluded.
    columns, lines : int
        Device pixels across and down.
    rows : tuple of int
        Experts first…last (end excluded), numbered through all layers.
    """

    first: int
    last: int
    columns: int
    lines: int
    rows: tuple[int, int]


def picture_of(store: Store, view: View, found: Found | None, older: Heatmap | None = None) -> Heatmap:
    """Return the picture of a view: of the matching slots with a filter, else of all.

    Parameters
    ----------
    older : Heatmap or None
        An earlier picture. Where it shows the same rows and each pass has a column, only the passes since are read.
    """
    if found is not None:
        blocks, totals = found_blocks(found, view.first, view.last)
        return reduce_blocks(blocks, view.columns, view.lines, view.rows, totals=totals)
    start = -1 if older is None else int(older.pass_edges[-1])
    if older is not None and view.first <= start < view.last <= view.first + view.columns:
        newer = load_heatmap(store, start, view.last, view.last - start, view.lines, view.rows)
        if _single(older) and _single(newer) and older.pass_edges[0] <= view.first:
            try:
                return extend(older, newer, view.last - view.first)
            except ValueError:  # another height, or other rows
                pass
    return load_heatmap(store, view.first, view.last, view.columns, view.lines, view.rows)


def _single(picture: Heatmap) -> bool:
    return bool((np.diff(picture.pass_edges) == 1).all())


def cell_text(cell: Cell, model: ModelInfo, labels: PassLabels = PassLabels()) -> str:  # noqa: B008
    """Return one line about a cell: layer, experts, passes with their labels, and load."""
    (layer, first), (other, last) = cell.first, cell.last
    path = model.layers[layer].path
    if other != layer:
        where = f"L{layer} {path} to L{other} {model.layers[other].path}"
    elif first == last:
        where = f"L{layer} {path} · expert {first}"
    else:
        where = f"L{layer} {path} · experts {first}–{last}"
    named = labels.text(*cell.passes)
    return f"{where} · {passes_text(cell.passes)}{f' ({named})' if named else ''} · {load_text(cell)}"


def passes_text(passes: tuple[int, int]) -> str:
    """Return ``pass 3`` or ``passes 3–7``."""
    first, last = passes
    return f"pass {first:,}" if last - first == 1 else f"passes {first:,}–{last - 1:,}"


def load_text(cell: Cell) -> str:
    """Return the load of a cell with its unit."""
    if isnan(cell.ratio):
        return "the layer saw no tokens"
    if cell.ratio == 0:
        return "no tokens"
    busiest = "" if cell.first == cell.last else "busiest: "
    return f"{busiest}{cell.ratio:.2f} × uniform share"


def counts_of(store: Store, found: Found | None, passes: tuple[int, int]) -> list[npt.NDArray[np.int64]]:
    """Return for each layer the (E,) slots per expert over some passes: the matching ones with a filter, else all, exactly."""
    if found is None:
        return store.window_counts(*passes)
    blocks, _ = found_blocks(found, *passes)
    total = blocks.counts.sum(0, dtype=np.int64)
    return [total[start:stop] for start, stop in pairwise(blocks.offsets.tolist())]


def slots_text(counts: Sequence[npt.NDArray[np.int64]], cell: Cell) -> str:
    """Return how many slots the experts of a cell received, and out of how many."""
    (first_layer, first), (last_layer, last) = cell.first, cell.last
    if first_layer == last_layer:
        layer = counts[first_layer]
        return f"{int(layer[first : last + 1].sum()):,} of {int(layer.sum()):,} slots"
    return f"{sum(int(layer.sum()) for layer in counts[first_layer : last_layer + 1]):,} slots"


def busiest(counts: Sequence[npt.NDArray[np.int64]], cell: Cell) -> tuple[int, int]:
    """Return the (layer, expert) of a cell that has the largest load over the cell's passes."""
    (first_layer, first), (last_layer, last) = cell.first, cell.last
    if cell.first == cell.last:
        return cell.first
    best, place = -1.0, cell.first
    for layer in range(first_layer, last_layer + 1):
        start = first if layer == first_layer else 0
        stop = last + 1 if layer == last_layer else len(counts[layer])
        ratios = counts[layer][start:stop] / max(int(counts[layer].sum()), 1) * len(counts[layer])
        if len(ratios) and ratios.max() > best:
            best, place = float(ratios.max()), (layer, start + int(np.argmax(ratios)))
    return place


def selection_of(place: tuple[int, int], passes: tuple[int, int]) -> Selection:
    """Return the selection of an expert, with its pass if the cell shows a single one."""
    single = passes[0] if passes[1] - passes[0] == 1 else None
    return Selection(Kind.EXPERT, pass_id=single, layer=place[0], expert=place[1])
