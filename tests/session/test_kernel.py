"""A kernel as the app sees it: start, link, silence, end, restart; and kernels of others."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import moedesk
from moedesk.link.foreign_kernel import ForeignKernel
from moedesk.session import kernel_life
from moedesk.session.kernel import Answer, Kernel, KernelState
from tests.support import fake_ssh
from tests.support.kernels import (  # noqa: F401
    DEADLOCK,
    Line,
    Notebook,
    Receiver,
    bare_python,
    own_ipython,
    python_with_moedesk,
    script,
)
from tests.support.until import PATIENCE


class Seen:
    """A kernel, and all that it told; every change is delivered at once, one at a time."""

    def __init__(self, **how: Any) -> None:
        self.told: list[tuple[KernelState, str]] = []
        self.answers: list[Answer] = []
        self.closed = False
        self._news = threading.Condition()
        self.kernel = Kernel(self._deliver, Receiver, **how)  # type: ignore[arg-type]
        self.kernel.changed.connect(self._note)
        self.kernel.answered.connect(self.answers.append)
        self.kernel.start()

    def __enter__(self) -> "Seen":
        return self

    def __exit__(self, *_: object) -> None:
        self.kernel.close()
        assert self.kernel.join(PATIENCE)
        self.wait(lambda: self.closed)

    def wait(self, condition: Callable[[], Any]) -> None:
        with self._news:
            assert self._news.wait_for(condition, PATIENCE), (
                f"{self.kernel.state} {self.kernel.said!r}, told {self.told}"
            )

    def wait_linked(self) -> None:
        self.wait(lambda: self.kernel.state is KernelState.READY and self.kernel.client is not None)

    def wait_state(self, state: KernelState) -> None:
        self.wait(lambda: self.kernel.state is state)

    def ask(self, text: str) -> Answer:
        """Return the answer to a live expression."""
        assert self.kernel.client is not None
        before = len(self.answers)
        self.kernel.client.request("evaluate", {"request": before + 1, "text": text})
        self.wait(lambda: len(self.answers) > before)
        return self.answers[-1]

    def line(self) -> Line:
        assert self.kernel.connection_file is not None
        return Line(self.kernel.connection_file)

    def _deliver(self, function: Callable[[], None]) -> None:
        with self._news:
            function()
            self._news.notify_all()

    def _note(self, name: str) -> None:
        self.closed |= name == "closed"
        self.told.append((self.kernel.state, self.kernel.said))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count as silent or busy sooner."""
    monkeypatch.setattr(kernel_life, "SILENCE", 1.5)
    monkeypatch.setattr(kernel_life, "_BUSY", 0.2)
    monkeypatch.setattr(kernel_life, "_HEART", 0.2)


@pytest.fixture(scope="module")
def running() -> Iterator[Seen]:
    """A kernel that tests share which leave it as it was."""
    with Seen() as seen:
        seen.wait_linked()
        yield seen


def test_a_kernel_starts_and_is_linked(running: Seen) -> None:
    kernel = running.kernel
    assert kernel.own
    assert kernel.said == ""
    assert kernel.python == sys.executable
    assert kernel.about["moedesk"] == moedesk.__version__
    assert kernel.title.startswith(f"Python {kernel.about['python']}")
    assert running.told[0] == (KernelState.STARTING, "The kernel is starting")


def test_live_expressions_are_answered_while_a_cell_runs(running: Seen, tmp_path: Path) -> None:
    with running.line() as line:
        line.run_until(tmp_path / "runs", "place = 'in the cell'\nimport time; time.sleep(60)")
        assert running.ask("place") == Answer(running.answers[-1].request, "'in the cell'", True)
        failed = running.ask("1 / 0")
        assert (failed.text, failed.ok) == ("ZeroDivisionError: division by zero", False)
        running.kernel.interrupt()
        assert line.reply()["ename"] == "KeyboardInterrupt"
    running.wait_state(KernelState.READY)


def test_a_deadlock_is_noticed_shown_and_survived(quick: None, tmp_path: Path) -> None:
    with Seen() as seen:
        seen.wait_linked()
        with seen.line() as line:
            line.run_until(tmp_path / "runs", DEADLOCK)
        seen.wait(lambda: "a C call holds the interpreter" in seen.kernel.said)
        assert seen.kernel.state is KernelState.SILENT
        seen.kernel.dump_stacks()
        seen.wait(lambda: seen.kernel.detail)
        assert "Current thread" in seen.kernel.detail[0]
        first, pid = seen.kernel.connection_file, seen.kernel.about["pid"]
        seen.kernel.restart()
        seen.wait(lambda: seen.kernel.connection_file != first)
        seen.wait_linked()
        assert seen.kernel.about["pid"] != pid
        assert seen.kernel.detail == ()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_pause_of_the_process_is_silence_and_passes(quick: None) -> None:
    with Seen() as seen:
        seen.wait_linked()
        os.kill(seen.kernel.about["pid"], signal.SIGSTOP)
        seen.wait_state(KernelState.SILENT)
        os.kill(seen.kernel.about["pid"], signal.SIGCONT)
        seen.wait_state(KernelState.READY)
        assert seen.kernel.client is not None


