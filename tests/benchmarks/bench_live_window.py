"""The whole window following a model in another process: latency, the event loop, memory. Run by hand:

python -m tests.benchmarks.bench_live_window latency [SECONDS]    from the end of a pass to its picture on the screen
python -m tests.benchmarks.bench_live_window loop [SECONDS]       how long the event loop is held up, at 48 × 512 experts
python -m tests.benchmarks.bench_live_window soak [MINUTES]       memory of the app while passes keep coming

A third argument is the rate, in passes a second.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SHAPES = {
    "latency": ("16", "64", "8", "64", "50"),
    "loop": ("48", "512", "8", "8", "60"),
    "soak": ("48", "512", "8", "8", "60"),
}
"""Layers, experts, top-k, token rows a pass, passes a second."""


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "latency"
    amount = float(sys.argv[2]) if len(sys.argv) > 2 else {"latency": 20.0, "loop": 20.0, "soak": 10.0}[what]
    rate = sys.argv[3] if len(sys.argv) > 3 else SHAPES[what][4]
    if sys.platform.startswith("linux") and "DISPLAY" not in os.environ:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MOEDESK_CONFIG_DIR"] = folder
        sender = subprocess.Popen(
            [sys.executable, "-m", "tests.support.live_sender", *SHAPES[what][:4], rate],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert sender.stdout is not None
            Bench(sender.stdout.readline().strip()).run(what, amount)
        finally:
            sender.kill()
            sender.wait()


class Bench:
    """The window, its link, and clocks."""

    def __init__(self, address: str) -> None:
        from PySide6.QtCore import QTimer

        from moedesk.link.client import LinkClient
        from moedesk.link.endpoint import Endpoint
        from moedesk.session.feed import Feed
        from moedesk.session.settings import Settings
        from moedesk.ui.app import make_application, make_window
        from moedesk.ui.pauses import share_lock

        self.application = make_application()
        share_lock()
        self.window = make_window(Settings(), mode="off")
        self.window.resize(1600, 900)
        self.window.show()
        live = self.window.live
        self.feed = Feed(live.scratch, live._delivery, live._wake, live._added, live._revealed)
        self.client = LinkClient(Endpoint(address), self.feed)
        self.late: list[float] = []
        self.turns: list[float] = []  # processor time of the GUI thread between two beats
        self._beat_at, self._beat_cpu = time.perf_counter(), time.thread_time()
        self._beat = QTimer(interval=5)
        self._beat.timeout.connect(self._beaten)

    def _beaten(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        self.late.append(now - self._beat_at - 0.005)
        self.turns.append(cpu - self._beat_cpu)
        self._beat_at, self._beat_cpu = now, cpu

    def spin(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        from PySide6.QtCore import QEventLoop, QTimer

        loop = QEventLoop()
        limit = time.monotonic() + seconds
        watch = QTimer(interval=20)
        watch.timeout.connect(lambda: loop.quit() if until() or time.monotonic() > limit else None)
        watch.start()
        loop.exec()
        watch.stop()

    def run(self, what: str, amount: float) -> None:
        self.spin(20, lambda: self.window.files.current is not None and self.window.files.current.store.n_passes > 10)
        from moedesk.ui.pauses import spare_loaded

        spare_loaded()
        self.session = self.window.files.current
        {"latency": self.latency, "loop": self.loop, "soak": self.soak}[what](amount)
        self.client.close()
        self.window.saving.ask_unsaved = lambda sessions: "discard"  # type: ignore[method-assign]
        self.window.close()

    def latency(self, seconds: float) -> None:
        for panel in ("network", "waterfall"):
            self.window.workspace.show_panel(panel)
            self.spin(3)
            shown = self._watch_pictures(panel)
            self.spin(seconds)
            ages = np.array([age for age in shown if age < 60]) * 1e3
            shown.clear()
            half, most, nearly = np.percentile(ages, (50, 95, 99))
            print(
                f"{panel}: {len(ages)} pictures, pass end to painted: p50 {half:.0f} p95 {most:.0f} p99 {nearly:.0f} ms"
            )

    def _watch_pictures(self, panel: str) -> list[float]:
        """Note at each paint how old the newest pass in the picture is, once a pass."""
        view = self.window.workspace.docks[panel].hosts[self.session].view
        ages: list[float] = []
        seen = [-1]
        if panel == "network":
            picture = view.overview.heatmap

            def newest() -> int:
                return int(picture.picture.pass_edges[-1]) if picture.picture is not None else 0
        else:
            picture, scene = view.waterfall.canvas, view.waterfall.scene

            def newest() -> int:
                return min(scene.ring.last * scene.passes, scene.end)

        paint = type(picture).paintEvent

        def painted(event: object) -> None:
            paint(picture, event)
            last = newest() - 1
            if last > seen[0]:
                seen[0] = last
                header = self.session.store.read_passes(last, last + 1)[0]
                ages.append((time.time_ns() - int(header["t1_ns"])) / 1e9)

        picture.paintEvent = painted
        return ages

    def loop(self, seconds: float) -> None:
        print(
            "late: how long a timer of 5 ms waits beyond that. GUI thread: its processor time; a turn is from beat to beat"
        )
        ticks: list[int] = []
        self.window.ticker.add(lambda: ticks.append(1) or False)  # type: ignore[func-returns-value]
        for panel in ("network", "waterfall", "elements"):
            self.window.workspace.show_panel(panel)
            self.spin(4)
            self._beat_at, self._beat_cpu = time.perf_counter(), time.thread_time()
            self._beat.start()
            for noted in (self.late, self.turns, ticks):
                noted.clear()
            before = self.session.store.n_passes, time.thread_time(), time.perf_counter()
            self.spin(seconds)
            passes, busy, took = (
                self.session.store.n_passes - before[0],
                time.thread_time() - before[1],
                time.perf_counter() - before[2],
            )
            self._beat.stop()
            late = np.array(self.late) * 1e3
            half, most, nearly = np.percentile(late, (50, 95, 99))
            print(
                f"{panel}: {passes / took:.0f} passes/s; event loop late by p50 {half:.1f} p95 {most:.1f} p99 {nearly:.1f}",
                end=" ",
            )
            print(
                f"max {late.max():.0f} ms; {len(ticks) / took:.0f} frames/s, GUI thread {1e3 * busy / len(ticks):.1f} ms each, "
                f"longest turn {1e3 * max(self.turns):.0f} ms"
            )

    def soak(self, minutes: float) -> None:
        panels = ("network", "waterfall", "elements")
        started = time.monotonic()
        turn = 0
        while time.monotonic() - started < minutes * 60:
            self.window.workspace.show_panel(panels[turn % len(panels)])
            turn += 1
            self.spin(20)
            if turn % len(panels):
                continue
            size = self.session.live.path.stat().st_size / 2**20
            print(
                f"{(time.monotonic() - started) / 60:6.1f} min  {self.session.store.n_passes:>8,} passes  file {size:8,.0f} MiB  "
                f"app {resident():6.0f} MiB",
                flush=True,
            )


def resident() -> float:
    """Return this process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
