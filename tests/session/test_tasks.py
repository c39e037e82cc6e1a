"""Tasks in a real kernel: between cells, one after another, interrupted, and when the kernel dies."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moedesk.session.conversation import Outcome
from moedesk.session.kernel import KernelState
from moedesk.session.kernels import Kernels
from moedesk.session.scratch import Scratch
from tests.support.kernels import Line, own_ipython  # noqa: F401
from tests.support.until import PATIENCE

SETUP = """
import threading, time
from moedesk.core.errors import MoedeskError
from moedesk.probe.console import greeting
(console,) = greeting._consoles.values()
main, log, go = threading.main_thread(), [], threading.Event()

def add(value, progress):
    import numpy as np
    print("a task prints")
    progress(0.5, "adding")
    log.append((threading.current_thread() is main, value["a"]))
    return {"sum": value["a"] + 1}, {"x": np.arange(3.0)}

def wait(value, progress):
    progress(0.25, "waiting")
    log.append("waits")
    time.sleep(60)

def count(value, progress):
    while True:
        progress(0.5, "counting")
        try:
            time.sleep(0.01)
        except KeyboardInterrupt:  # as code may that swallows it
            pass

def refuse(value, progress):
    raise MoedeskError("layer 9 is none; there are 0 to 5")

def fail(value, progress):
    raise SystemExit("no")

def strange(value, progress):
    return {"model": object()}

for function in (add, wait, count, refuse, fail, strange):
    console.on_task(function.__name__, function)

def order(value):
    log.append(value)
    console.moe.server.tell("overrides", {"entries": [], "note": value["do"]})