def test_a_killed_kernel_is_told_and_starts_again_only_when_asked() -> None:
    with Seen() as seen:
        seen.wait_linked()
        os.kill(seen.kernel.about["pid"], signal.SIGKILL)
        seen.wait_state(KernelState.ENDED)
        assert "SIGKILL" in seen.kernel.said
        assert seen.kernel.client is None
        seen.kernel.restart()
        seen.wait_linked()
        with seen.line() as line:
            line.send("exit()")
            seen.wait_state(KernelState.ENDED)
        assert seen.kernel.said == "The kernel ended by exit()"


def test_many_ends_in_a_row_are_told(tmp_path: Path) -> None:
    with Seen(python=script(tmp_path / "python", "echo some words >&2; exit 3")) as seen:
        for _ in range(2):
            seen.wait_state(KernelState.FAILED)
            assert "within a minute" not in seen.kernel.said
            told = len(seen.told)
            seen.kernel.restart()
            seen.wait(lambda told=told: len(seen.told) > told + 1)
        seen.wait_state(KernelState.FAILED)
        assert seen.kernel.said.startswith("The kernel ended with exit code 3. It ended 3 times within a minute")
        assert seen.kernel.detail == ("some words",)


def test_an_interpreter_without_ipykernel_names_the_command(tmp_path: Path) -> None:
    python = bare_python(tmp_path)
    with Seen(python=python) as seen:
        seen.wait_state(KernelState.FAILED)
        assert seen.kernel.said == f"No ipykernel in this Python: {python} -m pip install ipykernel, then restart"


def test_an_old_moedesk_names_the_command_and_leaves_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Seen(python=python_with_moedesk(tmp_path, "0.0.1", 0)) as seen:
        seen.wait_state(KernelState.READY)
        assert f"-m pip install -U moedesk=={moedesk.__version__}, then restart the kernel" in seen.kernel.said
        assert seen.kernel.client is None
        with seen.line() as line:
            assert line.value("6 * 7") == "42"


def test_a_busy_kernel_of_others_is_linked_when_its_cell_ends(quick: None, tmp_path: Path) -> None:
    with Notebook(tmp_path) as notebook:
        end = tmp_path / "end"
        with Line(notebook.connection_file) as line:
            line.run_until(
                tmp_path / "runs", f"import os, time\nwhile not os.path.exists({str(end)!r}): time.sleep(0.01)"
            )
            with Seen(connection_file=notebook.connection_file) as seen:
                seen.wait(lambda: seen.kernel.state is KernelState.READY and "busy" in seen.kernel.said)
                notebook.process.send_signal(signal.SIGSTOP)
                seen.wait_state(KernelState.SILENT)
                notebook.process.send_signal(signal.SIGCONT)
                seen.wait(lambda: seen.kernel.state is KernelState.READY and "busy" in seen.kernel.said)
                assert seen.kernel.client is None
                end.touch()
                seen.wait_linked()
                assert not seen.kernel.own
                assert seen.kernel.about["pid"] == notebook.process.pid
                line.reply()
                line.run_until(tmp_path / "runs again", "time.sleep(60)")
                seen.kernel.interrupt()
                assert line.reply()["ename"] == "KeyboardInterrupt"
        assert notebook.process.poll() is None  # the app let go of it, and it goes on


def test_a_kernel_whose_ports_come_about_between_two_looks_is_greeted(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports, beats = ForeignKernel.connection, ForeignKernel.heart_beats
    late = [None]  # as a tunnel's, at the first look
    silent = [False]
    monkeypatch.setattr(
        ForeignKernel, "connection", property(lambda kernel: late.pop() if late else ports.__get__(kernel))
    )
    monkeypatch.setattr(ForeignKernel, "heart_beats", lambda kernel: silent.pop() if silent else beats(kernel))
    with Notebook(tmp_path) as notebook, Seen(connection_file=notebook.connection_file) as seen:
        seen.wait_linked()


def test_the_end_of_a_kernel_of_others_is_noticed(quick: None, tmp_path: Path) -> None:
    with Notebook(tmp_path) as notebook, Seen(connection_file=notebook.connection_file) as seen:
        seen.wait_linked()
        notebook.process.kill()
        notebook.process.wait()
        seen.wait_state(KernelState.ENDED)
        assert seen.kernel.client is None


def test_a_kernel_of_others_is_reached_through_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "ssh", f'exec "{sys.executable}" "{fake_ssh.__file__}" "$@"')
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr("moedesk.link.greeting.machine_identity", lambda: "another machine")
    with Notebook(tmp_path) as notebook, Seen(connection_file=notebook.connection_file, ssh="me@host") as seen:
        seen.wait_linked()
        assert seen.kernel.about["address"].startswith("tcp://127.0.0.1:")
        assert seen.kernel.about["server_key"]
        assert seen.kernel.connection_file != notebook.connection_file
        assert seen.ask("6 * 7").text == "42"  # encrypted, through the tunnel
        assert seen.kernel.title == "kernel-77.json on me@host"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with Seen(connection_file=tmp_path / "kernel-0.json") as seen:
        seen.wait_state(KernelState.FAILED)
        assert "does not exist" in seen.kernel.said


def test_a_kernel_that_was_never_started_closes() -> None:
    told: list[str] = []
    kernel = Kernel(lambda function: function(), Receiver)  # type: ignore[arg-type]
    kernel.changed.connect(told.append)
    kernel.interrupt()
    kernel.close()
    assert told == ["closed"]
    assert kernel.join(0)
