"""Tasks that apps ask for: done one after another in the kernel's main thread, between the user's cells."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.turns import Turns, interrupt_main_thread, interruptible, silenced

if TYPE_CHECKING:
    from moedesk.link.server import LinkServer

PROGRESS_SECONDS = 0.05
"""Between two words about how far a task is."""
NO_LOOP = "this process has no Jupyter kernel whose main thread could do it; use the functions of moe there"
INTERRUPTED = "it was interrupted"
_log = logging.getLogger(__name__)

Result = Mapping[str, Any] | tuple[Mapping[str, Any], Mapping[str, np.ndarray]]
Function = Callable[[Mapping[str, Any], Callable[[float, str], None]], Result]
"""Does a task: takes its value and a function to be told the share that is done (0 to 1) and what is done now, which raises
KeyboardInterrupt once the task was cancelled; returns plain JSON values, or these and arrays. The line of a ``MoedeskError`` is
told to the app."""


@dataclass(eq=False)
class _Task:
    client: int
    request: int
    name: str
    value: Mapping[str, Any]
    cancelled: bool = False


class Tasks:
    """Queues tasks and answers each once.

    A cell that runs goes first, and so does one that came before. Ctrl+C, ``cancel`` and the end of the app that asked raise
    KeyboardInterrupt in the task. What it prints is dropped.

    Parameters
    ----------
    turns : Turns or None
        None refuses every task.
    server : callable
        Gives the link that answers.
    """

    def __init__(self, turns: Turns | None, server: "Callable[[], LinkServer]") -> None:
        self._turns, self._server = turns, server
        self._functions: dict[str, Function] = {}
        self._waiting: deque[_Task] = deque()
        self._running: _Task | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether one is being done."""
        return self._running is not None

    def on(self, name: str, function: Function) -> None:
        """Have tasks of a name done by a function."""
        self._functions[name] = function

    # on the link's thread

    def take(self, client: int, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take a ``task`` request."""
        task = _Task(client, fields["request"], fields["name"], fields["value"])
        if task.name not in self._functions:
            self._refuse(
                task, f"the kernel's moedesk knows no task {task.name[:40]!r}; update it, then restart the kernel"
            )
        elif self._turns is None or self._closed:
            self._refuse(task, NO_LOOP)
        else:
            with self._lock:
                self._waiting.append(task)
            self._turns.ask(self._do_next)

    def cancel(self, client: int, request: int) -> None:
        """Do a task no more: drop it if it waits, interrupt it if it runs. It is answered all the same."""
        self._stop(lambda task: (task.client, task.request) == (client, request))

    def leave(self, client: int) -> None:
        """Do no more for a client that went away."""
        self._stop(lambda task: task.client == client)

    def close(self) -> None:
        """Do no more for anybody."""
        self._closed = True
        self._stop(lambda task: True)

    def _stop(self, chosen: Callable[[_Task], bool]) -> None:
        with self._lock:
            for task in self._waiting:
                task.cancelled |= chosen(task)
            running = self._running
            if running is not None and chosen(running):
                running.cancelled = True
                interrupt_main_thread()

    def _refuse(self, task: _Task, why: str) -> None:
        self._server().finish(task.client, task.request, False, why)

    # in the main thread

    def _do_next(self) -> None:
        with self._lock:
            task = self._waiting.popleft()
            self._running = None if task.cancelled else task
        if task.cancelled:
            self._refuse(task, INTERRUPTED)
            return
        try:
            with interruptible(lambda: self._running is task):
                try:
                    value, arrays = self._result(task)
                finally:
                    self._running = None  # from here on nothing interrupts
            self._server().finish(task.client, task.request, True, "", value, arrays)
        except MoedeskError as error:
            self._refuse(task, str(error))
        except KeyboardInterrupt:
            self._refuse(task, INTERRUPTED)
        except BaseException as error:  # SystemExit too: a task ends nothing
            _log.debug("task %s", task.name, exc_info=True)
            lines = str(error).strip().splitlines() or [""]
            self._refuse(task, f"{task.name} failed: {type(error).__name__}: {lines[0][:300]}")
        finally:
            self._running = None

    def _result(self, task: _Task) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        said_at = -PROGRESS_SECONDS

        def progress(share: float, text: str) -> None:
            nonlocal said_at
            if task.cancelled:
                raise KeyboardInterrupt
            if time.monotonic() >= said_at + PROGRESS_SECONDS:
                said_at = time.monotonic()
                self._server().progress(task.client, task.request, share, text)

        with silenced():
            progress(0.0, "")
            result = self._functions[task.name](task.value, progress)
        return result if isinstance(result, tuple) else (result, {})
