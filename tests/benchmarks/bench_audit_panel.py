"""How late the event loop gets while the Audits panel audits a large capture: python -m tests.benchmarks.bench_audit_panel.

Prints the lateness of a timer of 5 ms without an audit, during one, and while its findings are filled in, in ms.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtCore import QElapsedTimer, Qt, QTimer

from moedesk.capture.open import open_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.resources import resource
from moedesk.panels.audits.model import run_audit
from moedesk.panels.audits.model_findings import with_entries
from moedesk.panels.audits.view import AuditsPanel
from moedesk.session.jobs import Jobs, Ticket
from moedesk.session.session import Session
from moedesk.ui.app import make_application
from moedesk.ui.delivery import Delivery
from moedesk.ui.pauses import share_lock
from tests.support.routing import random_batch, random_model
from tests.support.stage import NotingShell

PASSES, TOKENS, LAYERS, EXPERTS, TOP_K = 120, 4096, 8, 64, 8
INTERVAL = 5
FINDINGS = 600


def write(path: Path) -> None:
    """Write a capture whose passes repeat a few random ones: what is measured is reading, not writing."""
    model = random_model(LAYERS, EXPERTS, TOP_K)
    batches = [random_batch((1, number), model, TOKENS) for number in range(4)]
    with CaptureWriter(path) as writer:
        writer.describe(model)
        for number in range(PASSES):
            writer.append(batches[number % len(batches)])


def lateness(application, until: Callable[[], bool], least: float = 0.0) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Return how late each tick was, in ms, while events run until something holds."""
    late: list[float] = []
    clock = QElapsedTimer()
    timer = QTimer(interval=INTERVAL)
    timer.setTimerType(Qt.TimerType.PreciseTimer)

    def tick() -> None:
        late.append(max(0.0, clock.nsecsElapsed() / 1e6 - INTERVAL))
        clock.restart()

    timer.timeout.connect(tick)
    clock.start()
    timer.start()
    end = time.monotonic() + least
    while not until() or time.monotonic() < end:
        application.processEvents()
        time.sleep(0.0005)
    timer.stop()
    return np.array(late)


def say(what: str, late: np.ndarray) -> None:
    """Print one line."""
    median, most = np.median(late), late.max()
    print(
        f"{what:34} median {median:5.1f}, 99 % {np.quantile(late, 0.99):5.1f}, most {most:5.1f} ms ({len(late)} ticks)"
    )


def main() -> None:
    """Measure and print."""
    application = make_application()
    share_lock()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.h5"
        write(path)
        delivery = Delivery()
        session = Session(open_capture(path), Jobs(delivery), path)
        panel = AuditsPanel(session, NotingShell())
        panel.resize(1500, 900)
        panel.show()
        say("nothing runs", lateness(application, lambda: True, 1.0))
        used = time.process_time()
        panel.refresh(frozenset({"store", "selection"}))
        late = lateness(application, lambda: panel.audited is not None)
        audited = panel.audited
        assert audited is not None
        say("an audit runs", late)
        print(
            f"{audited.tokens:,} tokens × {LAYERS} layers × top-{TOP_K}: {time.process_time() - used:.1f} s of processor time"
        )
        session.close()
        with open_capture(resource("sample", "tinymoe-sick.h5")) as capture:
            sick = run_audit(capture, Ticket())
        found = sick.report.findings
        many = tuple(replace(found[n % len(found)], title=f"Finding {n}") for n in range(FINDINGS))
        answer = with_entries(replace(sick, report=replace(sick.report, findings=many)))  # the worker's part
        start = time.thread_time()
        panel._done(answer)
        print(
            f"{FINDINGS} findings filled in: {1000 * (time.thread_time() - start):.0f} ms of the GUI thread's processor time"
        )
        start = time.thread_time()
        application.processEvents()
        print(f"and drawn: {1000 * (time.thread_time() - start):.0f} ms")
        panel.close()
        panel.deleteLater()


if __name__ == "__main__":
    main()
