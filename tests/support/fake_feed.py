"""Live sessions in a window without a kernel: a feed that the test fills as a link would."""

from collections.abc import Callable

from pytestqt.qtbot import QtBot

from moedesk.core.model import ModelInfo
from moedesk.session.feed import Feed
from moedesk.session.session import Session
from moedesk.ui.window import Window
from tests.support.routing import random_batch, random_model

MODEL = random_model()


class FakeFeed:
    """Attaches models to a window, and runs them."""

    def __init__(self, window: Window, qtbot: QtBot) -> None:
        live = window.live
        self._window, self._qtbot = window, qtbot
        self.feed = Feed(live.scratch, live._delivery, live._wake, live._added, live._revealed)
        self._passes = 0

    def attach(self, number: int = 1, model: ModelInfo = MODEL, name: str = "olmoe") -> Session:
        """Attach a model and wait for its session."""
        self.feed.opened(number, name)
        self.feed.described(number, model)
        stream = next(stream for stream in self.feed.streams if stream.number == number)
        self._qtbot.waitUntil(lambda: stream.session in self._window.files.sessions)
        assert stream.session is not None
        return stream.session

    def run(self, session: Session, passes: int, number: int = 1, tokens: int = 5) -> None:
        """Run some passes and wait until they are shown."""
        wanted = session.store.n_passes + passes
        for _ in range(passes):
            self.feed.arrived(number, random_batch((7, self._passes), session.store.model, tokens))
            self._passes += 1
        self.wait(lambda: session.store.n_passes == wanted)

    def wait(self, condition: Callable[[], bool]) -> None:
        self._qtbot.waitUntil(condition)
