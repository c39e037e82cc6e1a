"""Work in a kernel's main thread, between its cells."""

import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Turns:
    """Gives work its turn: after the cell that runs, before the next one that comes.

    Parameters
    ----------
    kernel : ipykernel.kernelbase.Kernel
        Of a kernel whose event loop runs.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    @staticmethod
    def of(shell: "InteractiveShell") -> "Turns | None":
        """Return those of a shell's kernel; None if it has no event loop, as in a terminal."""
        kernel = getattr(shell, "kernel", None)
        return Turns(kernel) if getattr(kernel, "io_loop", None) is not None else None

    def ask(self, work: Callable[[], None]) -> None:
        """Have work done in a turn of its own; from any thread, returns at once."""
        kernel = self._kernel
        lock = getattr(kernel, "_main_asyncio_lock", None)

        async def turn() -> None:
            if lock is None:
                work()
                return
            async with lock:  # held by a cell that awaits something, too (ipykernel 7)
                work()

        schedule: Callable[[Callable[[], Coroutine[Any, Any, None]]], None] | None
        schedule = getattr(kernel, "schedule_dispatch", None)  # ipykernel 6 has a queue instead
        if lock is None and schedule is not None:
            kernel.io_loop.add_callback(schedule, turn)
        else:
            kernel.io_loop.add_callback(turn)
        _wake_qt(kernel)


def _wake_qt(kernel: Any) -> None:
    """Have Qt's loop, which ``%gui qt`` runs between cells, let the kernel's own have a turn; it does so for cells only."""
    loop = getattr(getattr(kernel, "app", None), "qt_event_loop", None)
    if loop is not None:
        core = sys.modules[type(loop).__module__]  # of PySide or PyQt, as the user has it
        core.QMetaObject.invokeMethod(loop, "quit", core.Qt.ConnectionType.QueuedConnection)


@contextmanager
def interruptible(wanted: Callable[[], bool]) -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt in the block, as in a cell, as long as it is wanted; for the main thread."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        if wanted():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt_main_thread() -> None:
    """Send the main thread SIGINT, which also ends a sleep in it."""
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)
    else:
        import _thread

        _thread.interrupt_main()


@contextmanager
def silenced() -> Iterator[None]:
    """Drop what this thread prints in the block: it would show as output of the user's last cell."""
    with redirect_stdout(_Others(sys.stdout)), redirect_stderr(_Others(sys.stderr)):
        yield


class _Others:
    """A stream that takes what other threads than its maker's write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._silent = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._silent else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
