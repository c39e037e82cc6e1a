"""What happens to a kernel, seen from a thread of its own: start, greeting, link, silence, end."""

import logging
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from moedesk.core.errors import MoedeskError
from moedesk.link.client import LinkClient
from moedesk.link.connection import Connection
from moedesk.link.ending import Ending, in_order
from moedesk.link.endpoint import Endpoint
from moedesk.link.foreign_kernel import ForeignKernel
from moedesk.link.greeting import Greeting, trouble
from moedesk.link.kernel_process import KernelProcess
from moedesk.link.keys import KeyPair
from moedesk.link.receiver import Receiver
from moedesk.session.kernel import KernelState

logger = logging.getLogger(__name__)

SILENCE = 5.0  # seconds without a sign of life after which a kernel counts as silent
_SOON, _LATER = 0.05, 0.5  # seconds between looks: while an answer is due, and else
_BUSY = 2.0  # seconds a greeting may take before the kernel counts as busy
_HEART = 5.0  # seconds between looks at a foreign kernel's heart
_STACKS = 3.0  # seconds in which stacks must be written
_LOST = 1.0  # seconds that a lost link waits for the news that the process ended
_MANY, _MANY_SPAN = 3, 60.0  # so many ends within so many seconds are told
_BUSY_LINE = "The kernel is busy; routing follows when its cell ends"
_DEAD_LINE = "Nothing answers there: the kernel has ended, or its ports are not forwarded"

Show = Callable[[str, Mapping[str, Any]], None]


