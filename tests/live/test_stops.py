"""A model that stops at a breakpoint, in the window, with a real kernel and the sample model."""

import os
import signal
from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from moedesk.core.selection import Kind, Selection
from moedesk.panels.console.view import ConsolePanel
from moedesk.panels.console.view_terminal import Terminal
from moedesk.session.breakpoints import breakpoints_of
from moedesk.session.kernel import Kernel, KernelState
from moedesk.session.session import Session
from moedesk.session.stop import Stop, stop_of
from moedesk.ui.break_menu import add_break_actions
from moedesk.ui.window import Window
from tests.live.conftest import Run
from tests.live.test_end_to_end import ATTACH

TEXT = "Once upon a time there was"
RUN = f'again = str(moe.run("{TEXT}", max_new_tokens=3).new_ids)'


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
    def console(self) -> ConsolePanel:
        host = self.window.workspace.docks["console"].current
        assert host is not None
        assert isinstance(host.view, ConsolePanel)
        return host.view

    @property
    def terminal(self) -> Terminal:
        assert self.console.terminal is not None
        return self.console.terminal

    @property
    def text(self) -> str:
        return self.terminal._control.toPlainText()

    @property
    def stop(self) -> Stop | None:
        return stop_of(self.session.live)

    @property
    def names(self) -> list[str]:
        return [entry.breakpoint.text for entry in breakpoints_of(self.session.live).entries]

    @property
    def hits(self) -> dict[str, int]:
        return {entry.breakpoint.text: entry.hits for entry in breakpoints_of(self.session.live).entries}

    def wait(self, condition: Callable[[], object]) -> None:
        self.qtbot.waitUntil(lambda: bool(condition()))

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
        self.wait(lambda: self.stop is not None and self.stop != before)
        self.wait(lambda: self.stop is not None and self.terminal._prompt == f"stopped at {self.stop.place} > ")
        self.wait(lambda: self.terminal.at_stop)
        assert self.stop is not None
        return self.stop

    def selection_told(self) -> None:
        """Wait until the kernel knows what is selected: what is asked over the link after that is answered after it."""
        answers: list[int] = []
        disconnect = self.kernel.answered.connect(lambda answer: answers.append(answer.request))
        self.wait(lambda: self.window.live.session is self.session and self.session.idle)
        assert self.kernel.client is not None
        self.kernel.client.request("evaluate", {"request": 1_000_000, "text": "0"})
        self.wait(lambda: 1_000_000 in answers)
        disconnect()

    def ended(self) -> None:
        """Wait until the cell is over and the console can be typed into."""
        self.wait(lambda: not self.terminal._executing and not self.terminal.waiting and not self.terminal.busy)

    def restart(self) -> None:
        """Press Restart, and wait for the new process's prompt."""
        before = self.kernel.about["pid"]
        self.console.bar.restart_button.click()
        self.wait(lambda: self.kernel.client is not None and self.kernel.about.get("pid", before) != before)
        self.wait(lambda: self.terminal._prompt.startswith("In [") and not self.terminal._executing)

    def type(self, line: str) -> None:
        """Type a line at the prompt."""
        control = self.terminal._control
        QTest.keyClicks(control, line)
        QTest.keyClick(control, Qt.Key.Key_Return)

    def press(self, key: Qt.Key) -> None:
        self.window.activateWindow()
        self.wait(self.window.isActiveWindow)
        QTest.keyClick(self.window, key)

    def same_as_without(self) -> None:
        assert self.run("print(again == truth)").output.strip() == "True"


@pytest.fixture
def stopping(window: Window, kernel: Kernel, run: Run, qtbot: QtBot) -> Stopping:
    return Stopping(window, kernel, run, qtbot)


