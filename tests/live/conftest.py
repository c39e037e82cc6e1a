"""A window with a real kernel that holds the sample model: made once, since importing torch takes seconds."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from moedesk.session.kernel import Kernel, KernelState
from moedesk.session.panel import panel_specs
from moedesk.session.settings import Settings
from moedesk.ui.opengl import Renderer
from moedesk.ui.window import Window
from tests.support.cell import Cell

Run = Callable[[str], Cell]


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication) -> Iterator[Window]:
    threads = set(threading.enumerate())
    made = Window(panel_specs(), Settings(), Renderer(False, "raster"))
    made.resize(1300, 850)
    with qtbot.waitExposed(made):
        made.show()
    yield made
    made.saving.ask_unsaved = lambda sessions: "discard"  # type: ignore[method-assign]
    made.close()
    made.deleteLater()
    # A console lets its channels go in the background.
    qtbot.waitUntil(lambda: not [thread for thread in threading.enumerate() if thread not in threads])
    qapp.setStyleSheet("")


@pytest.fixture
def kernel(window: Window, qtbot: QtBot) -> Kernel:
    """A kernel that answers, with a link."""
    window.start_kernel()
    kernel = window.live.kernel
    assert kernel is not None
    qtbot.waitUntil(lambda: kernel.client is not None and kernel.state is KernelState.READY)
    qtbot.waitUntil(lambda: window.files.current is not None)
    return kernel


@pytest.fixture
def run(kernel: Kernel, qtbot: QtBot) -> Run:
    """Run code in the kernel and wait for its end, while the window lives."""

    def run_code(code: str, wait: bool = True) -> Cell:
        assert isinstance(kernel.connection_file, Path)
        cell = Cell(kernel.connection_file, code)
        if wait:
            qtbot.waitUntil(lambda: cell.done)
            assert not cell.error, cell.error
        return cell

    return run_code
