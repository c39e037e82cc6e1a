"""Every test: no display needed, settings of its own, and nothing left behind."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:  # no Qt where a test has none
    from PySide6.QtWidgets import QApplication
    from pytestqt.qtbot import QtBot

# No deadline: machines are shared. In CI the same examples each time, so that a change fails for what it changed.
hypothesis.settings.register_profile("moedesk", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("moedesk")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# Two busy threads on shared cores wait for each other up to 100 times as long as they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LEAVING = 20.0
"""Seconds that a thread may take to end which was told to: on a busy machine it has not had its turn yet."""


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder for settings, recent files and logs."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("MOEDESK_CONFIG_DIR", str(folder))
    return folder


@pytest.fixture
def qtbot(qapp: "QApplication", request: pytest.FixtureRequest) -> "QtBot":
    """pytest-qt's robot, which waits as long as any test does."""
    from tests.support.patient_qtbot import PatientQtBot

    return PatientQtBot(request)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail when a test leaves a thread, and with Qt also a running timer or a top-level widget, behind."""
    threads = set(threading.enumerate())
    qt = None
    if "qapp" in request.fixturenames or "qtbot" in request.fixturenames:
        request.getfixturevalue("qapp")
        from tests.support import leftovers as qt

        qt.settle()
        before = qt.snapshot()
    yield
    started = [thread for thread in threading.enumerate() if thread not in threads and not _is_ours(thread)]
    for thread in started:
        thread.join(LEAVING)
    left = [thread.name for thread in started if thread.is_alive()]
    if qt is not None:
        left += qt.since(before)
    assert not left, f"the test left behind: {', '.join(left)}"


def _is_ours(thread: threading.Thread) -> bool:
    """Whether a thread belongs to a library that keeps it for the life of the process."""
    return thread.name.startswith(("ThreadPoolExecutor", "QThread-dummy", "Dummy-", "tqdm", "asyncio"))
