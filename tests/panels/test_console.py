"""The console panel with a real kernel."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from moedesk.panels.console.model_messages import LINES
from moedesk.panels.console.view_choice import ConnectForm
from moedesk.panels.console.view_colors import ansi_colors
from moedesk.session.kernel import KernelState
from moedesk.ui.color import contrast
from moedesk.ui.theme import DARK, LIGHT, THEMES, Theme
from tests.support.console_panel import Console, OneDesk, linked_console, shared_desk  # noqa: F401
from tests.support.kernels import own_ipython  # noqa: F401


@pytest.fixture
def alone(qtbot: QtBot) -> Iterator[Console]:
    """A console without a kernel, on a desk of its own."""
    desk = OneDesk()
    with Console(qtbot, desk) as console:
        yield console
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
    # A kernel that is busy need not have begun with the cell, and pays no heed to an interrupt before.
    console.terminal.execute("import time; print('asleep'); time.sleep(600)")
    console.wait(lambda: "asleep" in console.text.splitlines())
    assert console.panel.bar.state.text() == "Busy"
    QTest.keyClick(control, Qt.Key.Key_Period, Qt.KeyboardModifier.ControlModifier)
    console.wait_prompt()
    assert "KeyboardInterrupt" in console.text
    console.wait(lambda: console.panel.bar.state.text() == "Ready")
    QTest.keyClick(control, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
    assert "KeyboardInterrupt" not in console.text


def test_a_flood_keeps_the_last_lines_in_order(console: Console) -> None:
    console.run("for number in range(60_000): print('line', number)")
    document = console.terminal._control.document()
    assert document.blockCount() < LINES + 1_010, "up to 1,000 more until it trims, and then the prompt's own"
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
