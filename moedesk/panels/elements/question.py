"""A question that is asked again and again while the replay runs, and must be answered now and then."""

from collections.abc import Callable
from typing import Any, NamedTuple

from moedesk.session.jobs import Jobs, Ticket


class _Call(NamedTuple):
    work: Callable[[Ticket], Any]
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]
    progress: Callable[[float], None] | None


class Question:
    """Asks ``Jobs`` one thing at a time; of those asked meanwhile, the last one follows.

    ``Jobs.latest`` drops an answer as soon as a newer question comes: with a question a tick, a slow one would never be
    answered. ``urgent`` drops it all the same, for another subject.
    """

    def __init__(self, jobs: Jobs, key: str) -> None:
        self._jobs = jobs
        self._key = key
        self._busy = False
        self._next: _Call | None = None

    def ask(
        self,
        work: Callable[[Ticket], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        progress: Callable[[float], None] | None = None,
        urgent: bool = False,
    ) -> None:
        """Run ``work`` in the worker, then ``done`` or ``failed`` with what comes of it."""
        call = _Call(work, done, failed, progress)
        if self._busy and not urgent:
            self._next = call
            return
        self._next = None
        self._busy = True

        def answered(answer: Any) -> None:
            self._go_on()
            done(answer)

        def refused(error: Exception) -> None:
            self._go_on()
            failed(error)

        self._jobs.latest(self._key, work, answered, refused, progress)

    def _go_on(self) -> None:
        self._busy = False
        following, self._next = self._next, None
        if following is not None:
            self.ask(*following)
