"""A model that stops at a breakpoint, in the window, with a real kernel and the sample model."""

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from moedesk.core.selection import Kind, Selection
from moedesk.panels.console.view_terminal import Terminal
from moedesk.session.breakpoints import breakpoints_of
from moedesk.session.kernel import Kernel
from moedesk.session.session import Session
from moedesk.session.stop import Stop, stop_of
from moedesk.ui.break_menu import add_break_actions
from moedesk.ui.window import Window
from tests.live.conftest import TIMEOUT, Run
from tests.live.test_end_to_end import ATTACH

TEXT = "Once upon a time there was"
RUN = f'again = moe.run("{TEXT}", max_new_tokens=3).new_ids'


class Stopping:
    """A window with a console whose model is attached, and what a test does with it."""

    def __init__(self, window: Window, kernel: Kernel, run: Run, qtbot: QtBot) -> None:
        self.window, self.kernel, self.run, self.qtbot = window, kernel, run, qtbot
        window.show_panel("console")
        run(ATTACH + RUN.replace("again", "truth"))
        assert window.files.current is not None
        self.session: Session = window.files.current
        self.wait(lambda: self.session.store.n_passes == 3)
        self.wait(lambda: "In [" in self.terminal._prompt and not self.terminal._executing)

    @property
    def terminal(self) -> Terminal:
        console = self.window.workspace.docks["console"].current
        assert console is not None
        assert console.view is not None
        return console.view.terminal

    @property
    def text(self) -> str:
        return self.terminal._control.toPlainText()

    @property
    def stop(self) -> Stop | None:
        return stop_of(self.session.live)

    @property
    def names(self) -> list[str]:
        return [entry.breakpoint.text for entry in breakpoints_of(self.session.live).entries]

    def wait(self, condition: Callable[[], object]) -> None:
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=TIMEOUT)

    def break_on(self, selection: Selection, start: str) -> None:
        """Set a breakpoint from the menu."""
        menu = QMenu(self.window)
        add_break_actions(menu, selection, self.session, self.window)
        below = next(action.menu() for action in menu.actions() if action.menu() is not None)
        before = len(self.names)
        next(action for action in below.actions() if action.text().startswith(start)).trigger()
        menu.deleteLater()
        self.wait(lambda: len(self.names) == before + 1)

    def start(self, code: str = RUN) -> Stop:
        """Run a cell from the console, and wait for its first stop."""
        self.terminal.execute(code)
        return self.stopped()

    def stopped(self, before: Stop | None = None) -> Stop:
        """Wait for a stop, another one than before, and its prompt."""
        self.wait(lambda: self.stop is not None and self.stop is not before and self.stop != before)
        self.wait(lambda: self.terminal.at_stop)
        assert self.stop is not None
        return self.stop

    def ended(self) -> None:
        """Wait until the cell is over and the console can be typed into."""
        self.wait(lambda: not self.terminal._executing and not self.terminal.waiting and not self.terminal.busy)

    def type(self, line: str) -> None:
        """Type a line at the prompt."""
        control = self.terminal._control
        QTest.keyClicks(control, line)
        QTest.keyClick(control, Qt.Key.Key_Return)

    def press(self, key: Qt.Key) -> None:
        self.window.activateWindow()
        QTest.keyClick(self.window, key)

    def same_as_without(self) -> None:
        assert self.run("print(again == truth)").output.strip() == "True"


@pytest.fixture
def stopping(window: Window, kernel: Kernel, run: Run, qtbot: QtBot) -> Stopping:
    return Stopping(window, kernel, run, qtbot)


def test_stop_step_and_resume(stopping: Stopping) -> None:
    window, session = stopping.window, stopping.session
    chosen = int(session.store.experts(2)[4][0])  # by the fifth token, at layer 2
    stopping.break_on(Selection(Kind.EXPERT, layer=2, expert=chosen), "When expert")
    first = stopping.start()
    assert (first.layer, first.expert) == (2, chosen)
    assert window.stop_banner.isVisible()
    assert session.selection == Selection(Kind.EXPERT, layer=2, expert=chosen)
    stopping.wait(lambda: window.status._state.text().startswith("stopped"))
    # The window answers: what it is asked meanwhile is drawn.
    window.workspace.show_panel("elements")
    stopping.wait(lambda: window.settled)
    stopping.press(Qt.Key.Key_F11)
    second = stopping.stopped(first)
    assert second.layer == 3
    assert second.position == first.position
    assert not window.isFullScreen()
    stopping.press(Qt.Key.Key_F10)
    third = stopping.stopped(second)
    assert (third.layer, third.expert) == (2, chosen)
    window.commands.run("break.deactivate")
    stopping.wait(lambda: not breakpoints_of(session.live).active)
    stopping.press(Qt.Key.Key_F8)
    stopping.ended()
    assert stopping.stop is None
    assert window.stop_banner.isHidden()
    stopping.same_as_without()
