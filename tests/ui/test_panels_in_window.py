from pathlib import Path

import pytest
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from moedesk.core.selection import Kind, Selection
from moedesk.ui.paced_question import PacedQuestion
from moedesk.ui.panel_host import EVERYTHING, PanelHost
from moedesk.ui.window import Window
from tests.support.panels import FAILING, ROUTES, FailingPanel, NotingPanel
from tests.support.played_live import PlayedLive


def host(window: Window, panel: str) -> PanelHost:
    found = window.workspace.docks[panel].current
    assert found is not None
    return found


def view(window: Window, panel: str) -> NotingPanel:
    found = host(window, panel).view
    assert isinstance(found, NotingPanel)
    return found


def test_only_the_panel_on_show_is_loaded_and_its_first_refresh_names_everything(window: Window) -> None:
    assert view(window, "routes").refreshes == [EVERYTHING["session"]]
    assert host(window, "modules").view is None
    assert host(window, "output").view is None


def test_changes_of_one_tick_come_as_one_refresh(window: Window, qtbot: QtBot) -> None:
    session = window.files.current
    assert session is not None
    for expert in range(4):
        session.select(Selection(Kind.EXPERT, layer=0, expert=expert))
    session.seek(2)
    qtbot.waitUntil(lambda: window.settled)
    assert view(window, "routes").refreshes[1:] == [frozenset({"selection", "cursor"})]


def test_a_hidden_panel_does_nothing_and_catches_up_once(window: Window, qtbot: QtBot) -> None:
    session = window.files.current
    assert session is not None
    window.workspace.show_panel("modules")
    qtbot.waitUntil(lambda: host(window, "modules").view is not None)
    before = len(view(window, "routes").refreshes)
    session.select(Selection(Kind.EXPERT, layer=0, expert=1))
    session.brush((1, 3))
    qtbot.waitUntil(lambda: window.settled)
    assert len(view(window, "routes").refreshes) == before
    assert view(window, "modules").refreshes[-1] == frozenset({"selection", "window"})
    window.workspace.show_panel("routes")
    qtbot.waitUntil(lambda: len(view(window, "routes").refreshes) == before + 1)
    assert view(window, "routes").refreshes[-1] == frozenset({"selection", "window"})


def test_the_keyboard_never_stays_in_a_panel_behind_another(window: Window, qtbot: QtBot) -> None:
    """What is typed would go where nobody sees it; and it comes back to where it was."""
    window.workspace.show_panel("modules")
    qtbot.waitUntil(lambda: host(window, "modules").view is not None and window.settled)
    window.workspace.show_panel("routes")
    window.activateWindow()
    field = view(window, "routes").find_field
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    window.workspace.show_panel("modules")
    qtbot.waitUntil(lambda: window.workspace.docks["modules"].isAncestorOf(QApplication.focusWidget()))
    QTest.keyClicks(QApplication.focusWidget(), "typed")
    assert field.text() == ""
    window.workspace.show_panel("routes")
    qtbot.waitUntil(field.hasFocus)
    window.workspace.show_panel("output")
    qtbot.waitUntil(lambda: host(window, "output").view is not None and window.settled)
    assert field.hasFocus(), "nothing went behind the drawer"


def test_nothing_ticks_while_nothing_changes(window: Window) -> None:
    assert not window.ticker.running


def test_a_question_that_rests_is_still_to_be_drawn(window: Window, qtbot: QtBot) -> None:
    session = window.files.current
    assert session is not None
    session.live = PlayedLive(session)
    question = PacedQuestion(session, "routes.picture", view(window, "routes"), rest=3600.0)
    answers: list[int] = []
    for number in (1, 2):
        question.ask(lambda _, number=number: number, answers.append)  # type: ignore[misc]
        assert not window.settled
    qtbot.waitUntil(lambda: answers == [1])
    assert session.idle, "nothing is being worked on"
    assert not window.settled, "a running model's panels ask so often, and the second question waits for its turn"
    window.workspace.show_panel("modules")
    qtbot.waitUntil(lambda: window.settled)  # who does not see it need not wait for it
    window.workspace.show_panel("routes")
    question.cancel()
    qtbot.waitUntil(lambda: window.settled)


def test_a_panel_that_raises_says_so_in_one_line_and_can_be_retried(make_window, qtbot: QtBot) -> None:  # type: ignore[no-untyped-def]
    FailingPanel.broken = True
    window = make_window((FAILING, ROUTES))
    window.files.open(Path("one.h5"))
    window.workspace.show_panel("routes")
    qtbot.waitUntil(lambda: window.files.current is not None and window.settled)
    window.workspace.show_panel("failing")
    qtbot.waitUntil(lambda: host(window, "failing")._failed)
    from PySide6.QtWidgets import QLabel, QPushButton

    line = host(window, "failing").findChild(QLabel, "panel_failure")
    assert line.text() == "Failing could not show its data: no such column"
    assert line.isVisible()
    assert window.settled, "the rest of the window goes on"
    FailingPanel.broken = False
    host(window, "failing").findChild(QPushButton).click()
    qtbot.waitUntil(lambda: host(window, "failing").settled)
    assert view(window, "failing").refreshes == [EVERYTHING["session"]]
    assert not line.isVisible()


def test_reveal_shows_the_panel_and_selects(window: Window, qtbot: QtBot) -> None:
    from PySide6.QtWidgets import QMenu

    from moedesk.ui.reveal import add_reveal_actions

    session = window.files.current
    assert session is not None
    menu = QMenu()
    qtbot.addWidget(menu)
    add_reveal_actions(menu, Selection(Kind.EXPERT, layer=0, expert=3), session, window)
    assert [action.text() for action in menu.actions()] == [
        "Reveal expert 0.3 in Routes",
        "Reveal expert 0.3 in Modules",
    ]
    menu.actions()[1].trigger()
    qtbot.waitUntil(lambda: host(window, "modules").active)
    assert (session.selection.layer, session.selection.expert) == (0, 3)


def test_two_files_have_views_of_their_own(window: Window, qtbot: QtBot) -> None:
    first = window.files.current
    first_view = view(window, "routes")
    window.files.open(Path("two.h5"))
    qtbot.waitUntil(lambda: window.files.current is not first and window.settled)
    second = window.files.current
    assert second is not None
    assert view(window, "routes") is not first_view
    second.seek(1)
    qtbot.waitUntil(lambda: window.settled)
    assert first_view.refreshes == [EVERYTHING["session"]]
    assert first is not None
    window.files.make_current(first)
    qtbot.waitUntil(lambda: window.settled)
    assert view(window, "routes") is first_view
    assert first_view.refreshes == [EVERYTHING["session"]], "nothing changed in it, so nothing is drawn again"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_switching_the_theme_reaches_loaded_panels(window: Window, theme: str) -> None:
    window.commands.run("theme.dark" if theme == "light" else "theme.light")
    window.commands.run(f"theme.{theme}")
    assert view(window, "routes").themes[-1] == theme
    assert window.theme.name == theme
