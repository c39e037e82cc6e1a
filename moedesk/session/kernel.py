"""One kernel that the app talks to: its process or connection, its link, and what became of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from moedesk.core.event import Event
from moedesk.link.receiver import Receiver

Deliver = Callable[[Callable[[], None]], None]


class KernelState(Enum):
    """Where a kernel stands."""

    STARTING = "starting"
    READY = "ready"
    SILENT = "silent"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True)
class Answer:
    """The value of a live expression as text, or its error."""

    request: int
    text: str
    ok: bool


class Kernel:
    """A process with a Python interpreter that holds models, started by the app or found running.

    No method waits. What changes is announced by ``changed`` ("state"; "closed" once, when everything is let go), and what live
    expressions gave by ``answered``; both through ``deliver``.

    Parameters
    ----------
    deliver : callable
        Runs a function in the thread that owns the listeners (the GUI's); called from any thread.
    receiver : callable
        Makes the receiver of one link to this kernel; called anew after a restart. The receiver passes ``answered`` on to
        ``Kernel.answer`` and ``lost`` to ``Kernel.link_lost``.
    python : str
        The interpreter to start; this one if left out.
    connection_file : Path, optional
        The kernel to connect to, instead of starting one.
    ssh : str
        ``user@host`` through which that kernel is reached; empty for none.

    Attributes
    ----------
    changed : Event of str
    answered : Event of Answer
    title : str
        What menus call it.
    python : str
        The interpreter's path, or empty while it isn't known.
    own : bool
        Whether the app started it, and so may restart it.
    connection_file : Path or None
        Another one after each restart; None before the first start.
    state : KernelState
    said : str
        What happened and what to do, in one line; empty if there is nothing to say.
    detail : tuple of str
        Last lines of stderr, lines of the fault file.
    client : LinkClient or None
        The link, while there is one; a ready kernel without one runs code, but shows no routing (``said`` says why).
    about : mapping
        The greeting: python, moedesk, protocol, pid, machine, address, server_key, cwd; empty before it.
    """

    def __init__(
        self,
        deliver: Deliver,
        receiver: Callable[["Kernel"], Receiver],
        *,
        python: str = "",
        connection_file: Path | None = None,
        ssh: str = "",
    ) -> None:
        self.changed: Event[str] = Event()
        self.answered: Event[Answer] = Event()
        self.own = connection_file is None
        self.python = python
        self.title = ""
        self.connection_file = connection_file
        self.state = KernelState.STARTING
        self.said = ""
        self.detail: tuple[str, ...] = ()
        self.client: Any = None
        self.about: Mapping[str, Any] = {}

    def start(self) -> None:
        """Start the process, or connect."""

    def interrupt(self) -> None:
        """Stop the running cell (KeyboardInterrupt)."""

    def restart(self) -> None:
        """End the process and start it anew; nothing for a kernel that the app only connected to."""

    def close(self) -> None:
        """End the process, or let go of a kernel that the app only connected to; ``changed`` says "closed" when it is done."""

    def join(self, seconds: float) -> bool:
        """Wait until everything is let go; return whether it is. For the end of the app."""
        return True

    def dump_stacks(self) -> None:
        """Have the process write where each of its threads stands; the lines come in ``detail``."""

    def answer(self, request: int, text: str, ok: bool) -> None:
        """Take the value of a live expression from the link's receiver; any thread."""

    def link_lost(self, reason: str) -> None:
        """Take the end of the link from its receiver; any thread."""
