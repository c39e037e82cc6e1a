"""The captures that are open: one session each, opened and closed in a worker."""

import logging
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from moedesk.core.beside import remove_beside
from moedesk.core.errors import MoedeskError
from moedesk.core.store import Store
from moedesk.session.jobs import Jobs
from moedesk.session.session import Session
from moedesk.ui.delivery import Delivery

logger = logging.getLogger(__name__)


def read_capture(path: Path) -> Store:
    """Open a capture file; the reader is only imported here, in the worker."""
    from moedesk.capture.open import open_capture

    return open_capture(path)


class OpenFiles(QObject):
    """Opens files without keeping the GUI waiting, and holds their sessions in the order they came.

    Parameters
    ----------
    delivery : Delivery
        Brings results back to the GUI thread.
    read : callable
        Opens a file as a Store; runs in a worker.
    """

    opening = Signal(str)
    opened = Signal(object)
    failed = Signal(str, str)
    current_changed = Signal(object)
    closed = Signal(object)

    def __init__(self, delivery: Delivery, read: Callable[[Path], Store] = read_capture) -> None:
        super().__init__(delivery)
        self.sessions: list[Session] = []
        self.current: Session | None = None
        self._read = read
        self._delivery = delivery
        self._pending: set[Path] = set()
        self._closing: list[Session] = []
        self._jobs = Jobs(delivery)

    @property
    def busy(self) -> bool:
        """Whether a file is being opened."""
        return bool(self._pending)

    @property
    def pending(self) -> tuple[Path, ...]:
        """The files being opened."""
        return tuple(sorted(self._pending))

    def open(self, path: Path, scratch: bool = False, show: bool = True) -> None:
        """Open a file and make it current; one that is open already only becomes current.

        A scratch capture belongs to the app: it counts as unsaved, and goes with its session. Without ``show`` the current
        session stays current.
        """
        path = path.absolute()
        for session in self.sessions:
            if session.path == path:
                if show:
                    self.make_current(session)
                return
        if path in self._pending:
            return
        self._pending.add(path)
        self.opening.emit(str(path))
        self._jobs.latest(
            f"open:{path}",
            lambda _: self._read(path),
            lambda store: self._done(path, store, scratch, show),
            lambda error: self._refused(path, error),
        )

    def add(self, session: Session, instead_of: Session | None = None) -> None:
        """Take in a session that is not a file's, and make it current unless another took the place of one behind."""
        show = instead_of is None or instead_of is self.current
        if instead_of in self.sessions:
            self.sessions.insert(self.sessions.index(instead_of), session)
        else:
            self.sessions.append(session)
        self.opened.emit(session)
        if show:
            self.make_current(session)
        if instead_of in self.sessions:
            self.close(instead_of)

    def make_current(self, session: Session | None) -> None:
        """Show a session, or the welcome page with None."""
        if session is not self.current:
            self.current = session
            self.current_changed.emit(session)

    def close(self, session: Session, discard: bool = False) -> None:
        """Close a session, its neighbour becomes current; its scratch capture goes with it if ``discard``."""
        scratch = session.scratch if discard else None
        if discard:
            session.scratch = None
        place = self.sessions.index(session)
        self.sessions.remove(session)
        if session is self.current:
            following = self.sessions[min(place, len(self.sessions) - 1)] if self.sessions else None
            self.make_current(following)
        self.closed.emit(session)
        session.jobs.cancel("")
        self._closing.append(session)
        self._jobs.latest(
            f"close:{id(session)}", lambda _: _close(session, scratch), lambda _: self._closing.remove(session)
        )

    def shut_down(self) -> None:
        """Close everything; waits for the workers."""
        self._jobs.close()
        for session in (*self._closing, *self.sessions):
            session.jobs.cancel("")
        for session in (*self._closing, *self.sessions):
            session.close()
        self._closing.clear()
        self.sessions.clear()
        self.current = None

    def _done(self, path: Path, store: Store, scratch: bool, show: bool) -> None:
        self._pending.discard(path)
        session = Session(store, Jobs(self._delivery), path)
        session.scratch = path if scratch else None
        self.sessions.append(session)
        self.opened.emit(session)
        if show or self.current is None:
            self.make_current(session)

    def _refused(self, path: Path, error: Exception) -> None:
        self._pending.discard(path)
        self.failed.emit(str(path), _line(path, error))


def _close(session: Session, scratch: Path | None) -> None:
    session.close()
    if scratch is not None:
        scratch.unlink(missing_ok=True)
        remove_beside(scratch)


def _line(path: Path, error: Exception) -> str:
    if isinstance(error, MoedeskError):
        return str(error)
    if isinstance(error, OSError):
        return f"{path.name} could not be opened: {error.strerror or error}"
    logger.error("opening %s failed", path, exc_info=error)
    return f"{path.name} could not be opened: {type(error).__name__}: {error}"
