"""The overrides that acted on what a session shows: read from its store by the worker."""

from moedesk.core.acted import Acted
from moedesk.core.event import Event
from moedesk.core.store import Store
from moedesk.session.jobs import Jobs


class RecordedOverrides:
    """What acted on the passes of a store. What was read is announced under ``topic``.

    Parameters
    ----------
    store : Store
    jobs : Jobs
    changed : Event of str
        The session's.
    topic : str
    """

    def __init__(self, store: Store, jobs: Jobs, changed: Event[str], topic: str) -> None:
        self._store, self._jobs, self._changed, self._topic = store, jobs, changed, topic
        self._read: tuple[Acted, ...] = ()
        self._asked: int | None = None  # for the store's revision

    @property
    def all(self) -> tuple[Acted, ...]:
        """Those that were read so far; where there are more passes than then, it is read anew."""
        if self._asked != self._store.revision:
            self._asked, store = self._store.revision, self._store
            self._jobs.latest("overrides.recorded", lambda _: store.overrides, self._take, interrupt=False)
        return self._read

    def _take(self, read: tuple[Acted, ...]) -> None:
        if read != self._read:
            self._read = read
            self._changed.emit(self._topic)
