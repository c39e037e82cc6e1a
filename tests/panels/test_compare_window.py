"""The Compare panel in the window, with the sample captures: opened beside, compared, closed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from moedesk.core.resources import resource
from moedesk.panels.compare.spec import SPEC
from moedesk.panels.compare.view import ComparePanel
from moedesk.session.settings import Settings
from moedesk.ui.opengl import Renderer
from moedesk.ui.window import Window

HEALTHY, SICK = resource("sample", "tinymoe.h5"), resource("sample", "tinymoe-sick.h5")


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> Iterator[Window]:
    made = Window((SPEC,), Settings(tmp_path / "settings.json"), Renderer(False, "raster"))
    made.show()
    made.files.open(HEALTHY)
    qtbot.waitUntil(lambda: made.files.current is not None and made.settled)
    yield made
    made.close()
    made.deleteLater()
    qapp.setStyleSheet("")


def panel(window: Window) -> ComparePanel:
    host = window.workspace.docks["compare"].current
    assert host is not None
    assert isinstance(host.view, ComparePanel)
    return host.view


def test_a_dropped_capture_is_compared_and_the_session_stays_in_front(window: Window, qtbot: QtBot) -> None:
    mine, view = window.files.current, panel(window)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(SICK))])
    button, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    view.dropEvent(QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, button, none))
    qtbot.waitUntil(lambda: view.comparison is not None)
    assert window.files.current is mine
    assert [session.path for session in window.files.sessions] == [HEALTHY, SICK]
    assert "A logic difference" in view.verdict.text.text()
    window.close_session(window.files.sessions[1])
    assert view.comparison is None
    assert view.empty.text().startswith("tinymoe-sick.h5 was closed")
    assert window.beside.recent(mine)[0] == SICK, "what it was compared with comes first"


def test_a_capture_closed_while_it_is_read(window: Window, qtbot: QtBot) -> None:
    mine, view = window.files.current, panel(window)
    assert mine is not None
    view.open(SICK)
    qtbot.waitUntil(lambda: view.choice.progress.value() > 10)
    window.close_session(window.files.sessions[1])
    qtbot.waitUntil(lambda: mine.jobs.idle and not window.files._closing)
    assert view.comparison is None
    assert view.empty.text().startswith("tinymoe-sick.h5 was closed")
    view.open(SICK)
    qtbot.waitUntil(lambda: view.comparison is not None)


def test_a_capture_that_cannot_be_opened_is_said_once(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    view = panel(window)
    view.open(tmp_path / "missing.h5")
    qtbot.waitUntil(lambda: bool(window.messages.texts))
    assert len(window.messages.texts) == 1
    assert view.comparison is None
    assert view.empty.isVisible()


def test_closing_the_session_leaves_the_other_one_working(window: Window, qtbot: QtBot) -> None:
    mine, view = window.files.current, panel(window)
    assert mine is not None
    view.open(SICK)
    qtbot.waitUntil(lambda: view.comparison is not None)
    window.close_session(mine)
    qtbot.waitUntil(lambda: window.files.current is not None and window.settled)
    other = panel(window)
    assert other is not view
    assert other.choice.other.findText("tinymoe.h5") == -1
    assert window.beside.changed is not None
    window.files.open(HEALTHY)
    qtbot.waitUntil(lambda: len(window.files.sessions) == 2 and window.settled)
    assert other.choice.other.findText("tinymoe.h5") > 0
