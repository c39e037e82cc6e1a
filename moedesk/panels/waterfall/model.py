"""What the Waterfall panel says: captions, what is pointed at, and what to do when there is nothing. No Qt."""

from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from moedesk.analysis.balance_window import LONGEST, SLOTS_AN_EXPERT
from moedesk.analysis.conventions import title
from moedesk.analysis.heatmap import Cell
from moedesk.analysis.load import METRICS
from moedesk.analysis.pass_labels import pass_labels
from moedesk.analysis.waterfall import Frame, offsets_of, read_columns
from moedesk.analysis.waterfall_measure import MEASURES, NONE
from moedesk.core.model import ModelInfo
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store

WINDOWS = (0, 1, 8, 32, 128, 512, 2048)
"""Passes that the balance can be computed over; 0 for as many as hold enough slots to judge."""

NO_LAYERS = "There are no Mixture-of-Experts layers here, so there is no routing to show."
NO_LAYERS_LIVE = (
    'No Mixture-of-Experts layers yet. In the console: moe.load("sample"), or moe.attach(model, tokenizer).'
)
NO_LAYERS_FILE = "Record a model in which a router picks experts: moedesk.record(model, path)."
NO_PASSES_LIVE = (
    "No passes yet.\n"
    'Run the model in the console: moe.run("The quick brown fox", max_new_tokens=64).\n'
    "Each forward of an attached model adds a column here."
)
NO_PASSES_FILE = (
    "No passes yet.\n"
    'Record some: with moedesk.record(model, "run.h5", tokenizer=tokenizer): model(…)\n'
    "or open another capture with Ctrl+O."
)


def empty_text(model: ModelInfo, n_passes: int, live: bool) -> str:
    """Return what to say, and to do, while there is nothing to draw; empty if there is."""
    if not model.layers:
        return NO_LAYERS_LIVE if live else f"{NO_LAYERS}\n{NO_LAYERS_FILE}"
    if not n_passes:
        return NO_PASSES_LIVE if live else NO_PASSES_FILE
    return ""


@dataclass(frozen=True)
class InView:
    """What of the passes in view was read.

    Attributes
    ----------
    passes, read, bare, spared : int
        Passes in view, those whose token rows were read, those that kept counts only, and those spared what is shown.
    coarse, cut : int
        As in ``analysis.waterfall.Columns``.
    """

    passes: int
    read: int
    bare: int
    spared: int
    coarse: int
    cut: int


def caption(frame: Frame, row_edges: npt.NDArray[np.int64], view: InView) -> str:
    """Return one line: what a cell, a row and a column are, and what is left out."""
    measure = MEASURES[frame.measure]
    experts = int(np.diff(row_edges).max(initial=1))
    which = f"the {measure.peak}" if measure.column else "the busiest"
    parts = [
        measure.caption,
        "a row is one expert" if experts <= 1 else f"a row is {which} of up to {experts} experts",
        "a column is one pass" if frame.passes <= 1 else f"a column is the mean over {frame.passes:,} passes",
        "padding left out",
    ]
    if view.read + view.bare < view.passes:
        read = f"{measure.title.lower()} read for {view.read:,} of {view.passes:,} passes in view"
        parts.append(f"{read}: too many token rows at once")
    if view.cut:
        parts.append(f"the first {view.cut:,} token rows of a longer pass")
    if view.bare and measure.column:
        parts.append(f"{view.bare:,} passes kept counts only, so their {measure.title.lower()} is unknown")
    if view.spared:
        parts.append(f"{view.spared:,} passes came too fast for it (is:spared), so it is unknown there")
    if view.coarse:
        parts.append(f"counts in blocks of up to {view.coarse:,} passes")
    return "; ".join(parts)


def window_title(window: int) -> str:
    """Return the name of a window to choose."""
    if not window:
        return f"≥ {SLOTS_AN_EXPERT} slots an expert"
    return "Each pass alone" if window == 1 else f"Last {window:,} passes"


def window_help() -> str:
    """Return why there is a window."""
    return (
        "The curves show how even the slots of the last passes are, up to each column. One decode pass alone has too few slots "
        f"to judge: chance looks like imbalance.\n≥ {SLOTS_AN_EXPERT} slots an expert: the fewest passes that hold so many on "
        f"average in every layer, {LONGEST:,} at most.\nWhere a column has several passes, the window is rounded up to whole "
        "columns; at the start it holds what there is."
    )


def curve_title(key: str, window: int) -> str:
    """Return the title of a plot."""
    over = "each pass" if window == 1 else f"last {window:,} passes"
    if not window:
        over = f"last passes with ≥ {SLOTS_AN_EXPERT} slots an expert"
    return f"{title(key)} ({METRICS[key].formula}), {over}"


