"""The console's prompt while a model stands at a breakpoint, with a real kernel."""

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from tests.support.console_panel import Console, linked_console, shared_desk  # noqa: F401
from tests.support.kernels import own_ipython  # noqa: F401


def stands(console: Console, stopped: bool) -> None:
    """Say whether the model stands, as its process does: a prompt without such news is soon taken for that of a stop before."""
    assert console.desk.kernel is not None
    console.desk.kernel.take_stop(stopped)


def ask(console: Console, prompt: str = "stopped at 3.7 > ", before: str = "") -> None:
    """Have a cell ask for a line, as a model that stands at a breakpoint does."""
    stands(console, prompt.startswith("stopped"))
    console.terminal.execute(f"{before}said = input({prompt!r}); print('got', repr(said))")
    console.wait(lambda: console.terminal._prompt == prompt and console.terminal._reading)


def typed(console: Console) -> str:
    return console.terminal._get_input_buffer(force=True)


def answer(console: Console, line: str) -> None:
    QTest.keyClicks(console.terminal._control, line)
    QTest.keyClick(console.terminal._control, Qt.Key.Key_Return)
    stands(console, False)


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
    stands(console, False)
    console.wait_prompt()
    assert r"got 'for slot in range(2):\n    print(slot)'" in console.text


def test_output_goes_above_the_line_that_is_typed(console: Console) -> None:
    console.run("import threading\nheard = threading.Event()")
    late = "threading.Thread(target=lambda: (heard.wait(), print('a logpoint'))).start()"
    ask(console, "stopped at 1.2 > ", f"{late}; ")
    assert console.terminal.at_stop
    QTest.keyClicks(console.terminal._control, "wei")
    console.desk.kernel.client.request("evaluate", {"request": 1, "text": "heard.set()"})
    console.wait(lambda: "a logpoint\n" in console.text)
    assert console.text.splitlines()[-2:] == ["a logpoint", "stopped at 1.2 > wei"]
    answer(console, "ghts")
    console.wait_prompt()
    console.run("print(said)")
    assert "\nweights\n" in console.text


def test_a_prompt_goes_when_the_model_goes_on(console: Console) -> None:
    ask(console)
    console.wait(lambda: console.panel.bar.state.text() == "Stopped")
    QTest.keyClicks(console.terminal._control, "ids[0] = 5")
    stands(console, False)
    console.wait(lambda: not console.terminal.at_stop)
    assert console.text.splitlines()[-1].startswith("In ["), "the line of the cell"
    console.panel.bar.interrupt_button.click()  # what a resumed cell does by itself
    console.wait_prompt()
    assert console.terminal.input_buffer == "ids[0] = 5", "what was typed waits for the next prompt"
    console.terminal.input_buffer = ""


def test_a_prompt_that_comes_before_the_news_of_its_stop_stays(console: Console) -> None:
    ask(console)
    stands(console, False)  # the stop before
    stands(console, True)
    assert not console.terminal._settling.isActive()
    assert console.terminal.at_stop
    stands(console, False)
    console.wait(lambda: not console.terminal.at_stop)
    console.panel.bar.interrupt_button.click()
    console.wait_prompt()


def test_a_prompt_that_was_given_up_comes_back_with_the_news_of_its_stop(console: Console) -> None:
    console.terminal.execute("said = input('stopped at 2.0 > ')")
    console.wait(lambda: console.terminal.at_stop)
    console.wait(lambda: not console.terminal.at_stop)  # the news keeps it waiting
    stands(console, True)
    assert console.terminal.at_stop
    assert console.text.splitlines()[-1] == "stopped at 2.0 > "
    answer(console, "ids")
    console.wait_prompt()
    console.run("print('it was', said)")
    assert "\nit was ids\n" in console.text
    stands(console, True)
    assert not console.terminal.at_stop, "that prompt was answered"
    stands(console, False)


def test_interrupting_a_stop_gives_the_console_back(console: Console) -> None:
    ask(console)
    console.panel.bar.interrupt_button.click()
    console.wait_prompt()
    stands(console, False)
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
