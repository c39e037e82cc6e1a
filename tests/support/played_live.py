"""The live side of a session, played by a test."""

from dataclasses import replace

from moedesk.core.live import Counters
from moedesk.session.session import Session


class PlayedLive:
    """Implements ``moedesk.session.live.Live``: notes what it is asked and announces it, as the app's own does."""

    def __init__(self, session: Session) -> None:
        self.recording = True
        self.paused = False
        self.follow = True
        self.preserve = False
        self.ended = ""
        self.counters = Counters()
        self.link_dropped = ""
        self.cleared = 0
        self.attached = True
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

    def publish(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def clear(self) -> None:
        self.cleared += 1
