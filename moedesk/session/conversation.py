"""What is said between the app and a kernel beside routing: topics it tells, orders, and tasks it is asked to do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from moedesk.core.errors import MoedeskError
from moedesk.core.event import Event

if TYPE_CHECKING:  # zmq loads when the first kernel starts, not with the window
    from moedesk.link.client import LinkClient

Deliver = Callable[[Callable[[], None]], None]
NOBODY = "no kernel is connected; start one in the console, or connect to one, and attach the model"


@dataclass(frozen=True)
class Outcome:
    """What a task gave.

    Attributes
    ----------
    ok : bool
    text : str
        With ``ok`` false, why it gave nothing, in one line.
    value : mapping
        Plain JSON values.
    arrays : mapping of str to ndarray
        Read-only.
    """

    ok: bool
    text: str = ""
    value: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


Done = Callable[[Outcome], None]
Progress = Callable[[float, str], None]


class _Asked(NamedTuple):
    done: Done
    progress: Progress | None


class Conversation:
    """One kernel's topics, orders and tasks. For the GUI thread, and nothing here waits; the ``take_…`` are for any thread.

    Parameters
    ----------
    deliver : callable
        Runs a function in the GUI thread.
    client : callable
        Gives the kernel's link, or None while there is none.

    Attributes
    ----------
    told : mapping of (str, int) to mapping
        How things stand with each topic, of each stream's model (0: of all); empty without a link.
    changed : Event of (str, int)
        A topic and a stream of which was told anew, or that is gone with the stream or the link.
    """

    def __init__(self, deliver: Deliver, client: "Callable[[], LinkClient | None]") -> None:
        self.told: Mapping[tuple[str, int], Mapping[str, Any]] = {}
        self.changed: Event[tuple[str, int]] = Event()
        self._deliver, self._client = deliver, client
        self._numbers = count(1)
        self._asked: dict[int, _Asked] = {}

    def about(self, topic: str, stream: int = 0) -> Mapping[str, Any]:
        """Return how things stand with a topic of a stream's model; empty if nothing was told."""
        return self.told.get((topic, stream), self.told.get((topic, 0), {}))

    def order(self, topic: str, value: Mapping[str, Any]) -> None:
        """Have something done at once, also while a cell runs; what became of it comes as ``told``. Without a link: nothing.

        Raises
        ------
        LinkError
            The value is not JSON, or too large.
        """
        client = self._client()
        if client is not None:
            client.request("order", {"topic": topic, "value": dict(value)})

    def ask(
        self, name: str, value: Mapping[str, Any], done: Done, progress: Progress | None = None
    ) -> Callable[[], None]:
        """Have a task done in the kernel's main thread, between cells: while one runs, the task waits its turn.

        Parameters
        ----------
        name : str
        value : mapping
            Plain JSON values.
        done : callable
            Takes the ``Outcome``; called once unless cancelled before, never within this call, also when the link is lost.
        progress : callable, optional
            Takes the share that is done and what is done now. The first call says that the task began.

        Returns
        -------
        callable
            Cancels the task; neither ``done`` nor ``progress`` is called any more. Later it does nothing.
        """
        client = self._client()
        if client is None:
            return self.refuse(done, NOBODY)
        request = next(self._numbers)
        try:
            client.request("task", {"request": request, "name": name, "value": dict(value)})
        except MoedeskError as error:
            return self.refuse(done, str(error))
        self._asked[request] = _Asked(done, progress)

        def cancel() -> None:
            if self._asked.pop(request, None) is not None:
                self.order("cancel", {"request": request})

        return cancel

    def refuse(self, done: Done, why: str) -> Callable[[], None]:
        """Answer a task that can't even be asked for, as ``ask`` answers others."""
        request = next(self._numbers)
        self._asked[request] = _Asked(done, None)
        self.take_finished(request, Outcome(False, why))

        def cancel() -> None:
            self._asked.pop(request, None)

        return cancel

    def take_told(self, topic: str, value: Mapping[str, Any], stream: int) -> None:
        """How things stand with a topic of a stream's model."""

        def take() -> None:
            self.told = {**self.told, (topic, stream): value}
            self.changed.emit((topic, stream))

        self._deliver(take)

    def take_ended(self, stream: int) -> None:
        """The model of a stream was let go: nothing is known of it any more."""

        def take() -> None:
            ended = [key for key in self.told if key[1] == stream]
            self.told = {key: value for key, value in self.told.items() if key not in ended}
            for key in ended:
                self.changed.emit(key)

        self._deliver(take)

    def take_progress(self, request: int, share: float, text: str) -> None:
        """How far a task is."""

        def take() -> None:
            asked = self._asked.get(request)
            if asked is not None and asked.progress is not None:
                asked.progress(share, text)

        self._deliver(take)

    def take_finished(self, request: int, outcome: Outcome) -> None:
        """What a task gave."""

        def take() -> None:
            asked = self._asked.pop(request, None)
            if asked is not None:
                asked.done(outcome)

        self._deliver(take)

    def take_end(self, reason: str) -> None:
        """The link is gone: every task failed, no topic is known any more."""

        def take() -> None:
            asked, self._asked = self._asked, {}
            told, self.told = self.told, {}
            for key in told:
                self.changed.emit(key)
            for each in asked.values():
                each.done(Outcome(False, reason))

        self._deliver(take)
