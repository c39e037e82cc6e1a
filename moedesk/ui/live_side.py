"""The live side of the window: kernels, their sessions, scratch captures; what panels for all sessions see as the desk."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moedesk.core.event import Event
from moedesk.core.selection import Kind, Selection
from moedesk.session.jobs import Jobs, Ticket
from moedesk.session.panel import PanelSpec, load_view
from moedesk.session.scratch import Scratch, Unsaved
from moedesk.session.selected import selected_data
from moedesk.session.session import Session
from moedesk.ui.delivery import Delivery
from moedesk.ui.message_bar import MessageBar
from moedesk.ui.open_files import OpenFiles
from moedesk.ui.pauses import spare_loaded
from moedesk.ui.ticker import Ticker

if TYPE_CHECKING:  # they bring Jupyter with them, which a window without a kernel does without
    from moedesk.session.feed import Feed
    from moedesk.session.kernel import Kernel
    from moedesk.session.kernels import Kernels
    from moedesk.session.live_stream import LiveStream

SHOWN_AT_RECOVERY = 3


class LiveSide:
    """Implements ``moedesk.session.desk.Desk`` for a window.

    Parameters
    ----------
    files : OpenFiles
    ticker : Ticker
    delivery : Delivery
    messages : MessageBar
    show : callable
        Takes a selection; selects it in the current session and brings a panel that shows it to the front.
    """

    def __init__(
        self,
        files: OpenFiles,
        ticker: Ticker,
        delivery: Delivery,
        messages: MessageBar,
        show: Callable[[Selection], None],
    ) -> None:
        self.changed: Event[str] = Event()
        self.jobs = Jobs(delivery)
        self.scratch = Scratch()
        self._files, self._ticker, self._delivery, self._messages, self._show = files, ticker, delivery, messages, show
        self._kernels: Kernels | None = None
        self._disconnect: Callable[[], None] = lambda: None
        ticker.add(self._publish)
        files.current_changed.connect(self._follow)

    # Desk

    @property
    def session(self) -> Session | None:
        """The current session."""
        return self._files.current

    @property
    def kernels(self) -> "Sequence[Kernel]":
        """All kernels, in the order they came."""
        return tuple(self._kernels.all) if self._kernels is not None else ()

    @property
    def kernel(self) -> "Kernel | None":
        """The kernel whose console is on show."""
        return self._kernels.current if self._kernels is not None else None

    def choose_kernel(self, kernel: "Kernel") -> None:
        """Make a kernel the current one."""
        self._registry().choose(kernel)

    def start_kernel(self, python: str = "") -> "Kernel":
        """Start a kernel with a Python interpreter (this one if left out) and make it current."""
        return self._registry().start(python)

    def connect_kernel(self, connection_file: Path, ssh: str = "") -> "Kernel":
        """Connect to a kernel that runs already, through an ssh host if given, and make it current."""
        return self._registry().connect(connection_file, ssh)

    def close_kernel(self, kernel: "Kernel") -> None:
        """End a kernel that the app started, or let go of one it only connected to."""
        self._registry().close(kernel)

    def reveal(self, selection: Selection) -> None:
        """Select something in the current session and show it."""
        self._show(selection)

    # The window

    def ensure_session(self) -> None:
        """With a kernel but no session, make one for the model that is attached next."""
        if self.kernel is not None and not self._files.sessions:
            self._registry().prepare(self.kernel)

    def offer_recovery(self) -> None:
        """Offer the captures that an app which ended badly left behind."""
        self.jobs.latest("recovery", lambda _: self.scratch.left_behind(), self._offer)

    def warm_up(self, specs: Sequence[PanelSpec]) -> None:
        """Import what a kernel and its console need, in a worker, so that starting one doesn't hold up the window."""

        def work(ticket: Ticket) -> None:
            import_module("moedesk.session.kernels")
            for spec in specs:
                ticket.check()
                load_view(spec)

        self.jobs.latest("warm_up", work, lambda _: spare_loaded())

    def shut_down(self) -> None:
        """End kernels and jobs; waits for them."""
        self._disconnect()
        if self._kernels is not None:
            self._kernels.shut_down()
        self.jobs.close()

    def close_scratch(self, discard: bool) -> None:
        """Let go of the scratch folder, when every session is closed."""
        self.scratch.close(discard)

    def _registry(self) -> "Kernels":
        if self._kernels is None:
            from moedesk.session.kernels import Kernels

            self._kernels = Kernels(self.scratch, self._delivery, self._wake, self._added, self._revealed)
            self._kernels.changed.connect(self._kernels_changed)
        return self._kernels

    def _kernels_changed(self, name: str) -> None:
        self.changed.emit(name)
        self._tell_selection()

    def forget(self, session: Session) -> None:
        """Take no more passes of a live session that was closed."""
        stream: Any = session.live
        if stream is not None and self._kernels is not None:
            self._kernels.forget(stream)

    def _wake(self) -> None:
        """Ask for a tick, from any thread."""
        self._delivery(self._ticker.wake)

    def _publish(self) -> bool:
        """Show what arrived in every live session; once a tick."""
        wanted = [session.live.publish() for session in self._files.sessions if session.live is not None]
        return any(wanted)

    def _added(self, feed: "Feed", stream: "LiveStream", instead_of: "LiveStream | None") -> None:
        old = None if instead_of is None else instead_of.session
        session = Session(stream.store, Jobs(self._delivery))
        session.live, session.scratch, stream.session = stream, stream.path, session
        if old is not None and old.unsaved:
            self._messages.show_message(
                f"{old.title}: {old.store.n_passes:,} passes were cleared; Undo close (Ctrl+Shift+T) brings them back, "
                "and Preserve log keeps them when a model is attached anew",
                "info",
            )
        self._files.add(session, old)

    def _revealed(self, feed: "Feed", place: Mapping[str, Any]) -> None:
        kernel = self._registry().kernel_of(feed)
        current = self.session
        if current is None or current.live is None or kernel is None:
            own = [stream.session for stream in feed.streams if stream.session in self._files.sessions]
            if own:
                self._files.make_current(own[0])
        fields = {name: value for name, value in place.items() if name in Selection.__dataclass_fields__}
        try:
            kind = Kind(fields.pop("kind", "nothing"))
            selection = Selection(kind, **fields)
        except (ValueError, TypeError):
            return
        self._show(selection)

    def _follow(self, session: Session | None) -> None:
        self._disconnect()
        self._disconnect = lambda: None
        if session is not None:
            self._disconnect = session.changed.connect(self._session_changed)
            stream: Any = session.live
            kernel = self._kernels.of(stream) if self._kernels is not None and stream is not None else None
            if kernel is not None:
                self._registry().choose(kernel)
            self._tell_selection()
        self.changed.emit("session")

    def _session_changed(self, name: str) -> None:
        if name == "selection":
            self.changed.emit("selection")
            self._tell_selection()

    def _tell_selection(self) -> None:
        """Send the last selections with their data to the console's kernel, as ``$0`` … ``$4``."""
        session, kernel = self.session, self.kernel
        client = None if kernel is None else kernel.client
        if session is None or client is None:
            return
        history, store = session.history, session.store
        session.jobs.latest(
            "desk.selection",
            lambda _: client.request("selection", *selected_data(store, history)),
            lambda _: None,
            lambda error: None,  # the link is gone: the console says so
        )

    def _offer(self, left: list[Unsaved]) -> None:
        for unsaved in left[:SHOWN_AT_RECOVERY]:
            when = f"{unsaved.changed:%d %b %H:%M}"
            self._messages.show_message(
                f"A live session ended without being saved: {unsaved.name}, {unsaved.passes:,} passes, {when} "
                f"({unsaved.size / 2**20:,.1f} MiB)",
                "warning",
                [
                    ("Open", lambda unsaved=unsaved: self._adopt(unsaved)),  # type: ignore[misc]
                    ("Discard", lambda unsaved=unsaved: self._discard(unsaved)),  # type: ignore[misc]
                ],
            )
        rest = left[SHOWN_AT_RECOVERY:]
        if rest:
            self._messages.show_message(
                f"{len(rest)} more unsaved live sessions lie in {self.scratch.root}",
                "warning",
                [("Open all", lambda: [self._adopt(unsaved) for unsaved in rest])],  # type: ignore[list-item,func-returns-value]
            )

    def _adopt(self, unsaved: Unsaved) -> None:
        self.jobs.latest(
            f"adopt:{unsaved.path}",
            lambda _: self.scratch.adopt(unsaved),
            lambda path: self._files.open(path, scratch=True),
            lambda error: self._messages.show_message(f"{unsaved.path} can't be opened: {error}"),
        )

    def _discard(self, unsaved: Unsaved) -> None:
        self.jobs.latest(f"discard:{unsaved.path}", lambda _: self.scratch.discard(unsaved.path), lambda _: None)
