from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication
from PySide6.QtWidgets import QPushButton, QTabBar
from pytestqt.qtbot import QtBot

from moedesk.core.selection import Kind
from moedesk.session.settings import Settings
from moedesk.ui.session_bar import SessionBar
from moedesk.ui.welcome import SNIPPET
from moedesk.ui.window import Window
from tests.support.panels import SPECS, NotingPanel


def press(qtbot: QtBot, window: Window, keys: str) -> None:
    """Press a shortcut as the window's actions know it (offscreen gives no window the keyboard)."""
    from PySide6.QtGui import QKeySequence

    wanted = QKeySequence(keys)
    actions = [action for action in window.actions() if wanted in action.shortcuts()]
    assert len(actions) == 1, f"{keys} belongs to {len(actions)} actions"
    actions[0].trigger()


def shown(window: Window) -> list[str]:
    return [panel_id for panel_id, dock in window.workspace.docks.items() if dock.shown]


def test_nothing_open_shows_the_welcome_page(make_window, qtbot: QtBot) -> None:  # type: ignore[no-untyped-def]
    window: Window = make_window()
    assert window.welcome.isVisible()
    assert not window.transport.isVisible()
    assert not shown(window), "panels do nothing"
    copy = next(button for button in window.welcome.findChildren(QPushButton) if button.text() == "Copy")
    copy.click()
    assert QGuiApplication.clipboard().text() == SNIPPET


def test_a_file_that_is_no_capture_says_so_in_the_window(make_window, qtbot: QtBot) -> None:  # type: ignore[no-untyped-def]
    window: Window = make_window()
    window.files.open(Path("notes.txt"))
    window.files.open(Path("other.txt"))
    qtbot.waitUntil(lambda: len(window.messages.texts) == 2)
    assert window.messages.texts[0] == "notes.txt is not an HDF5 file, so not a capture"
    assert window.welcome.isVisible()
    window.files.open(Path("notes.txt"))
    qtbot.waitUntil(lambda: window.messages.texts[-1].startswith("notes"))
    assert len(window.messages.texts) == 2, "the same line once"
    window.messages.clear()
    assert not window.messages.isVisible()


def test_an_opened_file_is_first_among_the_recent_ones(window: Window) -> None:
    assert window.recent.paths == (Path("one.h5").absolute(),)
    assert not window.welcome.isVisible()
    assert window.windowTitle().endswith("moedesk")


