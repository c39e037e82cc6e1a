"""Which open sessions' models stand at a breakpoint, the orders that let them go on, and the token row where one stood."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, Signal

from moedesk.core.selection import Kind, Selection
from moedesk.session import breakpoints
from moedesk.session.session import Session
from moedesk.session.stop import TOPIC, Stop, row_of, rows_stored, stop_of
from moedesk.ui.open_files import OpenFiles

NEWS = frozenset({TOPIC, breakpoints.TOPIC, "live"})
"""What a session may announce that changes where its model stands."""


@dataclass(frozen=True)
class _Stood:
    """Where a model stood last, in a pass that is not stored yet: of so many token rows before."""

    stop: Stop
    since: int
    selected: Selection


class Stops(QObject):
    """Watches all sessions. A stop that is new becomes its session's ``$0``; once its pass is stored, its token row does.

    Signals
    -------
    changed :
        A model stopped or went on, or another session is in front.
    """

    changed = Signal()

    def __init__(self, files: OpenFiles) -> None:
        super().__init__(files)
        self._files = files
        self._told: dict[Session, Mapping[str, Any]] = {}  # the stop that was made $0, by identity
        self._stood: dict[Session, _Stood] = {}
        self._disconnect: dict[Session, Callable[[], None]] = {}
        files.opened.connect(self._opened)
        files.closed.connect(self._closed)
        files.current_changed.connect(lambda _: self.changed.emit())

    @property
    def session(self) -> Session | None:
        """The session to tell of: the one in front if its model stands still, else the first whose does."""
        stopped = [session for session in self._files.sessions if stop_of(session.live) is not None]
        return self._files.current if self._files.current in stopped else stopped[0] if stopped else None

    @property
    def stop(self) -> Stop | None:
        """Where that session's model stands; None while all run."""
        session = self.session
        return None if session is None else stop_of(session.live)

    @property
    def in_front(self) -> bool:
        """Whether the model of the session in front stands still: then F8, F10 and F11 are for it."""
        return self._files.current is not None and self.session is self._files.current

    def show(self) -> None:
        """Bring the session whose model stands still to the front."""
        if self.session is not None:
            self._files.make_current(self.session)

    def resume(self) -> None:
        """Go on to the next layer in which a breakpoint matches."""
        self._order("resume")

    def step_token(self) -> None:
        """Go on to the next token that matches."""
        self._order("step_token")

    def step_layer(self) -> None:
        """Go on to the next MoE layer, with the same token."""
        self._order("step_layer")

    def _order(self, what: str) -> None:
        session = self.session
        if session is not None and session.live is not None:
            session.live.order(TOPIC, {"do": what})

    def _opened(self, session: Session) -> None:
        if session.live is not None:
            self._disconnect[session] = session.changed.connect(partial(self._heard, session))
            self._look(session)

    def _closed(self, session: Session) -> None:
        self._disconnect.pop(session, lambda: None)()
        self._told.pop(session, None)
        self._stood.pop(session, None)
        self.changed.emit()

    def _heard(self, session: Session, name: str) -> None:
        if name in NEWS:
            self._look(session)
        elif name == "store":
            self._seek(session)

    def _look(self, session: Session) -> None:
        """Make a stop that was not seen before the session's ``$0``, and tell."""
        stop, live = stop_of(session.live), session.live
        told = live.told(TOPIC) if stop is not None and live is not None else {}
        if stop is not None and told is not self._told.get(session):
            session.select(stop.selection)
            self._stood[session] = _Stood(stop, rows_stored(session.store, stop), session.selection)
        self._told[session] = told
        self.changed.emit()
        self._seek(session)

    def _seek(self, session: Session) -> None:
        """Look for the token row where the model stood, once it goes on; unless the user has picked something else."""
        stood, live = self._stood.get(session), session.live
        if stood is None or live is None or stop_of(live) is not None:
            return
        if session.selection != stood.selected:
            del self._stood[session]
            return
        store, first = session.store, live.first_sequence
        session.jobs.latest(
            "stop.row",
            lambda _: row_of(store, stood.stop, stood.since, first),
            partial(self._found, session, stood),
            lambda error: None,
            interrupt=False,
        )

    def _found(self, session: Session, stood: _Stood, row: int | None) -> None:
        if row is None or self._stood.get(session) is not stood or stop_of(session.live) is not None:
            return
        del self._stood[session]
        if session.selection == stood.selected:
            stream = stood.stop.stream or None
            session.select(Selection(Kind.TOKEN, layer=stood.stop.layer, token=row, stream=stream))