console.on_order("overrides", order)
"""


class App:
    """A kernel with its feed; deliveries come one at a time."""

    def __init__(self, folder: Path) -> None:
        self._news = threading.Condition()
        self.scratch = Scratch(folder)
        self.kernels = Kernels(self.scratch, self.deliver, lambda: None, lambda *_: None, lambda *_: None)
        self.kernel = self.kernels.start()
        self.feed = self.kernels._feeds[self.kernel]
        self.outcomes: dict[str, Outcome] = {}
        self.progress: dict[str, list[tuple[float, str]]] = {}
        self.set_up()

    def set_up(self) -> None:
        self.wait(lambda: self.kernel.client is not None and self.kernel.state is KernelState.READY)
        self.run(SETUP)

    def deliver(self, work: Callable[[], None]) -> None:
        with self._news:
            work()
            self._news.notify_all()

    def wait(self, condition: Callable[[], Any]) -> None:
        with self._news:
            assert self._news.wait_for(condition, PATIENCE), (self.kernel.said, self.outcomes, self.progress)

    def line(self) -> Line:
        assert self.kernel.connection_file is not None
        return Line(self.kernel.connection_file)

    def run(self, code: str) -> None:
        with self.line() as line:
            line.send(code)
            reply = line.reply()
            assert reply["status"] == "ok", reply

    def value(self, expression: str) -> str:
        with self.line() as line:
            return line.value(expression)

    def ask(self, key: str, name: str, value: Mapping[str, Any] | None = None) -> Callable[[], None]:
        """Ask for a task; its answer goes to ``outcomes[key]``."""
        heard = self.progress.setdefault(key, [])
        with self._news:
            return self.feed.conversation.ask(
                name,
                value or {},
                lambda outcome: self.outcomes.__setitem__(key, outcome),
                lambda share, text: heard.append((share, text)),
            )

    def outcome(self, key: str) -> Outcome:
        self.wait(lambda: key in self.outcomes)
        return self.outcomes[key]

    def close(self) -> None:
        self.kernels.shut_down()
        for stream in self.feed.streams:
            stream.close()
        self.scratch.close(discard=True)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    made = App(tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def fresh(app: App) -> None:
    app.outcomes.clear()
    app.progress.clear()
    if app.kernel.state is KernelState.READY:
        app.run("log.clear(); go.clear()")


def test_a_task_runs_in_the_main_thread_and_answers_with_arrays(app: App) -> None:
    app.ask("a", "add", {"a": 41})
    outcome = app.outcome("a")
    assert (outcome.ok, outcome.text, outcome.value) == (True, "", {"sum": 42})
    np.testing.assert_array_equal(outcome.arrays["x"], [0, 1, 2])
    assert app.progress["a"][0] == (0.0, "")
    assert app.value("log") == "[(True, 41)]"


def test_a_task_waits_for_the_cell_that_runs_while_an_order_is_done_at_once(app: App, tmp_path: Path) -> None:
    with app.line() as line:
        line.run_until(tmp_path / "runs", "go.wait(60); log.append('cell')")
        app.ask("a", "add", {"a": 1})
        app.feed.conversation.order("overrides", {"do": "undo"})
        app.wait(lambda: app.feed.conversation.about("overrides").get("note") == "undo")
        assert app.progress["a"] == []
        assert "a" not in app.outcomes
        app.feed.conversation.order("overrides", {"do": "go"})
        assert app.kernel.client is not None
        app.kernel.client.request("evaluate", {"request": 1, "text": "go.set()"})
        assert line.reply()["status"] == "ok"
    assert app.outcome("a").ok
    assert app.value("log") == "[{'do': 'undo'}, {'do': 'go'}, 'cell', (True, 1)]"


def test_a_task_does_not_run_while_a_cell_awaits_something(app: App, tmp_path: Path) -> None:
    with app.line() as line:
        line.run_until(
            tmp_path / "runs", "import asyncio\nwhile not go.is_set(): await asyncio.sleep(0.01)\nlog.append('cell')"
        )
        app.ask("a", "add", {"a": 1})
        app.feed.conversation.order("overrides", {"do": "look"})
        app.wait(lambda: app.feed.conversation.about("overrides").get("note") == "look")
        assert app.kernel.client is not None
        app.kernel.client.request("evaluate", {"request": 1, "text": "go.set()"})
        assert line.reply()["status"] == "ok"
    assert app.outcome("a").ok
    assert app.value("log[1:]") == "['cell', (True, 1)]"


def test_what_a_task_prints_is_no_output_of_the_last_cell(app: App) -> None:
    app.run("import io, sys; before, sys.stdout = sys.stdout, io.StringIO()")
    app.ask("a", "add", {"a": 1})
    assert app.outcome("a").ok
    app.run("print('a cell prints'); sys.stdout, text = before, sys.stdout.getvalue()")
    assert app.value("text") == r"'a cell prints\n'"


def test_mistakes_are_one_line(app: App) -> None:
    for name in ("refuse", "fail", "strange", "nothing"):
        app.ask(name, name)
    assert app.outcome("refuse") == Outcome(False, "layer 9 is none; there are 0 to 5")
    assert app.outcome("fail").text == "fail failed: SystemExit: no"
    assert app.outcome("strange").text.startswith("a finished cannot be sent: Object of type object")
    assert app.outcome("nothing").text.startswith("the kernel's moedesk knows no task 'nothing'")
    app.ask("a", "add", {"a": 1})
    assert app.outcome("a").ok


@pytest.mark.parametrize("name", ["wait", "count"])
def test_a_cancelled_task_ends_and_the_kernel_lives_on(app: App, name: str) -> None:
    cancel = app.ask("a", name)
    app.ask("b", "add", {"a": 1})
    dropped = app.ask("c", "add", {"a": 2})
    app.wait(lambda: app.progress["a"])
    dropped()
    cancel()
    assert app.outcome("b").ok
    app.ask("d", "add", {"a": 3})
    assert app.outcome("d").ok
    assert set(app.outcomes) == {"b", "d"}
    assert app.value("log[-2:]") == "[(True, 1), (True, 3)]"


def test_an_interrupt_ends_the_task_and_none_comes_later(app: App) -> None:
    app.ask("a", "wait")
    app.wait(lambda: app.progress["a"])
    app.kernel.interrupt()
    assert app.outcome("a") == Outcome(False, "it was interrupted")
    assert app.value("1 + 1") == "2"
    before = app.value("__import__('signal').getsignal(2)")
    assert "default_int_handler" in before, "as in every cell"


def test_a_task_of_an_app_that_left_is_interrupted(app: App) -> None:
    from moedesk.link.client import LinkClient
    from moedesk.link.endpoint import Endpoint
    from tests.support.noting_receiver import NotingReceiver

    receiver = NotingReceiver()
    other = LinkClient(Endpoint(app.kernel.about["address"], ""), receiver)
    receiver.next("connected")
    other.request("task", {"request": 1, "name": "wait", "value": {}})
    receiver.next("progressed")
    app.ask("a", "add", {"a": 1})
    other.close()
    assert app.outcome("a").ok


def test_a_task_has_its_turn_while_qt_runs_between_the_cells(tmp_path: Path) -> None:
    app = App(tmp_path)
    try:
        app.run("%gui qt")
        for number in range(3):
            app.ask(f"{number}", "add", {"a": number})
            assert app.outcome(f"{number}").value == {"sum": number + 1}
    finally:
        app.close()


def test_a_kernel_that_is_restarted_while_a_task_runs_answers_for_it(tmp_path: Path) -> None:
    app = App(tmp_path)
    try:
        app.feed.conversation.order("overrides", {"do": "look"})
        app.wait(lambda: app.feed.conversation.told)
        app.ask("a", "wait")
        app.wait(lambda: app.progress["a"])
        app.kernel.restart()
        assert app.outcome("a") == Outcome(False, "The kernel was restarted")
        assert app.feed.conversation.told == {}
    finally:
        app.close()


def test_a_kernel_that_is_killed_while_a_task_runs_answers_for_it(app: App) -> None:
    app.ask("a", "wait")
    app.ask("b", "add", {"a": 1})
    app.wait(lambda: app.progress["a"])
    os.kill(app.kernel.about["pid"], signal.SIGKILL)
    for key in ("a", "b"):
        outcome = app.outcome(key)
        assert not outcome.ok
        assert outcome.text.startswith("the connection to the kernel is gone")
        assert "\n" not in outcome.text
    app.wait(lambda: app.kernel.state is KernelState.ENDED)
    assert app.feed.conversation.told == {}
