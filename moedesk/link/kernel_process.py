"""A kernel in a process of its own: started, watched until its end, interrupted, ended."""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable

from jupyter_client.connect import write_connection_file

from moedesk.link import kernel_boot
from moedesk.link.connection import Channel, read_connection
from moedesk.link.ending import Ending, MemoryWatch, explain, in_order, peak_memory
from moedesk.link.private_folder import private_folder

KEPT_LINES = 200
_LINE_LENGTH = 2000
_READ = 65536
_NO_PIDFD_PAUSE = 0.2  # seconds between looks at the process, on systems that can't wait for it and its output at once
_GRACE = (1.5, 1.5, 3.0)  # seconds to follow a shutdown request, SIGTERM, SIGKILL
_SOCKET_PATH = 90  # characters that a socket's path may have, and some to spare


class KernelProcess:
    """Starts ``ipykernel`` with a Python interpreter and watches it from a thread of its own, which also starts it.

    The process ends with the app, even if the app is killed. Its connection file and sockets lie in a folder that only the user
    can enter; the folder goes when the process has ended.

    Parameters
    ----------
    python : str
        The interpreter.
    ended : callable
        Called with the ``Ending`` from the watching thread, once.

    Attributes
    ----------
    connection_file : Path
        Complete from the start; the kernel listens some time later.
    connection : Connection
        What it says.
    """

    def __init__(self, python: str, ended: Callable[[Ending], None]) -> None:
        self.python = python
        self.folder = private_folder()
        self.connection_file = self.folder / "kernel.json"
        self.fault_file = self.folder / "fault.log"
        self._ended = ended
        self._asked = False
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._lock = (
            threading.Lock()
        )  # held while a signal is sent, so that none goes to a stranger with the same number
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._memory = MemoryWatch.start()
        self._write_connection()
        self.connection = read_connection(self.connection_file)
        threading.Thread(target=self._watch, name="moedesk-kernel-process", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def stderr(self) -> tuple[str, ...]:
        """The last lines that the process itself wrote."""
        return tuple(self._lines.copy())

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running cell."""
        self._signal(signal.SIGINT)

    def dump_stacks(self) -> None:
        """Have the process write its threads' stacks to the fault file, even while a C call holds the interpreter."""
        if self.fault_file.exists():  # before that the signal would end the process
            self._signal(signal.SIGUSR1)

    def fault_text(self) -> str:
        """Return what the fault file holds."""
        try:
            return self.fault_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of the process; return whether it came."""
        return self._over.wait(seconds)

    def stop(self) -> None:
        """End the process: ask it, then insist; waits for its end, six seconds at most."""
        self._asked = True
        if self.pid is not None:
            channel = Channel(self.connection, "control")
            channel.send("shutdown_request", {"restart": False})
            self._over.wait(_GRACE[0])
            channel.close()
        if not self._over.is_set():
            self._signal(signal.SIGTERM)
            self._over.wait(_GRACE[1])
        if not self._over.is_set():
            self._signal(signal.SIGKILL)
            self._over.wait(_GRACE[2])

    def _write_connection(self) -> None:
        """Choose sockets in the private folder where paths are short enough, else ports."""
        sockets = self.folder / "kernel"
        local = hasattr(os, "fork") and len(str(sockets)) <= _SOCKET_PATH
        write_connection_file(
            str(self.connection_file),
            transport="ipc" if local else "tcp",
            ip=str(sockets) if local else "",
            key=os.urandom(32).hex().encode(),
            kernel_name="moedesk",
        )
        self.connection_file.chmod(0o600)

    def _signal(self, number: int) -> None:
        with self._lock:
            if self.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def _watch(self) -> None:
        try:
            ending = self._live()
        except OSError as error:
            ending = Ending(127, f"{self.python} can't be started: {error.strerror or error}")
        shutil.rmtree(self.folder, ignore_errors=True)
        self._over.set()
        self._ended(ending)

    def _live(self) -> Ending:
        """Start the process and stay until its end: the system ends it with the thread that started it."""
        process = subprocess.Popen(
            [
                self.python,
                "-Xfrozen_modules=off",  # as Jupyter does: its debugger warns about them else
                kernel_boot.__file__,
                *("-f", str(self.connection_file)),
                "--IPKernelApp.capture_fd_output=False",  # native code's last words must not stay in the process that dies
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment(),
            start_new_session=True,
        )
        with self._lock:
            self._process = process
        assert process.stdout is not None
        with process.stdout as output:
            self._read_until_end(process.pid, output.fileno())
        with self._lock:
            # What the cells started ends with it. Its number can't have gone to a stranger before the wait below.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGTERM)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = code = os.waitstatus_to_exitcode(status)
        fault = in_order(self.fault_text())
        said = explain(code, self._memory.tell(peak_memory(usage.ru_maxrss)))
        return Ending(code, said, self.stderr, fault, self._asked)

    def _environment(self) -> dict[str, str]:
        """The app's environment, and what the kernel's own watch on faults and parent needs."""
        own = {"MOEDESK_FAULT_FILE": str(self.fault_file), "JPY_PARENT_PID": str(os.getpid())}
        return {**os.environ, **own}

    def _read_until_end(self, pid: int, output: int) -> None:
        """Keep the last lines; return when the process has ended, though what it started may still hold its output open."""
        os.set_blocking(output, False)
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            handle = _open_pidfd(pid)
            if handle is not None:
                selector.register(handle, selectors.EVENT_READ)
            over = False
            while not over:
                selector.select(None if handle is not None else _NO_PIDFD_PAUSE)
                over = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
                rest, closed = self._take(output, rest)
                if closed and output in selector.get_map():
                    selector.unregister(output)
            if handle is not None:
                os.close(handle)
        self._keep(rest)

    def _take(self, output: int, rest: bytes) -> tuple[bytes, bool]:
        """Take what was written; return the unfinished line and whether nothing more can come."""
        while True:
            try:
                data = os.read(output, _READ)
            except BlockingIOError:
                return rest, False
            if not data:
                return rest, True
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-_LINE_LENGTH:]
            for line in lines:
                self._keep(line)

    def _keep(self, line: bytes) -> None:
        if line:
            self._lines.append(line[:_LINE_LENGTH].decode(errors="replace"))


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except OSError:
        return None
