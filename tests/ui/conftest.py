import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from moedesk.core.errors import CaptureError
from moedesk.session.panel import PanelSpec
from moedesk.session.settings import Settings
from moedesk.ui.opengl import Renderer
from moedesk.ui.window import Window
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.panels import SPECS

MakeWindow = Callable[..., Window]


def read(path: Path) -> MemoryStore:
    """Stand in for the reader of capture files: the window only sees a Store."""
    if path.suffix != ".h5":
        raise CaptureError(f"{path.name} is not an HDF5 file, so not a capture")
    return memory_store()


@pytest.fixture
def make_window(qtbot: QtBot, qapp: QApplication) -> Iterator[MakeWindow]:
    """Make windows over test panels; all are closed at the end."""
    windows: list[Window] = []

    def make(specs: tuple[PanelSpec, ...] = SPECS) -> Window:
        window = Window(specs, Settings(), Renderer(False, "raster"), read)
        windows.append(window)
        with qtbot.waitExposed(window):
            window.show()
        return window

    yield make
    for window in windows:
        window.close()
        window.deleteLater()
    qapp.setStyleSheet("")


@pytest.fixture
def window(make_window: MakeWindow, qtbot: QtBot) -> Window:
    """A window with one capture open and drawn."""
    made = make_window()
    made.files.open(Path("one.h5"))
    qtbot.waitUntil(lambda: made.files.current is not None and made.settled)
    return made


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A virtual screen with OpenGL."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as answer:
        number = answer.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait()