def curve_text(
    key: str, passes: tuple[int, int], values: npt.NDArray[np.float32], layer: int | None, window: int
) -> str:
    """Return one line about a point of a curve; ``window`` is how many passes it is over."""
    over = "in this pass alone" if window == 1 else f"over the {window:,} passes up to it"
    if layer is None:
        return f"{passes_text(passes)} · {METRICS[key].name}: no slots {over}"
    known = values[np.isfinite(values)]
    spread = (
        f" · layers {known.min():.3f} to {known.max():.3f}, median {np.median(known):.3f}" if len(values) > 1 else ""
    )
    return f"{passes_text(passes)} · {METRICS[key].name} of L{layer} {values[layer]:.3f} {over}{spread}"


def passes_text(passes: tuple[int, int]) -> str:
    """Return ``pass 3`` or ``passes 3–7``."""
    first, last = passes
    return f"pass {first:,}" if last - first == 1 else f"passes {first:,}–{last - 1:,}"


def cell_text(cell: Cell, model: ModelInfo, key: str) -> str:
    """Return one line about a cell: layer, experts, passes and value."""
    (layer, first), (other, last) = cell.first, cell.last
    path = model.layers[layer].path
    measure = MEASURES[key]
    if other != layer:
        where = f"L{layer} {path} to L{other} {model.layers[other].path}"
    elif first == last:
        where = f"L{layer} {path} · expert {first}"
    else:
        where = f"L{layer} {path} · experts {first}–{last}"
    peak = "" if cell.first == cell.last else "busiest: " if key == "load" else f"{measure.peak}: "
    has_value = cell.ratio == cell.ratio and cell.ratio != (NONE if measure.column else 0)
    return f"{where} · {passes_text(cell.passes)} · {peak if has_value else ''}{measure.text(cell.ratio)}"


def more_text(store: Store, cell: Cell) -> str:
    """Return a cell's slots, and what its passes were labelled as."""
    named = pass_labels(store).text(*cell.passes)
    return slots_text(store, cell) + (f" · labelled {named}" if named else "")


def slots_text(store: Store, cell: Cell) -> str:
    """Return exactly how many slots the experts of a cell received, and out of how many."""
    counts = store.window_counts(*cell.passes)
    (first_layer, first), (last_layer, last) = cell.first, cell.last
    if first_layer == last_layer:
        layer = counts[first_layer]
        return f"{int(layer[first : last + 1].sum()):,} of {int(layer.sum()):,} slots"
    return f"{sum(int(layer.sum()) for layer in counts[first_layer : last_layer + 1]):,} slots"


def peak_of(store: Store, frame: Frame, cell: Cell) -> tuple[int, int]:
    """Return the (layer, expert) whose value a cell shows: the first one if none has any."""
    if cell.first == cell.last:
        return cell.first
    offsets = offsets_of(store.model)
    rows = int(offsets[cell.first[0]]) + cell.first[1], int(offsets[cell.last[0]]) + cell.last[1] + 1
    alone = Frame(frame.measure, frame.passes, rows, rows[1] - rows[0], frame.passes)
    column = cell.passes[0] // frame.passes
    values = read_columns(store, alone, column, column + 1, cell.passes[1]).fields["values"][:, 0]
    smallest = MEASURES[frame.measure].peak == "smallest"
    values = np.where(np.isfinite(values), values, np.inf if smallest else -np.inf)
    row = rows[0] + int(np.argmin(values) if smallest else np.argmax(values))
    layer = int(np.searchsorted(offsets, row, side="right")) - 1
    return layer, row - int(offsets[layer])


def selection_of(place: tuple[int, int], passes: tuple[int, int]) -> Selection:
    """Return the selection of an expert, with its pass if the cell shows a single one."""
    single = passes[0] if passes[1] - passes[0] == 1 else None
    return Selection(Kind.EXPERT, pass_id=single, layer=place[0], expert=place[1])


class Pace:
    """How many pixels a live pass gets: fewer, the faster they come, so that a frame scrolls no more than about 16."""

    WIDEST = 4.0
    SCROLL = 16.0  # pixels a frame
    FRAME = 1 / 30  # seconds

    def __init__(self) -> None:
        self.rate = 0.0
        self._at = nan
        self._passes = 0
        self._chosen = self.WIDEST

    def per_pass(self, now: float, passes: int) -> float:
        """Return the pixels a pass at time ``now`` (seconds) with ``passes`` there in all: a power of two."""
        if not now - self._at < 2:  # the first time, or after a pause
            self._at, self._passes = now, passes
            return self._chosen
        if now - self._at >= 0.25:
            self.rate = (passes - self._passes) / (now - self._at) * self.FRAME
            self._at, self._passes = now, passes
            while self.rate * self._chosen > self.SCROLL:
                self._chosen /= 2
            while self._chosen < self.WIDEST and self.rate * self._chosen * 4 < self.SCROLL:
                self._chosen *= 2
        return self._chosen
