"""What was explained in a session: kept beside its capture by the worker, and saved with it."""

from collections.abc import Callable
from typing import Any

from moedesk.core.attribution import Explanation
from moedesk.core.event import Event
from moedesk.core.store import Store
from moedesk.session.jobs import Jobs, Ticket

Said = Callable[[str], None]


class Explanations:
    """What ``Store.attributions`` of a session gets. Each new one is announced as ``attributions``.

    Parameters
    ----------
    store : Store
    jobs : Jobs
    changed : Event of str
        The session's.
    """

    def __init__(self, store: Store, jobs: Jobs, changed: Event[str]) -> None:
        self._store, self._jobs, self._changed = store, jobs, changed
        # A capture or a recording that goes on; other stores keep none.
        self._file: Any = getattr(store, "attribution_file", None)
        self._asked = 0
        self.given = 0
        """How many were kept since the session began."""

    @property
    def possible(self) -> bool:
        """Whether this store keeps explanations."""
        return self._file is not None

    def add(self, explanation: Explanation, say: Said) -> None:
        """Keep an explanation; ``say`` is told why not, if it can't be."""
        file = self._file
        if file is None:
            say("Explanations can't be kept here: there is no capture file")
            return

        def work(_: Ticket) -> None:
            file.add(explanation)

        def done(_: None) -> None:
            self.given += 1
            self._changed.emit("attributions")

        self._asked += 1  # a key of its own: one is never overtaken by the next one
        self._jobs.latest(
            f"attributions.{self._asked}",
            work,
            done,
            lambda error: say(f"Not kept: {error}"),
        )

    def all(self, done: Callable[[tuple[Explanation, ...]], None]) -> None:
        """Give ``done`` all of them, in the order in which they were given."""
        store = self._store
        self._jobs.latest("attributions.all", lambda _: store.attributions, done)
