"""What Network and Elements cost the GUI thread while a model runs: 48 layers × 512 experts, a tick 30 times a second.

A scratch capture is written by a thread at a steady rate; each tick publishes it and refreshes the panel, as the window does.
Printed for each panel: the GUI thread's own time a frame, and the longest that it was away from its event loop in a frame (that
includes waiting for Python's lock), each as median (95th percentile, highest).

python -m tests.benchmarks.bench_live_panels [--passes 20000] [--rate 100] [--size 1600x900] [--only NAME]
"""

import argparse
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtWidgets import QApplication

from moedesk.capture.live import LiveCapture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN, Phase
from moedesk.core.filter import parse
from moedesk.core.model import ModelInfo
from moedesk.core.selection import Kind, Selection
from moedesk.panels.elements.view import ElementsPanel
from moedesk.panels.network.view import NetworkPanel
from moedesk.session.jobs import Jobs
from moedesk.session.session import Session
from moedesk.ui.delivery import Delivery
from moedesk.ui.panel import Panel
from moedesk.ui.theme import DARK
from tests.benchmarks.bench_elements import model as big_model
from tests.support.played_live import PlayedLive
from tests.support.stage import NotingShell

PERIOD = 1 / 30
TOP_K = 8


class Source:
    """Writes random passes of one token, every hundredth of 64, as fast as asked."""

    def __init__(self, path: Path, model: ModelInfo) -> None:
        self.writer = CaptureWriter(path, compress=False)
        self.writer.describe(model)
        rng = np.random.default_rng(0)
        self._made = [_batch(rng, model, 64 if number == 0 else 1) for number in range(100)]
        self._sent = 0
        self._stop = threading.Event()

    def send(self, passes: int) -> None:
        for _ in range(passes):
            batch = self._made[self._sent % len(self._made)]
            header = batch.header.copy()
            header["t0_ns"], header["t1_ns"] = self._sent * 10_000_000, self._sent * 10_000_000 + 8_000_000
            self.writer.append(RouteBatch(header, batch.tokens, batch.layers))
            self._sent += 1

    def start(self, rate: float) -> None:
        def run() -> None:
            start, begun = time.monotonic(), self._sent
            while not self._stop.wait(0.005):
                self.send(int((time.monotonic() - start) * rate) - (self._sent - begun))

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.writer.close()


def _batch(rng: np.random.Generator, model: ModelInfo, tokens: int) -> RouteBatch:
    header = np.zeros((), PASS)
    header["phase"] = Phase.PREFILL if tokens > 1 else Phase.DECODE
    header["n_seen"], header["batch"] = tokens, 1
    rows = np.zeros(tokens, TOKEN)
    rows["token_id"] = rng.integers(0, 300, tokens)
    routes = []
    for layer in model.layers:
        ids = np.sort((layer.experts * rng.random((tokens, TOP_K)) ** 2).astype(np.int16), axis=1)
        floats = rng.random((tokens, TOP_K + 2), np.float32)
        counts = np.bincount(ids.ravel(), minlength=layer.experts).astype(np.int64)
        flags = np.zeros(tokens, np.uint8)
        routes.append(LayerRoutes(layer.place, counts, ids, floats[:, :TOP_K], floats[:, -2], floats[:, -1], flags))
    return RouteBatch(header, {"main": rows}, tuple(routes))


def measure(name: str, panel: Panel, store: LiveCapture, seconds: float, application: QApplication) -> None:
    """Tick for some seconds and print what frames cost."""
    session, own, away = panel.session, [], []
    changed: set[str] = set()
    disconnect = session.changed.connect(changed.add)
    begun = passes = 0
    end = time.monotonic() + seconds + 1
    while time.monotonic() < end:
        if not begun and time.monotonic() > end - seconds:
            own, away, begun, passes = [], [], 1, store.n_passes
        start, cpu, longest = time.monotonic(), time.thread_time(), 0.0
        if store.publish():
            session.changed.emit("store")
        if changed:
            names = frozenset(changed)
            changed.clear()
            panel.refresh(names)
        longest = time.monotonic() - start
        while time.monotonic() < start + PERIOD:
            at = time.monotonic()
            application.processEvents()
            longest = max(longest, time.monotonic() - at)
            time.sleep(0.001)
        own.append(1e3 * (time.thread_time() - cpu))
        away.append(1e3 * longest)
    disconnect()
    texts = [f"{np.median(x):5.1f} ({np.percentile(x, 95):5.1f}, {max(x):5.1f})" for x in (own, away)]
    print(f"{name:<44} {texts[0]:>22} {texts[1]:>22} {(store.n_passes - passes) / seconds:8.0f}/s", flush=True)


def main() -> None:
    """Time both panels in the states a user leaves them in."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--passes", type=int, default=20_000)
    arguments.add_argument("--rate", type=float, default=100)
    arguments.add_argument("--size", default="1600x900")
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--only", default="")
    chosen = arguments.parse_args()
    application = QApplication([])
    with tempfile.TemporaryDirectory() as folder:
        source = Source(Path(folder) / "live.h5", big_model())
        source.send(chosen.passes)
        source.writer.flush()
        store = source.writer.live()
        source.start(chosen.rate)
        print(
            f"{store.n_passes:,} passes, then {chosen.rate:g} a second; {chosen.size}; ms a frame: median (95 %, highest)"
        )
        print(f"{'':<44} {'GUI thread itself':>22} {'away from events':>22} {'passes':>10}")
        for name, kind, prepare in STATES:
            if chosen.only not in name:
                continue
            delivery = Delivery()
            session = Session(store, Jobs(delivery))
            session.live = PlayedLive(session)
            panel = kind(session, NotingShell(DARK))
            panel.resize(*(int(side) for side in chosen.size.split("x")))
            panel.show()
            panel.refresh(frozenset({"store", "selection", "window", "cursor", "filter", "live"}))
            _settle(session, application)
            prepare(panel)
            _settle(session, application)
            measure(name, panel, store, chosen.seconds, application)
            session.jobs.close()
            panel.close()
            panel.deleteLater()
            application.processEvents()
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB at most")
        source.close()
        store.close()


def _settle(session: Session, application: QApplication) -> None:
    end = time.monotonic() + 20
    while not session.jobs.idle and time.monotonic() < end:
        application.processEvents()
    application.processEvents()


def _select_expert(panel: Panel) -> None:
    panel.session.select(Selection(Kind.EXPERT, layer=20, expert=7))


def _select_layer(panel: Panel) -> None:
    panel.session.select(Selection(Kind.LAYER, layer=20))


def _zoom(panel: NetworkPanel) -> None:
    last = panel.session.store.n_passes
    panel.overview.heatmap._plot.setXRange(last - 400, last, padding=0)


def _sort(panel: NetworkPanel) -> None:
    panel.passes._click_header(3)


def _expand(panel: ElementsPanel) -> None:
    panel.outline.expand_to("expert")


STATES = (
    ("Network, following", NetworkPanel, lambda panel: None),
    ("Network, zoomed to the newest 400", NetworkPanel, _zoom),
    ("Network, sorted by time", NetworkPanel, _sort),
    ("Network, filtered", NetworkPanel, lambda panel: panel.session.set_filter(parse("layer:3 expert:7"))),
    ("Network, an expert selected", NetworkPanel, _select_expert),
    ("Elements, nothing selected", ElementsPanel, lambda panel: None),
    ("Elements, a layer selected", ElementsPanel, _select_layer),
    ("Elements, an expert selected", ElementsPanel, _select_expert),
    ("Elements, every expert expanded", ElementsPanel, _expand),
)


if __name__ == "__main__":
    main()
