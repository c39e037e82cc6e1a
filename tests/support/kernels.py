"""Real kernels for tests: a process that is stopped, interpreters that lack something, and a way to run a line."""

import os
import select
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.connect import write_connection_file

from moedesk.link.connection import Channel, read_connection
from moedesk.link.ending import Ending
from moedesk.link.kernel_process import KernelProcess
from moedesk.session.kernel import Kernel
from tests.support.until import PATIENCE, until

# A C call waits for a lock that it has itself, and does not let go of the interpreter meanwhile.
DEADLOCK = """
import ctypes
lock, take = ctypes.create_string_buffer(64), ctypes.PyDLL(None).pthread_mutex_lock
take(lock)
take(lock)
"""


@pytest.fixture(scope="session", autouse=True)
def own_ipython(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the history of IPython in tests out of the user's, and let kernels end however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setattr("moedesk.session.kernels.CLOSE_SECONDS", PATIENCE)
        yield


class Receiver:
    """Passes on what a kernel must know, as the app's receiver does."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def answered(self, request: int, text: str, ok: bool) -> None:
        self._kernel.answer(request, text, ok)

    def lost(self, reason: str) -> None:
        self._kernel.link_lost(reason)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Watched:
    """A kernel's process, and how it ended."""

    def __init__(self, python: str = sys.executable) -> None:
        self.endings: list[Ending] = []
        self.process = KernelProcess(python, self.endings.append)

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def ending(self) -> Ending:
        """Wait for the end."""
        assert self.process.wait(PATIENCE), "the kernel did not end"
        until(lambda: bool(self.endings))
        return self.endings[0]


class Line:
    """Runs code in a kernel through a shell channel of its own."""

    def __init__(self, connection_file: Path) -> None:
        self._channel = Channel(read_connection(connection_file), "shell")
        self._channel.send("kernel_info_request", {})
        assert self._channel.receive(PATIENCE) is not None, "the kernel did not answer"

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def send(self, code: str, **expressions: str) -> str:
        """Start a cell; return the request's id."""
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": expressions}
        return self._channel.send("execute_request", {**content, "allow_stdin": False, "stop_on_error": True})

    def run_until(self, sign: Path, code: str) -> None:
        """Start a cell that first makes a file; return when it did."""
        self.send(f"open({str(sign)!r}, 'w').close()\n{code}")
        until(sign.exists)

    def reply(self) -> dict[str, Any]:
        """Return the content of the next reply."""
        message = self._channel.receive(PATIENCE)
        assert message is not None, "no reply"
        return dict(message["content"])

    def value(self, expression: str) -> str:
        """Return the repr of an expression's value."""
        self.send("", value=expression)
        return str(self.reply()["user_expressions"]["value"]["data"]["text/plain"])


def wait_for_end(pid: int) -> bool:
    """Wait until a process, not necessarily a child, has ended; return whether it did."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], PATIENCE)[0])
    finally:
        os.close(handle)


def script(path: Path, text: str) -> str:
    """Write an executable shell script; return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def bare_python(folder: Path) -> str:
    """Return an interpreter that has the standard library only."""
    return script(folder / "python-bare", f'exec "{sys.executable}" -I -S "$@"')


def python_with_moedesk(folder: Path, version: str, protocol: int | None) -> str:
    """Return an interpreter whose moedesk is another version, with a protocol or none."""
    package = folder / "other" / "moedesk"
    (package / "link").mkdir(parents=True)
    (package / "__init__.py").write_text(f"__version__ = {version!r}\n")
    (package / "link" / "__init__.py").touch()
    if protocol is not None:
        (package / "link" / "protocol.py").write_text(f"PROTOCOL = {protocol}\n")
    return script(folder / "python-other", f'PYTHONPATH="{folder}/other" exec "{sys.executable}" "$@"')


class Notebook:
    """A kernel that somebody else started, on ports of this machine."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.connection_file = folder / "kernel-77.json"
        write_connection_file(str(self.connection_file), key=b"a key", ip="127.0.0.1")
        self.process = subprocess.Popen(
            [python, "-m", "ipykernel_launcher", "-f", str(self.connection_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> "Notebook":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
