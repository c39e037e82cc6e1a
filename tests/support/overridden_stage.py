"""A panel of a live session whose overrides the test keeps."""

from collections.abc import Callable
from typing import Any

from moedesk.core.store import Store
from moedesk.session.session import Session
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.theme import LIGHT, Theme
from tests.support.overridden_live import OverriddenLive
from tests.support.stage import Stage


class OverriddenStage(Stage):
    """A ``Stage`` whose session has an ``OverriddenLive``."""

    def __init__(
        self,
        qtbot: Any,
        store: Store,
        view: Callable[[Session, Shell], Panel],
        size: tuple[int, int] = (1000, 700),
        theme: Theme = LIGHT,
    ) -> None:
        def live_view(session: Session, shell: Shell) -> Panel:
            session.live = OverriddenLive(session)
            return view(session, shell)

        super().__init__(qtbot, store, live_view, size, theme)

    @property
    def live(self) -> OverriddenLive:
        """The live side."""
        live = self.session.live
        assert isinstance(live, OverriddenLive)
        return live
