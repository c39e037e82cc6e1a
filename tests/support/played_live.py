"""The live side of a session, played by a test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from moedesk.core.live import Counters
from moedesk.session.conversation import Done, Progress
from moedesk.session.session import Session


@dataclass
class PlayedTask:
    """A task that the app asked for; the test answers with ``done`` and ``progress``."""

    name: str
    value: Mapping[str, Any]
    done: Done
    progress: Progress | None
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class PlayedLive:
    """Implements ``moedesk.session.live.Live``: notes what it is asked and announces it, as the app's own does."""

    def __init__(self, session: Session) -> None:
        self.recording = True
        self.paused = False
        self.follow = True
        self.preserve = False
        self.ended = ""
        self.counters = Counters()
        self.first_sequence = 0
        self.link_dropped = ""
        self.cleared = 0
        self.attached = True
        self.orders: list[tuple[str, Mapping[str, Any]]] = []
        self.tasks: list[PlayedTask] = []
        self._told: dict[str, Mapping[str, Any]] = {}
        self._session = session

    def _set(self, **state: object) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._session.changed.emit("live")

    def set_recording(self, on: bool) -> None:
        self._set(recording=on)

    def set_paused(self, on: bool) -> None:
        self._set(paused=on)

    def set_follow(self, on: bool) -> None:
        self._set(follow=on)

    def set_preserve(self, on: bool) -> None:
        self._set(preserve=on)

    def count(self, **counts: int) -> None:
        """Say that the counters stand so."""
        self._set(counters=replace(self.counters, **counts))

    def end(self, why: str) -> None:
        """Let the model go."""
        self._set(ended=why)

    def attach(self, on: bool) -> None:
        """Attach a model, or detach it."""
        self._set(attached=on)

    def tell(self, topic: str, value: Mapping[str, Any]) -> None:
        """Say how things stand with a topic, as the model's process does."""
        self._told[topic] = value
        self._session.changed.emit(topic)

    def told(self, topic: str) -> Mapping[str, Any]:
        return self._told.get(topic, {}) if self.attached else {}

    def order(self, topic: str, value: Mapping[str, Any]) -> None:
        self.orders.append((topic, value))

    def ask(
        self, name: str, value: Mapping[str, Any], done: Done, progress: Progress | None = None
    ) -> Callable[[], None]:
        self.tasks.append(PlayedTask(name, value, done, progress))
        return self.tasks[-1].cancel

    def publish(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def clear(self) -> None:
        self.cleared += 1
