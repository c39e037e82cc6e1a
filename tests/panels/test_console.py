"""The console panel with a real kernel."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from moedesk.core.event import Event
from moedesk.panels.console.model_messages import LINES
from moedesk.panels.console.view import ConsolePanel
from moedesk.panels.console.view_choice import ConnectForm
from moedesk.panels.console.view_colors import ansi_colors
from moedesk.panels.console.view_terminal import Terminal
from moedesk.session.jobs import Jobs
from moedesk.session.kernel import Kernel, KernelState
from moedesk.ui.color import contrast
from moedesk.ui.delivery import Delivery
from moedesk.ui.theme import DARK, LIGHT, THEMES, Theme
from tests.support.kernels import PATIENCE, Receiver, own_ipython, wait_for  # noqa: F401
from tests.support.leftovers import settle
from tests.support.stage import NotingShell


class OneDesk:
    """Implements ``moedesk.session.desk.Desk`` for kernels alone."""

    session = None

    def __init__(self) -> None:
        self.delivery = Delivery()
        self.changed: Event[str] = Event()
        self.jobs = Jobs(self.delivery)
        self.kernels: list[Kernel] = []
        self.kernel: Kernel | None = None
        self._gone: list[Kernel] = []

    def start_kernel(self, python: str = "") -> Kernel:
        return self._add(Kernel(self.delivery, Receiver, python=python))  # type: ignore[arg-type]

    def connect_kernel(self, connection_file: Path, ssh: str = "") -> Kernel:
        return self._add(Kernel(self.delivery, Receiver, connection_file=connection_file, ssh=ssh))  # type: ignore[arg-type]

    def choose_kernel(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.changed.emit("kernels")

    def close_kernel(self, kernel: Kernel) -> None:
        self.kernels.remove(kernel)
        self._gone.append(kernel)
        self.kernel = self.kernels[-1] if self.kernels else None
        kernel.close()
        self.changed.emit("kernels")

    def shut_down(self) -> None:
        for kernel in list(self.kernels):
            self.close_kernel(kernel)
        assert all(kernel.join(PATIENCE) for kernel in self._gone)
        self.jobs.close()
        self.delivery.deleteLater()

    def _add(self, kernel: Kernel) -> Kernel:
        self.kernels.append(kernel)
        kernel.changed.connect(lambda _: self.changed.emit("kernels"))
        kernel.start()
        self.choose_kernel(kernel)
        return kernel


class Console:
    """A console panel on a desk, and what a test does with it."""

    def __init__(self, qtbot: QtBot, desk: OneDesk, theme: Theme = LIGHT) -> None:
        self.qtbot = qtbot
        self.desk = desk
        self.shell = NotingShell(theme)
        self.panel = ConsolePanel(desk, self.shell)  # type: ignore[arg-type]
        self.panel.set_theme(theme)
        self.panel.resize(900, 400)
        self.disconnect = desk.changed.connect(lambda name: self.panel.refresh(frozenset({name})))
        self.panel.show()
        self.panel.refresh(frozenset({"session", "selection", "kernels"}))

    def close(self) -> None:
        self.disconnect()
        self.panel.close()
        self.panel.deleteLater()
        settle()
        self.wait(lambda: not [t for t in threading.enumerate() if t.name == "moedesk-console-close"])

    def wait(self, condition: Callable[[], Any]) -> None:
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=PATIENCE * 1000)

    @property
    def terminal(self) -> Terminal:
        assert self.panel.terminal is not None
        return self.panel.terminal

    @property
    def text(self) -> str:
        return self.terminal._control.toPlainText()

    def wait_prompt(self) -> None:
        self.wait(
            lambda: self.panel.terminal is not None and "In [" in self.terminal._prompt and not self.terminal._executing
        )

    def run(self, code: str) -> None:
        """Run a cell and wait for its end."""
        done: list[object] = []
        connection = self.terminal.executed.connect(done.append)
        self.terminal.execute(code)
        self.wait(lambda: done and not self.terminal.waiting)
        self.terminal.executed.disconnect(connection)

    def wait_linked(self) -> None:
        kernel = self.desk.kernel
        assert kernel is not None
        self.wait(lambda: kernel.state is KernelState.READY and kernel.client is not None)
        self.wait_prompt()


@pytest.fixture(scope="module")
def shared(qapp: QApplication) -> Iterator[OneDesk]:
    """A desk whose one kernel stays as it is."""
    desk = OneDesk()
    kernel = desk.start_kernel()

    def linked() -> bool:
        qapp.processEvents()
        return kernel.client is not None

    wait_for(linked)
    yield desk
    desk.shut_down()
    settle()


@pytest.fixture
def console(qtbot: QtBot, shared: OneDesk) -> Iterator[Console]:
    made = Console(qtbot, shared)
    made.wait_linked()
    yield made
    made.close()


@pytest.fixture
def alone(qtbot: QtBot) -> Iterator[Console]:
    """A console without a kernel, on a desk of its own."""
    desk = OneDesk()
    made = Console(qtbot, desk)
    yield made
    made.close()
    desk.shut_down()


def test_a_cell_runs_and_shows_its_value(console: Console) -> None:
    console.run("print('out'); 6 * 7")
    assert "out\n" in console.text
    assert "Out[" in console.text
    assert console.text.rstrip().splitlines()[-3].endswith(": 42")
    console.run("1 / 0")
    assert "ZeroDivisionError: division by zero" in console.text
    console.panel.bar.clear_button.click()
    assert "ZeroDivisionError" not in console.text


def test_keys_complete_interrupt_and_clear(console: Console) -> None:
    console.run("wonderful_name = 1")
    console.panel.focus_find()
    control = console.terminal._control
    QTest.keyClicks(control, "wonder")
    QTest.keyClick(control, Qt.Key.Key_Tab)
    console.wait(lambda: console.terminal.input_buffer == "wonderful_name")
    console.terminal.input_buffer = ""
    console.terminal.execute("import time; time.sleep(60)")
    console.wait(lambda: console.panel.bar.state.text() == "Busy")
    QTest.keyClick(control, Qt.Key.Key_Period, Qt.KeyboardModifier.ControlModifier)
    console.wait_prompt()
    assert "KeyboardInterrupt" in console.text
    assert console.panel.bar.state.text() == "Ready"
    QTest.keyClick(control, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
    assert "KeyboardInterrupt" not in console.text


def test_a_flood_keeps_the_last_lines_in_order(console: Console) -> None:
    console.run("for number in range(60_000): print('line', number)")
    document = console.terminal._control.document()
    assert document.blockCount() < LINES + 1_000
    lines = console.text.rstrip().splitlines()
    last = max(place for place, line in enumerate(lines) if line.startswith("line "))
    assert lines[last] == "line 59999"
    shown = [int(line.split()[1]) for line in lines if line.startswith("line ")]
    assert shown == sorted(set(shown))
    console.panel.bar.clear_button.click()


def test_nothing_is_drawn_while_hidden_and_all_is_caught_up(console: Console) -> None:
    console.panel.hide()
    before = console.text
    done: list[object] = []
    connection = console.terminal.executed.connect(done.append)
    console.terminal.execute("print('while hidden')")
    console.wait(lambda: console.terminal._queue.settled or len(console.terminal._queue) > 2)
    assert "while hidden\n" not in console.text.removeprefix(before).replace("print('while hidden')", "")
    console.panel.show()
    console.wait(lambda: done)
    console.terminal.executed.disconnect(connection)
    assert "while hidden\n" in console.text


def test_live_expressions_show_values_and_errors_only_while_on_show(console: Console) -> None:
    live = console.panel.live
    console.run("counted = 41")
    console.panel.restore_state({"live": ["counted + 1", "1 / 0", 5]})
    console.wait(lambda: [row.value.text() for row in live._rows] == ["42", "ZeroDivisionError: division by zero"])
    assert [row.sign.text() for row in live._rows] == ["=", "✕"]
    console.run("counted = 1")
    console.wait(lambda: live._rows[0].value.text() == "2")
    assert console.panel.save_state() == {"live": ["counted + 1", "1 / 0"]}
    console.panel.hide()
    assert not live._clock.isActive()
    console.panel.show()
    assert live._clock.isActive()
    live._rows[0].edit.setText("counted * 10")
    QTest.keyClick(live._rows[0].edit, Qt.Key.Key_Return)
    console.wait(lambda: live._rows[0].value.text() == "10")
    for row in list(live._rows):
        row.remove_button.click()
    assert not live.isVisible()


def test_without_a_kernel_it_says_what_to_do(alone: Console) -> None:
    assert alone.panel.terminal is None
    assert alone.panel.empty.isVisible()
    assert alone.panel.bar.state.text() == "No kernel"
    alone.panel.empty.start_button.click()
    alone.wait_linked()
    assert not alone.panel.empty.isVisible()
    assert alone.panel.bar.state.text() == "Ready"


def test_a_killed_kernel_leaves_its_text_and_starts_again(alone: Console) -> None:
    kernel = alone.desk.start_kernel()
    alone.wait_linked()
    alone.run("print('before the end')")
    os.kill(kernel.about["pid"], signal.SIGKILL)
    alone.wait(lambda: alone.panel.banner.isVisible())
    assert "SIGKILL" in alone.panel.banner.line.text()
    assert alone.panel.bar.state.text() == "Ended"
    assert not alone.panel.bar.interrupt_button.isEnabled()
    alone.terminal.execute("1")
    assert alone.shell.said == ["The kernel has ended; restart it"]
    alone.panel.banner.restart_button.click()
    alone.wait_linked()
    alone.wait(lambda: "― restarted ―" in alone.text and not alone.panel.banner.isVisible())
    assert "before the end\n" in alone.text
    alone.run("6 * 7")
    assert ": 42" in alone.text
    alone.terminal.execute("exit()")
    alone.wait(lambda: kernel.state is KernelState.ENDED)
    assert alone.panel.isVisible()
    assert "exit()" in alone.panel.banner.line.text()


def test_two_kernels_have_a_prompt_each(alone: Console) -> None:
    first = alone.desk.start_kernel()
    alone.wait_linked()
    alone.run("print('of the first')")
    second = alone.desk.start_kernel()
    alone.wait_linked()
    assert "of the first" not in alone.text
    kernels = alone.panel.bar.kernels
    assert [kernels.itemText(place)[-3:] for place in range(kernels.count())] == ["· 1", "· 2"]
    alone.panel.bar.chosen.emit(first)
    assert alone.desk.kernel is first
    assert "of the first" in alone.text
    alone.desk.close_kernel(first)
    assert alone.desk.kernel is second
    assert kernels.count() == 1


def test_the_form_for_a_running_kernel_says_what_is_missing(qtbot: QtBot, tmp_path: Path) -> None:
    form = ConnectForm()
    form.accept()
    assert "Which connection file" in form.problem.text()
    file = tmp_path / "kernel-1.json"
    file.touch()
    form.file.setText(str(file))
    accepted: list[bool] = []
    form.accepted.connect(lambda: accepted.append(True))
    form.accept()
    assert accepted == [True]
    assert form.request() == (file, "")
    form.deleteLater()


def test_the_menu_names_this_interpreter(alone: Console) -> None:
    menu = alone.panel.menu
    menu._fill()
    alone.wait(lambda: all("looking" not in action.text() for action in menu._actions.values()))
    assert "moedesk" in next(iter(menu._actions.values())).text()


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
def test_terminal_colours_read_on_the_surface(theme: Theme) -> None:
    assert min(contrast(color, theme.surface) for color in ansi_colors(theme).values()) >= 4.5


def test_a_theme_reaches_the_prompt(console: Console) -> None:
    console.panel.set_theme(DARK)
    picture = console.terminal._control.viewport().grab().toImage()
    assert QColor(picture.pixel(picture.width() - 3, picture.height() - 3)).name() == DARK.surface
    console.panel.set_theme(LIGHT)


def test_the_keyboard_goes_to_the_prompt_when_the_console_is_opened(console: Console) -> None:
    console.panel.bar.kernels.setFocus()
    assert console.panel.focusWidget() is console.panel.bar.kernels
    console.panel.hide()
    console.panel.show()
    assert console.panel.focusWidget() is console.terminal._control


def test_text_written_before_a_switch_of_themes_reads_afterwards(console: Console) -> None:
    console.run(r"print('\x1b[31mred\x1b[0m')")
    block = console.terminal._control.document().find("red\n".strip()).block()
    while "\\x1b" in block.text():  # the line that was typed
        block = block.next()

    def color() -> str:
        return block.begin().fragment().charFormat().foreground().color().name()

    assert color() == ansi_colors(LIGHT)[1]
    console.panel.set_theme(DARK)
    assert color() == ansi_colors(DARK)[1]
    console.panel.set_theme(LIGHT)
    assert color() == ansi_colors(LIGHT)[1]
    console.panel.bar.clear_button.click()


def test_many_completions_are_cut_and_keep_what_all_begin_with(console: Console) -> None:
    console.terminal.input_buffer = "n"
    cursor = console.terminal._control.textCursor()
    cursor.movePosition(cursor.MoveOperation.Left)
    items = [f"number_{place:04}" for place in range(1000)] + ["numbers"]
    console.terminal._complete_with_items(cursor, items)
    assert console.terminal.input_buffer in ("number", "nnumber")
    assert console.terminal._completion_widget.count() == 200
    assert "1,001 completions" in console.shell.said[-1]
    console.terminal._cancel_completion()
    console.terminal.input_buffer = ""


def ask(console: Console, prompt: str = "stopped at 3.7 > ") -> None:
    """Have a cell ask for a line, as a model that stands at a breakpoint does."""
    console.terminal.execute(f"said = input({prompt!r}); print('got', repr(said))")
    console.wait(lambda: console.terminal._prompt == prompt and console.terminal._reading)


def typed(console: Console) -> str:
    return console.terminal._get_input_buffer(force=True)


def answer(console: Console, line: str) -> None:
    QTest.keyClicks(console.terminal._control, line)
    QTest.keyClick(console.terminal._control, Qt.Key.Key_Return)


def test_a_stop_asks_for_lines_with_a_history_of_their_own(console: Console) -> None:
    console.panel.focus_find()
    control = console.terminal._control
    for line in ("ids", "weights"):
        ask(console)
        assert console.terminal.at_stop
        assert console.panel.hint.text().startswith("Stopped: c resume (F8)")
        answer(console, line)
        console.wait_prompt()
        assert f"got '{line}'" in console.text
    assert not console.panel.hint.isVisible()
    ask(console)
    QTest.keyClicks(control, "lo")
    for key, shown in (("Up", "weights"), ("Up", "ids"), ("Up", "ids"), ("Down", "weights"), ("Down", "lo")):
        QTest.keyClick(control, getattr(Qt.Key, f"Key_{key}"))
        assert typed(console) == shown
    answer(console, "gits")
    console.wait_prompt()
    assert "got 'logits'" in console.text
    QTest.keyClick(control, Qt.Key.Key_Up)
    assert console.terminal.input_buffer.startswith("said = input"), "the console's own history is another one"
    console.terminal.input_buffer = ""


def test_pasted_lines_are_sent_as_one(console: Console, qapp: QApplication) -> None:
    ask(console)
    qapp.clipboard().setText("for slot in range(2):\n    print(slot)\n")
    console.terminal.paste()
    assert typed(console) == "for slot in range(2):\n    print(slot)"
    QTest.keyClick(console.terminal._control, Qt.Key.Key_Return)
    console.wait_prompt()
    assert r"got 'for slot in range(2):\n    print(slot)'" in console.text


def test_output_goes_above_the_line_that_is_typed(console: Console) -> None:
    console.run("import threading\nheard = threading.Event()")
    late = "threading.Thread(target=lambda: (heard.wait(), print('a logpoint'))).start()"
    console.terminal.execute(f"{late}; said = input('stopped at 1.2 > ')")
    console.wait(lambda: console.terminal.at_stop and console.terminal._reading)
    QTest.keyClicks(console.terminal._control, "wei")
    console.desk.kernel.client.request("evaluate", {"request": 1, "text": "heard.set()"})
    console.wait(lambda: "a logpoint\n" in console.text)
    assert console.text.splitlines()[-2:] == ["a logpoint", "stopped at 1.2 > wei"]
    answer(console, "ghts")
    console.wait_prompt()
    console.run("print(said)")
    assert "\nweights\n" in console.text


def test_a_prompt_goes_when_the_model_goes_on(console: Console) -> None:
    kernel = console.desk.kernel
    ask(console)
    kernel.take_stop(True)
    console.wait(lambda: console.panel.bar.state.text() == "Stopped")
    QTest.keyClicks(console.terminal._control, "ids[0] = 5")
    kernel.take_stop(False)
    console.wait(lambda: not console.terminal.at_stop)
    assert console.text.splitlines()[-1].startswith("In ["), "the line of the cell"
    console.panel.bar.interrupt_button.click()  # what a resumed cell does by itself
    console.wait_prompt()
    assert console.terminal.input_buffer == "ids[0] = 5", "what was typed waits for the next prompt"
    console.terminal.input_buffer = ""


def test_a_prompt_that_comes_before_the_news_of_its_stop_stays(console: Console) -> None:
    kernel = console.desk.kernel
    ask(console)
    kernel.take_stop(True)
    kernel.take_stop(False)  # the stop before
    kernel.take_stop(True)
    assert not console.terminal._settling.isActive()
    assert console.terminal.at_stop
    kernel.take_stop(False)
    console.wait(lambda: not console.terminal.at_stop)
    console.panel.bar.interrupt_button.click()
    console.wait_prompt()


def test_interrupting_a_stop_gives_the_console_back(console: Console) -> None:
    ask(console)
    console.panel.bar.interrupt_button.click()
    console.wait_prompt()
    assert not console.terminal.at_stop
    assert "KeyboardInterrupt" in console.text
    console.run("print('usable')")
    assert "\nusable\n" in console.text


def test_other_questions_are_no_stops(console: Console) -> None:
    ask(console, "name? ")
    assert not console.terminal.at_stop
    answer(console, "me")
    console.wait_prompt()
    assert "got 'me'" in console.text


def test_the_prompt_stays_in_sight_in_a_smaller_panel(console: Console) -> None:
    console.run("for number in range(60): print(number)")
    console.wait_prompt()
    scroll = console.terminal._control.verticalScrollBar()
    console.wait(lambda: scroll.value() == scroll.maximum() > 0)
    for size in ((900, 150), (500, 300)):
        console.panel.resize(*size)
        console.wait(lambda: console.terminal._control.rect().contains(console.terminal._control.cursorRect()))
        assert scroll.value() == scroll.maximum()
    scroll.setValue(0)
    console.panel.resize(900, 250)
    console.terminal.repaint()
    assert scroll.value() < scroll.maximum(), "who reads further up stays there"