def test_stop_look_step_and_resume(stopping: Stopping) -> None:
    window, session = stopping.window, stopping.session
    chosen = int(session.store.experts(2)[4][0])  # by the fifth token, at layer 2
    stopping.break_on(Selection(Kind.EXPERT, layer=2, expert=chosen), "When expert")
    stopping.run('moe.break_on("layer:4")')
    first = stopping.start()
    assert (first.layer, first.expert) == (2, chosen)
    assert window.stop_banner.isVisible()
    assert session.selection == Selection(Kind.EXPERT, layer=2, expert=chosen)
    stopping.wait(lambda: window.status._state.text().startswith("stopped"))
    assert stopping.console.bar.state.text() == "Stopped"
    assert stopping.console.hint.text().startswith("Stopped: c resume (F8)")
    # The window answers: what it is asked meanwhile is drawn.
    window.workspace.show_panel("elements")
    stopping.wait(lambda: window.settled)
    stopping.type("print('layer', layer, 'of', ids.shape)")
    stopping.wait(lambda: f"layer 2 of torch.Size([{len(first.slots)}])" in stopping.text)
    stopping.selection_told()
    stopping.type("print('dollar', $0.layer, $0.expert, repr($0.text))")
    stopping.wait(lambda: f"dollar 2 {chosen} {first.text!r}" in stopping.text)
    stopping.press(Qt.Key.Key_F11)
    second = stopping.stopped(first)
    assert second.layer == 3
    assert second.position == first.position
    assert not window.isFullScreen()
    stopping.press(Qt.Key.Key_F10)
    third = stopping.stopped(second)
    stopping.press(Qt.Key.Key_F10)
    fourth = stopping.stopped(third)
    assert [(stop.layer, stop.position) for stop in (third, fourth)] == [(4, 0), (4, 1)]
    window.commands.run("break.deactivate")
    stopping.wait(lambda: not breakpoints_of(session.live).active)
    stopping.press(Qt.Key.Key_F8)
    stopping.ended()
    assert stopping.stop is None
    assert window.stop_banner.isHidden()
    stopping.wait(stopping.console.hint.isHidden)
    stopping.same_as_without()


def test_interrupt_resume_unseen_and_log(stopping: Stopping) -> None:
    window, session = stopping.window, stopping.session
    stopping.break_on(Selection(Kind.LAYER, layer=1), "On NaN")
    window.commands.run("break.nonfinite")
    stopping.wait(lambda: len(stopping.names) == 2)
    stopping.run('moe.break_on("layer:4", log="{token} at {layer}")')
    stopping.run('moe.break_on("layer:1 position:2")')
    rows = session.store.n_tokens()
    stopping.start()
    stopping.console.bar.interrupt_button.click()
    stopping.ended()
    assert "KeyboardInterrupt" in stopping.text
    stopping.wait(window.stop_banner.isHidden)
    # The console is hidden while the model stops and goes on: its prompt is not left behind.
    window.workspace.close_panel("console")
    stopping.terminal.execute(RUN)
    stopping.wait(lambda: stopping.stop is not None)
    window.stop_banner.resume.click()
    stopping.wait(lambda: stopping.stop is None)
    window.show_panel("console")
    stopping.ended()
    assert not stopping.terminal.at_stop
    assert stopping.text.rstrip().splitlines()[-1].startswith("In [")
    stopping.wait(lambda: stopping.hits["layer:4"] == rows)
    assert f"{TEXT.split()[0][0]} at 4" in stopping.text, "a logpoint prints its line here"
    assert stopping.hits["is:nonfinite"] == 0
    stopping.same_as_without()


def test_a_kernel_that_dies_or_is_restarted_while_it_stands(stopping: Stopping) -> None:
    window, kernel = stopping.window, stopping.kernel
    stopping.run('moe.break_on("layer:0 position:1")')
    stopping.start()
    assert window.stop_banner.isVisible()
    os.kill(kernel.about["pid"], signal.SIGKILL)
    stopping.wait(lambda: kernel.state is KernelState.ENDED)
    stopping.wait(window.stop_banner.isHidden)
    assert not kernel.stopped
    stopping.wait(stopping.console.hint.isHidden)
    stopping.restart()
    stopping.run(ATTACH + 'moe.break_on("layer:0 position:1")')
    stopping.wait(lambda: window.files.current.live.attached)  # a session of its own
    stopping.session = window.files.current
    stopping.start()
    assert window.stop_banner.isVisible()
    stopping.restart()
    stopping.wait(window.stop_banner.isHidden)
    assert not stopping.terminal.at_stop
    stopping.type("print(6 * 7)")
    stopping.wait(lambda: "\n42\n" in stopping.text)


def test_after_the_stop_its_row_is_selected(stopping: Stopping) -> None:
    session = stopping.session
    rows = session.store.n_tokens()
    stopping.run('moe.break_on("layer:2 position:3")')
    stop = stopping.start()
    stopping.press(Qt.Key.Key_F8)
    stopping.ended()
    stopping.wait(lambda: (session.selection.kind, session.selection.token) == (Kind.TOKEN, rows + 3))
    assert (session.selection.layer, session.selection.stream) == (stop.layer, stop.stream)
    assert session.store.read_tokens(rows + 3, rows + 4)["position"].tolist() == [3]
