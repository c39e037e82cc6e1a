"""A kernel's process: it runs, ends, and why it ended is told."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moedesk.link.connection import KernelError, heart_beats, read_connection
from moedesk.link.ending import MemoryWatch, explain, in_order
from moedesk.link.private_folder import private_folder
from tests.support.kernels import DEADLOCK, Line, Watched, own_ipython, wait_for_end  # noqa: F401
from tests.support.until import PATIENCE, until


def test_a_kernel_runs_in_its_own_process_and_leaves_nothing() -> None:
    with Watched() as watched:
        process = watched.process
        with Line(process.connection_file) as line:
            pid = int(line.value("__import__('os').getpid()"))
        assert pid == process.pid != os.getpid()
        assert os.getsid(pid) == pid  # Ctrl+C in the app's terminal does not reach it
        assert process.folder.stat().st_mode & 0o777 == 0o700
        assert process.connection_file.stat().st_mode & 0o777 == 0o600
        assert heart_beats(read_connection(process.connection_file), PATIENCE)
        process.stop()
        assert watched.ending().asked
    assert process.pid is None
    assert not process.folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_interrupt_ends_the_cell_and_not_the_kernel(tmp_path: Path) -> None:
    with Watched() as watched, Line(watched.process.connection_file) as line:
        line.run_until(tmp_path / "runs", "import time; time.sleep(60)")
        watched.process.interrupt()
        reply = line.reply()
        assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
        assert line.value("6 * 7") == "42"


@pytest.mark.parametrize(
    ("code", "expected", "says"),
    [
        ("import os; os._exit(0)", 0, "by exit()"),
        ("import os; os._exit(3)", 3, "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "perhaps out of memory"),
    ],
)
def test_why_it_ended_is_told(code: str, expected: int, says: str) -> None:
    with Watched() as watched, Line(watched.process.connection_file) as line:
        line.send(code)
        ending = watched.ending()
    assert ending.code == expected
    assert says in ending.said
    assert not ending.asked


def test_a_crash_tells_its_last_words_and_where_it_was() -> None:
    with Watched() as watched, Line(watched.process.connection_file) as line:
        line.send("import ctypes, os; os.write(2, b'last words of a library\\n'); ctypes.string_at(0)")
        ending = watched.ending()
    assert ending.code == -signal.SIGSEGV
    assert "SIGSEGV" in ending.said
    assert "last words of a library" in ending.stderr
    assert "Segmentation fault" in ending.fault[0]
    assert any("string_at" in line for line in ending.fault[:6])  # the thread that crashed comes first


def test_stacks_come_while_a_c_call_holds_the_interpreter(tmp_path: Path) -> None:
    with Watched() as watched:
        with Line(watched.process.connection_file) as line:
            line.run_until(tmp_path / "runs", DEADLOCK)
        watched.process.dump_stacks()
        until(lambda: "kernel_boot.py" in watched.process.fault_text())
        assert "Current thread" in in_order(watched.process.fault_text())[0]
        assert heart_beats(
            read_connection(watched.process.connection_file), PATIENCE
        )  # which is why the heart says little
        watched.process.stop()
        assert watched.ending().code == -signal.SIGTERM


def test_what_a_cell_started_ends_with_the_kernel() -> None:
    with Watched() as watched, Line(watched.process.connection_file) as line:
        child = int(line.value("__import__('subprocess').Popen(['sleep', '60']).pid"))
        line.send("import os; os._exit(0)")
        watched.ending()
    assert wait_for_end(child)


def test_a_python_that_is_not_there_is_told() -> None:
    with Watched("/no/such/python") as watched:
        assert watched.ending().said == "/no/such/python can't be started: No such file or directory"


APP = """
import sys
from tests.support.kernels import DEADLOCK, Line, Watched
watched = Watched()
with Line(watched.process.connection_file) as line:
    line.send({code!r})
    print(watched.process.pid, watched.process.folder, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("code", ["", DEADLOCK])
def test_a_kernel_ends_when_the_app_is_killed(code: str) -> None:
    app = subprocess.Popen(
        [sys.executable, "-c", APP.format(code=code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with app:
        assert app.stdout is not None
        pid, folder = app.stdout.readline().split()
        app.kill()
    assert wait_for_end(int(pid))
    assert Path(folder).exists()  # nobody was left to remove it
    shutil.rmtree(private_folder())  # the next app does
    assert not Path(folder).exists()


def test_want_of_memory_is_told_by_the_systems_own_count(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 1\noom_kill 4\n")
    assert MemoryWatch({events: 3}).tell(2_500_000_000).startswith("out of memory: the system ended a process")
    assert MemoryWatch({events: 4}).tell(2_500_000_000).startswith("perhaps out of memory, though")
    assert "2.5 GB" in MemoryWatch({}).tell(2_500_000_000)


def test_signals_are_named() -> None:
    assert explain(-signal.SIGABRT, "") == "The kernel was ended by SIGABRT (abort: native code gave up)"
    assert explain(-250, "") == "The kernel was ended by signal 250"


@pytest.mark.parametrize(
    ("text", "says"),
    [("no json", "is not JSON"), ("[1]", "ports, ip or key"), ('{"ip": "127.0.0.1", "key": ""}', "ports, ip or key")],
)
def test_a_file_that_is_no_connection_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "kernel-1.json"
    path.write_text(text)
    with pytest.raises(KernelError, match=says):
        read_connection(path)
    with pytest.raises(KernelError, match="does not exist"):
        read_connection(tmp_path / "none.json")
