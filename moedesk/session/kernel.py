"""One kernel that the app talks to, and where it stands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moedesk.core.event import Event
from moedesk.link.receiver import Receiver

if TYPE_CHECKING:  # Jupyter and zmq load when the first kernel starts, not with the window
    from moedesk.link.client import LinkClient
    from moedesk.session.kernel_life import KernelLife

Deliver = Callable[[Callable[[], None]], None]


class KernelState(Enum):
    """Where a kernel stands."""

    STARTING = "starting"
    """Its process was started, or it has not answered yet; the console can be typed into."""
    READY = "ready"
    """It answered."""
    SILENT = "silent"
    """It lives and does not answer: a C call holds the interpreter, or threads wait for each other."""
    ENDED = "ended"
    """Its process is gone."""
    FAILED = "failed"
    """It could not be started or reached."""


@dataclass(frozen=True)
class Answer:
    """The value of a live expression as text, or its error."""

    request: int
    text: str
    ok: bool


class Kernel:
    """A process with a Python interpreter that holds models, started by the app or found running.

    No method but ``join`` waits. What changes is announced by ``changed`` ("state"; "closed" once, when everything is let go),
    and what live expressions gave by ``answered``; both through ``deliver``, in whose thread the attributes change, too.

    Parameters
    ----------
    deliver : callable
        Runs a function in the thread that owns the listeners (the GUI's); called from any thread.
    receiver : callable
        Makes the receiver of one link to this kernel; called anew, in the kernel's thread, for each link (after a restart). The
        receiver passes ``answered`` on to ``Kernel.answer`` and ``lost`` to ``Kernel.link_lost``.
    python : str
        The interpreter to start; this one if left out.
    connection_file : Path, optional
        The kernel to connect to, instead of starting one.
    ssh : str
        ``user@host`` through which that kernel is reached; empty for none. A file that isn't here is then read there.

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
        What a console connects to: another file after each restart, None while there is none.
    state : KernelState
    said : str
        What happened and what to do, in one line; empty if there is nothing to say.
    detail : tuple of str
        Last lines of stderr, lines of the fault file.
    client : LinkClient or None
        The link, while there is one; a ready kernel without one runs code, but shows no routing (``said`` says why).
    stopped : bool
        Whether a model of it stands at a breakpoint.
    about : mapping
        The greeting: python, executable, moedesk, protocol, pid, machine, address, server_key, cwd; empty before it.
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
        self.connection_file: Path | None = None
        self.state = KernelState.STARTING
        self.said = ""
        self.detail: tuple[str, ...] = ()
        self.client: LinkClient | None = None
        self.stopped = False
        self.about: Mapping[str, Any] = {}
        self._deliver = deliver
        self._receiver = receiver
        self._named = connection_file
        self._ssh = ssh
        self._life: KernelLife | None = None
        self._name(python, {})

    def start(self) -> None:
        """Start the process, or connect; once."""
        from moedesk.session.kernel_life import KernelLife

        if self._life is None:
            self._life = KernelLife(
                self._show, lambda: self._receiver(self), python=self.python, named=self._named, ssh=self._ssh
            )

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running cell."""
        if self._life is not None:
            self._life.interrupt()

    def restart(self) -> None:
        """End the process and start it anew; for a kernel that the app only connected to, connect again."""
        if self._life is not None:
            self._life.restart()

    def dump_stacks(self) -> None:
        """Have the process write where each of its threads stands; the lines come in ``detail``."""
        if self._life is not None:
            self._life.dump_stacks()

    def close(self) -> None:
        """End the process, or let go of a kernel that the app only connected to; ``changed`` says "closed" when it is done."""
        if self._life is not None:
            self._life.close()
        else:
            self._deliver(lambda: self.changed.emit("closed"))

    def join(self, seconds: float) -> bool:
        """Wait until everything is let go after ``close``; return whether it is. For the end of the app."""
        return self._life is None or self._life.join(seconds)

    def answer(self, request: int, text: str, ok: bool) -> None:
        """Take the value of a live expression from the link's receiver; any thread."""
        self._deliver(lambda: self.answered.emit(Answer(request, text, ok)))

    def take_stop(self, stopped: bool) -> None:
        """Take whether a model of it stands at a breakpoint; in the thread of the listeners."""
        if stopped != self.stopped:
            self.stopped = stopped
            self.changed.emit("stopped")

    def link_lost(self, reason: str) -> None:
        """Take the end of the link from its receiver; any thread."""
        if self._life is not None:
            self._life.link_lost(reason)

    def _show(self, name: str, fields: Mapping[str, Any]) -> None:
        """Take over new values of attributes; any thread."""

        def take_over() -> None:
            for attribute, value in fields.items():
                setattr(self, attribute, value)
            self._name(self.python, self.about)
            self.changed.emit(name)

        self._deliver(take_over)

    def _name(self, python: str, about: Mapping[str, Any]) -> None:
        if self._named is not None:
            self.title = self._named.name + (f" on {self._ssh}" if self._ssh else "")
            return
        environment = Path(python).parent.parent.name if python else ""
        words = ["Python", str(about.get("python", "")), f"({environment})" if environment else ""]
        self.title = " ".join(word for word in words if word)