class KernelLife:
    """Runs orders one after another, and looks after the kernel between them.

    Parameters
    ----------
    show : callable
        Takes a name for ``Kernel.changed`` and new values of the kernel's attributes.
    receiver : callable
        Makes the receiver of a new link.
    python, named, ssh
        As ``Kernel`` has them; ``named`` is its connection file.
    """

    def __init__(
        self,
        show: Show,
        receiver: Callable[[], Receiver],
        *,
        python: str = "",
        named: Path | None = None,
        ssh: str = "",
    ) -> None:
        self._show, self._receiver = show, receiver
        self._python, self._named, self._ssh = python or sys.executable, named, ssh
        self._keys = KeyPair.make()
        self._process: KernelProcess | None = None
        self._foreign: ForeignKernel | None = None
        self._greeting: Greeting | None = None
        self._about: dict[str, Any] = {}
        self._client: LinkClient | None = None
        self._state = KernelState.STARTING
        self._said = ""
        self._lost: tuple[float, str] | None = None
        self._heart_at = 0.0
        self._ends: deque[float] = deque(maxlen=_MANY)
        self._closed = False
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._orders.put(self._begin)
        self._thread = threading.Thread(target=self._run, name="moedesk-kernel", daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running cell."""
        if self._process is not None:
            self._process.interrupt()  # a signal, which goes out although an order is under way
        else:
            self._orders.put(self._interrupt_foreign)

    def restart(self) -> None:
        """End what runs and begin anew."""
        self._orders.put(self._restart)

    def dump_stacks(self) -> None:
        """Ask where each thread stands."""
        self._orders.put(self._dump_stacks)

    def link_lost(self, reason: str) -> None:
        """Take the end of the link."""
        self._orders.put(partial(self._take_loss, reason))

    def close(self) -> None:
        """Let go of everything, then end the thread."""
        self._orders.put(self._finish)

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread; return whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._closed:
            waiting = self._greeting is not None or self._state is KernelState.STARTING
            try:
                work = self._orders.get(timeout=_SOON if waiting else _LATER)
            except queue.Empty:
                work = self._look
            try:
                work()
            except MoedeskError as error:
                self._drop_link()
                self._say(KernelState.FAILED, str(error))
            except Exception as error:  # a mistake of ours must not leave the user with a dead console
                logger.exception("kernel %s", self._named or self._python)
                self._drop_link()
                self._say(KernelState.FAILED, f"moedesk failed: {error}; restart the kernel, and report this line")

    def _begin(self) -> None:
        self._about = {}
        if self._named is None:
            self._say(KernelState.STARTING, "The kernel is starting", python=self._python, about={}, detail=())
            self._process = process = KernelProcess(
                self._python, lambda end: self._orders.put(lambda: self._end(process, end))
            )
            self._greet(process.connection)
        else:
            through = f" through {self._ssh}" if self._ssh else ""
            self._say(KernelState.STARTING, f"Connecting to {self._named.name}{through}", about={}, detail=())
            self._foreign = ForeignKernel(self._named, self._ssh)

    def _greet(self, connection: Connection) -> None:
        self._greeting = Greeting(connection, self._keys.public)
        self._show("state", {"connection_file": connection.path})

    def _look(self) -> None:
        """Do what is due between orders."""
        if self._foreign is not None and self._greeting is None and not self._about:
            if self._state is KernelState.STARTING and (connection := self._foreign.connection) is not None:
                self._greet(connection)
        elif self._greeting is not None:
            self._hear(self._greeting)
        elif self._client is not None:
            self._listen(self._client)
        elif self._about.get("address") and self._lost is None:
            self._link()
        if self._foreign is not None:
            self._feel_pulse(self._foreign)

    def _hear(self, greeting: Greeting) -> None:
        about = greeting.poll()
        if about is not None:
            greeting.close()
            self._greeting, self._about = None, about
            problem = trouble(about)
            if problem:
                about.pop("address", None)
            known = {"about": about, "python": str(about.get("executable") or self._python)}
            self._say(KernelState.READY, problem, **known)
            self._look()
        elif self._foreign is not None and self._state is KernelState.STARTING and _since(greeting.asked_at) > _BUSY:
            self._heart_at = time.monotonic()
            beats = self._foreign.heart_beats()
            self._say(KernelState.READY if beats else KernelState.SILENT, _BUSY_LINE if beats else _DEAD_LINE)

    def _link(self) -> None:
        """Connect to where the kernel sends its routing."""
        address: str | None = self._about["address"]
        if self._foreign is not None:
            address = self._foreign.link_address(self._about["address"])
        if address is None:
            assert self._foreign is not None
            self._say(KernelState.READY, self._foreign.unreachable(self._about["address"]))
            return
        endpoint = Endpoint(address, self._about.get("server_key") or "")
        self._client = LinkClient(endpoint, self._receiver(), self._keys)
        self._say(KernelState.READY, "; ".join(map(str, self._about.get("notes", ()))), client=self._client)

    def _listen(self, client: LinkClient) -> None:
        """Tell whether the link shows signs of life."""
        if self._lost is not None:
            lost_at, reason = self._lost
            if _since(lost_at) > _LOST:
                self._drop_link()
                self._say(KernelState.READY, reason)
            return
        silent = _since(client.answered_at)
        if silent > SILENCE:
            self._say(
                KernelState.SILENT,
                f"No answer for {silent:.0f} s: a C call holds the interpreter, or threads wait for each other. "
                "Interrupt it, ask where it hangs, or restart",
            )
        elif self._state is KernelState.SILENT:
            self._say(KernelState.READY, "", detail=())

    def _feel_pulse(self, foreign: ForeignKernel) -> None:
        """Find out whether a kernel that has no process to watch has ended."""
        if self._state is KernelState.ENDED or _since(self._heart_at) < _HEART or foreign.connection is None:
            return
        if self._greeting is None and not self._about:
            return  # its ports have only now come about, and it is greeted first
        self._heart_at = time.monotonic()
        if foreign.is_gone(self._about):
            self._drop_link()
            self._say(KernelState.ENDED, "The kernel's process has ended")
        elif not foreign.heart_beats():
            self._say(
                KernelState.SILENT, "Nothing answers there: the kernel has ended, or its ports are no longer forwarded"
            )
        elif self._state is KernelState.SILENT and self._client is None:
            self._say(KernelState.READY, _BUSY_LINE if self._greeting is not None else "")

    def _end(self, process: KernelProcess, ending: Ending) -> None:
        """Tell how the process ended, unless it was asked to."""
        if process is not self._process or ending.asked:
            return
        unstarted = self._state is KernelState.STARTING
        self._drop_link()
        said = ending.said
        if unstarted and any(
            "No module named 'ipykernel" in line or "ipykernel_launcher" in line for line in ending.stderr
        ):
            said = f"No ipykernel in this Python: {self._python} -m pip install ipykernel, then restart"
        if ending.code:
            self._ends.append(time.monotonic())
        if ending.code and len(self._ends) == _MANY and _since(self._ends[0]) < _MANY_SPAN:
            said += f". It ended {_MANY} times within a minute: look at the details before you restart it"
        detail = ending.stderr + (("", *ending.fault) if ending.stderr and ending.fault else ending.fault)
        self._say(KernelState.FAILED if unstarted else KernelState.ENDED, said, detail=detail)

    def _take_loss(self, reason: str) -> None:
        if self._client is not None:
            self._lost = (time.monotonic(), reason)

    def _interrupt_foreign(self) -> None:
        if self._foreign is not None:
            self._foreign.interrupt()

    def _restart(self) -> None:
        self._release()
        self._begin()

    def _dump_stacks(self) -> None:
        process = self._process
        if process is None:
            pid = self._about.get("pid")
            where = f"py-spy dump --pid {pid}" if pid else "py-spy dump --pid PID"
            self._say(
                self._state, f"Only a kernel that the app started can say where it hangs; for this one use {where}"
            )
            return
        before = len(process.fault_text())
        process.dump_stacks()
        until = time.monotonic() + _STACKS
        text, last = "", None
        while time.monotonic() < until and (not text or text != last):
            last = text
            process.wait(0.1)
            text = process.fault_text()[before:]
        lines = in_order(text) or ("No stacks came: the process is stopped, or still starting",)
        self._say(self._state, self._said, detail=lines)

    def _finish(self) -> None:
        self._release()
        self._closed = True
        self._say(KernelState.ENDED, "")
        self._show("closed", {})

    def _release(self) -> None:
        """Let go of link, process and tunnels."""
        self._drop_link()
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._foreign is not None:
            self._foreign.close()
            self._foreign = None

    def _drop_link(self) -> None:
        self._lost = None
        self._about.pop("address", None)
        if self._greeting is not None:
            self._greeting.close()
            self._greeting = None
        if self._client is not None:
            client, self._client = self._client, None
            self._show("state", {"client": None})
            client.close()

    def _say(self, state: KernelState, said: str, **fields: Any) -> None:
        """Tell the kernel's state, if anything about it is new."""
        if fields or (state, said) != (self._state, self._said):
            self._state, self._said = state, said
            self._show("state", {"state": state, "said": said, **fields})


def _since(moment: float) -> float:
    return time.monotonic() - moment
