"""A panel of a live session on its own: its store grows when the test says so."""

from collections.abc import Callable
from typing import Any, TypeVar

from moedesk.session.session import Session
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.theme import LIGHT, Theme
from tests.support.played_live import PlayedLive
from tests.support.published_store import PublishedStore
from tests.support.stage import Stage

P = TypeVar("P", bound=Panel)


class LiveStage(Stage):
    """A ``Stage`` whose session is live."""

    def __init__(
        self,
        qtbot: Any,
        store: PublishedStore,
        view: Callable[[Session, Shell], Panel],
        size: tuple[int, int] = (1000, 700),
        theme: Theme = LIGHT,
    ) -> None:
        def live_view(session: Session, shell: Shell) -> Panel:
            session.live = PlayedLive(session)
            return view(session, shell)

        super().__init__(qtbot, store, live_view, size, theme)
        self.store = store

    @property
    def live(self) -> PlayedLive:
        """The live side."""
        live = self.session.live
        assert isinstance(live, PlayedLive)
        return live

    def publish(self, passes: int) -> None:
        """Show the first ``passes`` passes, and tell the panel as a tick does."""
        self.store.publish(passes)
        self.session.changed.emit("store")

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that comes after the pause of a paced question."""
        self.qtbot.waitUntil(condition)
