"""A question that a running model makes panels ask again at every tick, and that must leave the worker time for others."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from PySide6.QtCore import QObject, QTimer

from moedesk.session.jobs import Ticket
from moedesk.session.session import Session

SHARE = 0.3
"""Part of its time that the worker may spend on one question of a live session."""


class _Call(NamedTuple):
    work: Callable[[Ticket], Any]
    done: Callable[[Any], None]
    failed: Callable[[Exception], None] | None
    progress: Callable[[float], None] | None


class PacedQuestion(QObject):
    """Asks a session's worker one thing at a time; of those asked meanwhile, the last one follows.

    In a live session it follows only after a pause that keeps the worker busy with it at most ``share`` of the time: the
    longer an answer takes, the rarer it is asked for. A file's session has no such pause.

    Parameters
    ----------
    session : Session
    key : str
        As for ``Jobs.latest``.
    rest : float
        The shortest pause of a live session, in seconds: for what nobody reads 30 times a second.
    share : float
        Part of its time that the worker may spend on the question in a live session.
    """

    def __init__(
        self, session: Session, key: str, parent: QObject | None = None, rest: float = 0.0, share: float = SHARE
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._key = key
        self._next: _Call | None = None
        self._asked = 0  # which question is under way; answers to others are late
        self._busy = False
        self._took = 0.0
        self._rest = rest
        self._share = share
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.timeout.connect(self._go_on)

    @property
    def waits(self) -> bool:
        """Whether something was asked that is not answered yet."""
        return self._busy or self._next is not None

    def ask(
        self,
        work: Callable[[Ticket], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
        progress: Callable[[float], None] | None = None,
        urgent: bool = False,
    ) -> None:
        """Run ``work`` in the worker, then ``done`` or ``failed`` with what comes of it.

        Parameters
        ----------
        urgent : bool
            Ask at once, and drop what is being worked on: it was about something else.
        """
        call = _Call(work, done, failed, progress)
        if not urgent and (self._busy or self._pause.isActive()):
            self._next = call
            return
        self._pause.stop()
        self._next = None
        self._start(call)

    def cancel(self) -> None:
        """Want no answer any more."""
        self._asked += 1
        self._busy = False
        self._next = None
        self._session.jobs.cancel(self._key)

    def _start(self, call: _Call) -> None:
        self._busy = True
        self._asked += 1
        asked = self._asked

        def work(ticket: Ticket) -> Any:
            start = perf_counter()
            try:
                return call.work(ticket)
            finally:
                self._took = perf_counter() - start

        def done(answer: Any) -> None:
            if asked == self._asked:
                self._answered(lambda: call.done(answer))

        def failed(error: Exception) -> None:
            if asked == self._asked:
                self._answered(lambda: call.failed(error) if call.failed is not None else None)

        self._session.jobs.latest(self._key, work, done, failed, call.progress)

    def _answered(self, show: Callable[[], None]) -> None:
        self._busy = False
        if self._session.live is not None:
            self._pause.start(round(1000 * max(self._took * (1 / self._share - 1), self._rest)))
        try:
            show()
        finally:
            if not self._pause.isActive():
                self._go_on()

    def _go_on(self) -> None:
        following, self._next = self._next, None
        if following is not None and not self._busy:
            self._start(following)