def test_dropped_files_open(make_window, qtbot: QtBot) -> None:  # type: ignore[no-untyped-def]
    window: Window = make_window()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile("/tmp/a.h5"), QUrl.fromLocalFile("/tmp/b.h5"), QUrl("https://example.org/c.h5")])
    event = QDropEvent(
        QPointF(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    window.dropEvent(event)
    qtbot.waitUntil(lambda: len(window.files.sessions) == 2)
    bar = window.findChild(SessionBar)
    assert bar.isVisible()
    assert bar.count() == 2
    bar.setCurrentIndex(0)
    assert window.files.current is window.files.sessions[0]
    bar.tabCloseRequested.emit(0)
    assert [str(session.path) for session in window.files.sessions] == ["/tmp/b.h5"]
    assert not bar.isVisible()


def test_a_file_opened_twice_is_one_session(window: Window, qtbot: QtBot) -> None:
    window.files.open(Path("two.h5"))
    window.files.open(Path("two.h5"))
    qtbot.waitUntil(lambda: len(window.files.sessions) == 2 and not window.files.busy)
    window.files.open(Path("one.h5"))
    assert window.files.current is window.files.sessions[0]
    assert len(window.files.sessions) == 2


def test_closing_the_last_file_brings_the_welcome_page_and_undo_brings_the_file(window: Window, qtbot: QtBot) -> None:
    press(qtbot, window, "Ctrl+W")
    assert window.welcome.isVisible()
    recent = [button.text() for button in window.welcome.findChildren(QPushButton, "recent_file")]
    assert recent[-1:] == ["one.h5"]
    press(qtbot, window, "Ctrl+Shift+T")
    qtbot.waitUntil(lambda: window.files.current is not None)


def test_closed_panels_come_back(window: Window, qtbot: QtBot) -> None:
    window.commands.run("panel.routes")
    qtbot.waitUntil(lambda: shown(window) == ["modules"])
    assert not window.workspace.is_open("routes")
    press(qtbot, window, "Ctrl+Shift+T")
    qtbot.waitUntil(lambda: shown(window) == ["routes"])
    window.workspace.close_panel("routes")
    press(qtbot, window, "Ctrl+1")
    qtbot.waitUntil(lambda: shown(window) == ["routes"])


def test_tabs_show_and_close_panels(window: Window, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: any(bar.tabsClosable() for bar in window.workspace.findChildren(QTabBar)))
    bar = next(bar for bar in window.workspace.findChildren(QTabBar) if bar.count() == 2)
    assert [bar.tabText(place) for place in range(2)] == ["Routes", "Modules"]
    qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(1).center() - QPoint(8, 0))
    qtbot.waitUntil(lambda: shown(window) == ["modules"])
    bar.tabCloseRequested.emit(1)
    qtbot.waitUntil(lambda: not window.workspace.is_open("modules"))
    assert window.workspace.is_open("routes")


def test_a_panel_floats_and_goes_back(window: Window, qtbot: QtBot) -> None:
    dock = window.workspace.docks["routes"]
    press(qtbot, window, "Ctrl+Shift+D")
    qtbot.waitUntil(lambda: dock.isFloating() and sorted(shown(window)) == ["modules", "routes"])
    assert dock.titleBarWidget().sizeHint().height() > 10, "a floating panel can be dragged by its title"
    dock.activateWindow()
    dock.setFocus()
    window.workspace.docks["modules"].close()
    press(qtbot, window, "Ctrl+W")
    assert not dock.isVisible(), "nothing floats over the welcome page"
    press(qtbot, window, "Ctrl+Shift+T")
    qtbot.waitUntil(lambda: dock.isVisible() and window.settled)
    press(qtbot, window, "Ctrl+Shift+D")
    qtbot.waitUntil(lambda: not dock.isFloating())
    qtbot.waitUntil(lambda: dock.titleBarWidget().sizeHint().height() == 0)


def test_the_drawer_opens_and_closes(window: Window, qtbot: QtBot) -> None:
    assert not window.workspace.is_open("output")
    press(qtbot, window, "Esc")
    qtbot.waitUntil(lambda: "output" in shown(window))
    press(qtbot, window, "Esc")
    qtbot.waitUntil(lambda: "output" not in shown(window))


def test_layout_and_panel_state_are_kept_between_runs(make_window, qtbot: QtBot) -> None:  # type: ignore[no-untyped-def]
    first: Window = make_window()
    first.files.open(Path("one.h5"))
    qtbot.waitUntil(lambda: first.files.current is not None and first.settled)
    view = first.workspace.docks["routes"].current.view  # type: ignore[union-attr]
    assert isinstance(view, NotingPanel)
    view.width_kept = 321
    first.resize(701, 603)  # the off-screen display is 800 wide
    first.workspace.toggle_drawer()
    first.workspace.show_panel("modules")
    qtbot.waitUntil(lambda: shown(first) == ["modules", "output"])
    first.close()

    second: Window = make_window()
    second.files.open(Path("one.h5"))
    qtbot.waitUntil(lambda: shown(second) == ["modules", "output"])
    assert (second.width(), second.height()) == (701, 603)
    second.workspace.show_panel("routes")
    host = second.workspace.docks["routes"].current
    assert host is not None
    qtbot.waitUntil(lambda: host.view is not None)
    assert isinstance(host.view, NotingPanel)
    assert host.view.width_kept == 321
    second.commands.run("view.reset")
    qtbot.waitUntil(lambda: shown(second) == ["routes"])
    assert not second.workspace.is_open("output")


@pytest.mark.parametrize(
    "layout", ["nonsense", {"docks": "AAAA", "panels": ["modules", "output", "routes"]}, {"geometry": 3}]
)
def test_a_broken_layout_falls_back_to_the_declared_one(make_window, qtbot: QtBot, layout: object) -> None:  # type: ignore[no-untyped-def]
    settings = Settings()
    settings.set("layout", layout)
    settings.save()
    window: Window = make_window()
    window.files.open(Path("one.h5"))
    qtbot.waitUntil(lambda: shown(window) == ["routes"])


def test_zoom_changes_the_font_and_is_kept(window: Window, qtbot: QtBot) -> None:
    normal = window.status.font().pointSizeF()
    press(qtbot, window, "Ctrl++")
    assert window.status.font().pointSizeF() == pytest.approx(normal * 1.1)
    press(qtbot, window, "Ctrl+-")
    press(qtbot, window, "Ctrl+-")
    assert window.status.font().pointSizeF() == pytest.approx(normal * 0.9)
    press(qtbot, window, "Ctrl+0")
    assert window.status.font().pointSizeF() == pytest.approx(normal)


def test_find_goes_to_the_panel_in_front(window: Window, qtbot: QtBot) -> None:
    press(qtbot, window, "Ctrl+F")
    host = window.workspace.current_panel
    assert host is not None
    assert isinstance(host.view, NotingPanel)
    assert window.focusWidget() is host.view.find_field


def test_the_status_bar_counts_what_the_store_holds(window: Window, qtbot: QtBot) -> None:
    session = window.files.current
    assert session is not None
    store = session.store
    text = f"{store.n_passes} passes · {len(store.read_tokens()):,} token rows · 3 MoE layers × 8 experts, top-2"
    qtbot.waitUntil(lambda: window.status._numbers.text() == text)


def test_the_palette_finds_commands_and_places(window: Window, qtbot: QtBot) -> None:
    palette = window.command_palette
    press(qtbot, window, "Ctrl+Shift+P")
    assert palette.isVisible()
    qtbot.keyClicks(palette.line, "dark")
    assert palette.entries[0].title == "View: Theme: Dark"
    qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    assert window.theme.name == "dark"
    assert not palette.isVisible()

    press(qtbot, window, "Ctrl+P")
    qtbot.keyClicks(palette.line, "1.5")
    qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    session = window.files.current
    assert session is not None
    assert session.selection.kind is Kind.EXPERT
    assert (session.selection.layer, session.selection.expert) == (1, 5)

    press(qtbot, window, "Ctrl+P")
    qtbot.keyClicks(palette.line, "no such place")
    assert not palette.entries
    qtbot.keyClick(palette.line, Qt.Key.Key_Escape)
    assert not palette.isVisible()


def test_going_to_a_module_shows_a_panel_that_can_show_it(window: Window, qtbot: QtBot) -> None:
    session = window.files.current
    assert session is not None
    path = session.store.model.layers[1].path
    press(qtbot, window, "Ctrl+P")
    qtbot.keyClicks(window.command_palette.line, path)
    qtbot.keyClick(window.command_palette.line, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: shown(window) == ["modules"])
    assert session.selection.module == path


def test_every_shortcut_belongs_to_one_command(window: Window) -> None:
    keys = [key.toString() for action in window.actions() for key in action.shortcuts()]
    assert len(keys) == len(set(keys))
    assert {spec.shortcut for spec in SPECS if spec.shortcut} <= set(keys)
