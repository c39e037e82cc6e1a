"""Work off the GUI thread: one queue, where a newer question replaces an older one that still waits."""

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Cancelled(Exception):  # noqa: N818 - not an error: the answer is no longer wanted
    """Raised inside a job whose answer nobody waits for any more."""


class Ticket:
    """A running job's view of the outside: is the answer still wanted, and how far has it come?"""

    def __init__(self, progress: Callable[[float], None] | None = None) -> None:
        self._cancelled = threading.Event()
        self._progress = progress

    @property
    def cancelled(self) -> bool:
        """Whether a newer question came, or the session was closed."""
        return self._cancelled.is_set()

    def check(self, done: float | None = None) -> None:
        """Stop here if cancelled, by raising ``Cancelled``; else report the share done (0 to 1)."""
        if self.cancelled:
            raise Cancelled
        if done is not None and self._progress is not None:
            self._progress(done)

    def cancel(self) -> None:
        """Ask the job to stop at its next ``check``."""
        self._cancelled.set()


class Jobs:
    """Runs jobs one after another in a worker thread and delivers their results.

    One thread, because HDF5 reads one thing at a time anyway; a job that takes long calls ``ticket.check`` often.

    Parameters
    ----------
    deliver : callable
        Runs a function in the thread that owns the results (the GUI's); called from the worker.
    """

    def __init__(self, deliver: Callable[[Callable[[], None]], None]) -> None:
        self._deliver = deliver
        self._lock = threading.Condition()
        self._waiting: dict[str, tuple[Ticket, Callable[[], None]]] = {}
        self._running: dict[str, Ticket] = {}
        self._on_their_way = 0  # results handed to ``deliver`` and not taken yet
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="moedesk-jobs", daemon=True)
        self._thread.start()

    def latest(
        self,
        key: str,
        work: Callable[[Ticket], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None] | None = None,
        progress: Callable[[float], None] | None = None,
        interrupt: bool = True,
    ) -> Ticket:
        """Ask a question; an older one under the same ``key`` that waits is replaced, one that runs is cancelled.

        ``work(ticket)`` runs in the worker, ``done``, ``failed`` and ``progress`` where results are delivered, and only while
        the question is still wanted.

        Parameters
        ----------
        interrupt : bool
            Whether a question under way is cancelled. False for those that live data asks anew at every tick: its answer is
            shown, then the newest waiting one is worked on, else no answer would ever come.
        """

        def report(share: float) -> None:
            if progress is not None:
                self._post(ticket, progress, share)

        ticket = Ticket(report)

        def job() -> None:
            try:
                result = work(ticket)
            except Cancelled:
                return
            except Exception as error:
                if failed is None:
                    logger.exception("job %s failed", key)
                else:
                    self._post(ticket, failed, error)
                return
            self._post(ticket, done, result)

        with self._lock:
            older = [self._waiting[key][0]] if key in self._waiting else []
            older += [self._running[key]] if interrupt and key in self._running else []
            for asked in older:
                asked.cancel()
            if not self._closed:
                self._waiting[key] = (ticket, job)  # in the place of the one it replaces: all keys get their turn
                self._lock.notify_all()
        return ticket

    def sibling(self) -> "Jobs":
        """Return a queue with a thread of its own that delivers to the same place."""
        return Jobs(self._deliver)

    def cancel(self, prefix: str) -> None:
        """Cancel every job whose key starts with ``prefix``."""
        with self._lock:
            for key in [key for key in self._waiting if key.startswith(prefix)]:
                self._waiting.pop(key)[0].cancel()
            for key, ticket in self._running.items():
                if key.startswith(prefix):
                    ticket.cancel()

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs or is on its way back: all that was asked for is answered, and its answer taken."""
        with self._lock:
            return not self._waiting and not self._running and not self._on_their_way

    def close(self) -> None:
        """Cancel everything and end the thread."""
        with self._lock:
            self._closed = True
            for ticket, _ in self._waiting.values():
                ticket.cancel()
            for ticket in self._running.values():
                ticket.cancel()
            self._waiting.clear()
            self._lock.notify_all()
        self._thread.join()

    def _post(self, ticket: Ticket, function: Callable[[Any], None], value: Any) -> None:
        def call() -> None:
            try:
                if not ticket.cancelled:
                    function(value)
            finally:
                with self._lock:
                    self._on_their_way -= 1

        if not ticket.cancelled:
            with self._lock:
                self._on_their_way += 1
            self._deliver(call)

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._closed:
                    self._lock.wait()
                if self._closed:
                    return
                key = next(iter(self._waiting))
                ticket, job = self._waiting.pop(key)
                self._running[key] = ticket
            try:
                job()
            finally:
                with self._lock:
                    del self._running[key]
