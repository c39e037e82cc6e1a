"""The kernels that the app talks to: started here or elsewhere, each with its feed of attached models."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moedesk.core.event import Event
from moedesk.session.feed import Added, Deliver, Feed
from moedesk.session.jobs import Jobs
from moedesk.session.kernel import Kernel, KernelState
from moedesk.session.live_stream import LiveStream
from moedesk.session.scratch import Scratch

CLOSE_SECONDS = 10.0
"""How long the end of the app waits for a kernel to end; it is killed before that."""
_RESTARTED = "The kernel was restarted"


class Kernels:
    """Starts, connects, chooses and ends kernels. For the GUI thread; nothing here waits.

    Parameters
    ----------
    scratch : Scratch
    deliver, wake, added, revealed : callable
        As in ``Feed``.

    Attributes
    ----------
    all : list of Kernel
    current : Kernel or None
    changed : Event of str
        ``kernels``: one came, went, is current or in another state.
    """

    def __init__(
        self,
        scratch: Scratch,
        deliver: Deliver,
        wake: Callable[[], None],
        added: Added,
        revealed: Callable[[Feed, Mapping[str, Any]], None],
    ) -> None:
        self.all: list[Kernel] = []
        self.current: Kernel | None = None
        self.changed: Event[str] = Event()
        self._feeds: dict[Kernel, Feed] = {}
        self._scratch, self._deliver, self._wake = scratch, deliver, wake
        self._added, self._revealed = added, revealed
        self._jobs = Jobs(deliver)
        self._closing: list[Kernel] = []

    def start(self, python: str = "") -> Kernel:
        """Start a kernel with a Python interpreter, this one if left out, and make it current."""
        return self._add(lambda feed: Kernel(self._deliver, lambda _: feed, python=python))

    def connect(self, connection_file: Path, ssh: str = "") -> Kernel:
        """Connect to a kernel that runs already, and make it current."""
        return self._add(lambda feed: Kernel(self._deliver, lambda _: feed, connection_file=connection_file, ssh=ssh))

    def prepare(self, kernel: Kernel) -> None:
        """Make a session for the model that is attached next, if there is none."""
        feed = self._feeds[kernel]
        self._jobs.latest(f"prepare:{id(kernel)}", lambda _: feed.prepare(kernel.title), lambda _: None)

    def choose(self, kernel: Kernel) -> None:
        """Make a kernel the current one."""
        if kernel is not self.current:
            self.current = kernel
            self.changed.emit("kernels")

    def close(self, kernel: Kernel) -> None:
        """End a kernel that the app started, or let go of one that it only connected to; its sessions stay."""
        self.all.remove(kernel)
        del self._feeds[kernel]
        if kernel is self.current:
            self.current = self.all[-1] if self.all else None
        self.changed.emit("kernels")
        kernel.close()
        self._closing = [*(other for other in self._closing if not other.join(0)), kernel]

    def of(self, stream: LiveStream) -> Kernel | None:
        """Return the kernel of a stream, if it is still there."""
        return next((kernel for kernel, feed in self._feeds.items() if stream in feed.streams), None)

    def kernel_of(self, feed: Feed) -> Kernel | None:
        """Return the kernel behind a feed."""
        return next((kernel for kernel, other in self._feeds.items() if other is feed), None)

    def forget(self, stream: LiveStream) -> None:
        """Take no more passes of a stream whose session was closed."""
        for feed in self._feeds.values():
            if stream in feed.streams:
                self._jobs.latest(f"forget:{id(stream)}", lambda _, feed=feed: feed.forget(stream), lambda _: None)  # type: ignore[misc]

    def shut_down(self) -> None:
        """End every kernel; waits for them."""
        self._jobs.close()
        for kernel in self.all:
            kernel.close()
        for kernel in (*self.all, *self._closing):
            kernel.join(CLOSE_SECONDS)
        self.all.clear()
        self._feeds.clear()
        self.current = None

    def _add(self, make: Callable[[Feed], Kernel]) -> Kernel:
        feed = Feed(self._scratch, self._deliver, self._wake, self._added, self._revealed)
        kernel = make(feed)
        feed.use(kernel)
        self._feeds[kernel] = feed
        self.all.append(kernel)
        self.current = kernel
        kernel.changed.connect(lambda _: self._kernel_changed(kernel, feed))
        kernel.start()
        self.prepare(kernel)
        self.changed.emit("kernels")
        return kernel

    def _kernel_changed(self, kernel: Kernel, feed: Feed) -> None:
        feed.name_unused(kernel.title)
        if kernel.client is None and kernel.state is not KernelState.READY:
            self._end_streams(kernel, feed)
        self.changed.emit("kernels")

    def _end_streams(self, kernel: Kernel, feed: Feed) -> None:
        """Have the sessions of a kernel that ended, or was restarted, say so."""
        over = kernel.state in (KernelState.ENDED, KernelState.FAILED)
        feed.conversation.take_end(kernel.said if over and kernel.said else _RESTARTED)
        if any(stream.attached for stream in feed.streams):
            why = kernel.said if over and kernel.said else _RESTARTED
            self._jobs.latest(f"stop:{id(kernel)}", lambda _: feed.stop(why), lambda _: None)
        elif over and kernel.said and any(stream.ended != kernel.said for stream in feed.stopped):
            self._jobs.latest(f"explain:{id(kernel)}", lambda _: feed.explain(kernel.said), lambda _: None)
