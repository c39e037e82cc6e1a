"""What a frame of the waterfall costs the GUI thread, and what its new passes cost the worker.

"frame" is all that a tick with new passes costs the GUI thread: hand over the answer, paint picture, axes and curves. Of that,
"ring" is colouring (or uploading) the new columns and painting the picture; "all anew" the same with every column in view, as a
picture without a ring would need. "worker" reads the new columns from counts in memory, "all columns" every one in view. Figures
are of the thread's own time, so that others on the machine matter less; what is compared alternates. Under OpenGL that leaves out
what the driver's own threads do, so "wall" is there too.

Run by hand:  python -m tests.benchmarks.bench_waterfall [opengl] [LAYERS EXPERTS]
Without a display it draws raster, as the offscreen platform does; for OpenGL start it under a display (xvfb-run -a …).
Goal: under 16 ms at 48 layers × 512 experts, 1600×900, 1 to 10 new passes a tick.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from time import perf_counter, thread_time

if "opengl" not in sys.argv:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtWidgets import QApplication

from moedesk.analysis.waterfall import read_columns
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.core.store import LoadBlocks
from moedesk.panels.waterfall.view import WaterfallPanel
from moedesk.session.jobs import Jobs
from moedesk.session.session import Session
from moedesk.ui.app import make_application
from moedesk.ui.delivery import Delivery
from moedesk.ui.style_sheet import style_sheet
from moedesk.ui.theme import DARK
from tests.support.stage import NotingShell

FRAMES = 40
KEPT = 1024  # passes of which the counts are made; later ones repeat them
NAMES = ("frame", "wall", "ring", "all anew", "worker", "all columns")


class Counts:
    """The counts of a live model, all passes alike in number."""

    name, revision, complete, notes = "bench", 0, True, ()

    def __init__(self, layers: int, experts: int) -> None:
        infos = (LayerInfo(f"model.layers.{n}.mlp", "B", experts, 8, place=n) for n in range(layers))
        self.model = ModelInfo("bench", "Bench", tuple(infos))
        self.n_passes = 2000
        rng = np.random.default_rng(0)
        rates = rng.gamma(1.5, 0.7, layers * experts)
        self._counts = rng.poisson(rates, (KEPT, layers * experts)).astype(np.uint32)
        self._offsets = np.array(list(accumulate([experts] * layers, initial=0)))

    def load_blocks(self, first: int, last: int, columns: int) -> LoadBlocks:
        step = max(1, -(-(last - first) // columns))
        edges = np.append(np.arange(first, last, step), last)
        counts = self._counts[np.arange(first, last) % KEPT]
        if step > 1:
            counts = np.add.reduceat(counts, np.arange(0, last - first, step), axis=0)
        return LoadBlocks(edges, counts, self._offsets)

    def window_counts(self, first: int = 0, last: int | None = None) -> list[np.ndarray]:
        total = self._counts[np.arange(first, self.n_passes if last is None else last) % KEPT].sum(0, dtype=np.int64)
        return np.split(total, self._offsets[1:-1])


class Clock:
    """Notes the time that a block took, in milliseconds."""

    def __init__(self, times: list[float], clock: Callable[[], float] = thread_time) -> None:
        self._times, self._clock = times, clock

    def __enter__(self) -> None:
        self._start = self._clock()

    def __exit__(self, *_: object) -> None:
        self._times.append(1e3 * (self._clock() - self._start))


def settle(application: QApplication, session: Session) -> None:
    for _ in range(3):
        while not session.jobs.idle:
            application.processEvents()
        application.processEvents()


def frame(application: QApplication, panel: WaterfallPanel, count: int, times: dict[str, list[float]]) -> None:
    """One tick with ``count`` new passes."""
    view, feed, store = panel.waterfall, panel.feed, panel.session.store
    assert isinstance(store, Counts)
    first = feed.ring.last
    store.n_passes += count
    end = store.n_passes
    with Clock(times["worker"]):
        columns = read_columns(store, feed.frame, first, first + count, end, feed._tail)
    if len(times["all columns"]) < 3:
        with Clock(times["all columns"]):
            read_columns(store, feed.frame, *view.viewport.columns(end), end)
    feed._busy = True  # the worker's part was done above
    with Clock(times["frame"]), Clock(times["wall"], perf_counter):
        panel.refresh(frozenset({"store"}))
        feed._take(columns)
        application.processEvents()
    with Clock(times["ring"]):
        view.canvas.take(first, first + count)
        view.canvas.repaint()
    with Clock(times["all anew"]):
        view.canvas.renew()
        view.canvas.repaint()
    application.processEvents()


def measure(opengl: bool, layers: int, experts: int) -> None:
    application = make_application()
    application.setStyleSheet(style_sheet(DARK))
    store = Counts(layers, experts)
    session = Session(store, Jobs(Delivery()))
    panel = WaterfallPanel(session, NotingShell(DARK, opengl))
    panel.resize(1600, 900)
    panel.show()
    panel.refresh(frozenset({"store", "selection", "window", "cursor", "filter", "live"}))
    settle(application, session)
    view = panel.waterfall
    print(f"{type(view.canvas).__name__}, {layers} layers × {experts} experts = {layers * experts:,} rows, 1600×900")
    print(f"{'passes':>10} " + " ".join(f"{name:>13}" for name in NAMES) + "   ms, median (95th percentile)")
    for per_pass in (1.0, 4.0):
        view.set_viewport(replace(view.viewport, per_pass=per_pass))
        settle(application, session)
        for count in (1, 4, 10):
            times: dict[str, list[float]] = {name: [] for name in NAMES}
            for _ in range(FRAMES):
                frame(application, panel, count, times)
            texts = [f"{np.median(x):5.1f} ({np.percentile(x, 95):5.1f})" for x in times.values()]
            ratios = [np.median(times[more]) / np.median(times[less]) for less, more in (NAMES[2:4], NAMES[4:6])]
            print(f"{count:>3} × {per_pass:g} px  " + " ".join(texts), *(f"{ratio:6.1f} ×" for ratio in ratios))
    session.close()
    panel.close()


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    measure("opengl" in sys.argv, *(numbers or (48, 512)))
