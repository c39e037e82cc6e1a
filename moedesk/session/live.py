"""The live side of a session, as panels see it: what they may ask of a model that runs elsewhere."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from moedesk.core.live import Counters
from moedesk.session.conversation import Done, Progress

TOPICS = ("overrides", "breakpoints", "stopped")
"""Of which a process tells how things stand, for each of its models."""


class Live(Protocol):
    """A model that fills a session's store while it runs.

    Every change is announced by the session's ``changed`` as ``live``; new passes as ``store``, at most 30 times a second; what
    was told of a topic by the topic's name.

    Attributes
    ----------
    recording : bool
        Whether the model's hooks take anything.
    paused : bool
        Whether the display stands still; what arrives meanwhile is recorded all the same.
    follow : bool
        Whether views keep the newest pass in sight. A view turns it off when the user scrolls back, on at the end.
    preserve : bool
        Whether passes stay when a model is attached anew or the kernel restarts ("Preserve log").
    ended : str
        Why nothing more comes, in one line; empty while a model is attached.
    counters : Counters
    first_sequence : int
        Sequences of the store before those of the attached model, which counts its own from 0.
    link_dropped : str
        What was left out on the way, in one line; empty if nothing.
    """

    recording: bool
    paused: bool
    follow: bool
    preserve: bool
    ended: str
    counters: Counters
    first_sequence: int

    @property
    def attached(self) -> bool:
        """Whether a model is attached now."""

    @property
    def link_dropped(self) -> str:
        """What was left out on the way, in one line; empty if nothing."""

    def set_recording(self, on: bool) -> None:
        """Start or stop taking passes; the hooks stay."""

    def set_paused(self, on: bool) -> None:
        """Hold the display, or let it catch up."""

    def set_follow(self, on: bool) -> None:
        """Keep the newest pass in sight, or not."""

    def set_preserve(self, on: bool) -> None:
        """Keep passes over a new attach, or not."""

    def told(self, topic: str) -> Mapping[str, Any]:
        """Return how things stand with a topic of this model; empty if its process said nothing, or no model is attached."""

    def order(self, topic: str, value: Mapping[str, Any]) -> None:
        """Have something done there at once, also while a cell runs; see ``Conversation.order``.

        It is told the model as ``stream``, the number of its attachment.
        """

    def ask(
        self, name: str, value: Mapping[str, Any], done: Done, progress: Progress | None = None
    ) -> Callable[[], None]:
        """Have a task done there between cells; returns what cancels it; see ``Conversation.ask``.

        The task is told the model as ``stream``, the number of its attachment.
        """

    def publish(self) -> bool:
        """Show what came since the last time; return whether another tick is wanted. For the window's tick."""

    def close(self) -> None:
        """Finish the scratch capture; it stays on the disk. For a worker."""

    def clear(self) -> None:
        """Begin with an empty capture; the one before stays reachable through "Undo close"."""
