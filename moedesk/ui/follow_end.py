"""Keeps the end of a growing list in sight, until the user scrolls back."""

from collections.abc import Callable

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QAbstractScrollArea

from moedesk.session.session import Session


class FollowEnd(QObject):
    """Scrolls a view of a live session to its end while the session follows it.

    Scrolling back turns following off for the whole session, scrolling to the end turns it on again. What the view does by
    itself when it or its content changes size is no scrolling.

    Parameters
    ----------
    can_follow : callable
        Whether the end of the view is the newest there is.
    """

    def __init__(self, view: QAbstractScrollArea, session: Session, can_follow: Callable[[], bool]) -> None:
        super().__init__(view)
        self._session = session
        self._can_follow = can_follow
        self._bar = view.verticalScrollBar()
        self._own = False
        self._bar.rangeChanged.connect(self._fit)
        self._bar.valueChanged.connect(self._scrolled)

    @property
    def follows(self) -> bool:
        """Whether the end is kept in sight."""
        live = self._session.live
        return live is not None and live.follow and self._can_follow()

    def keep(self) -> None:
        """Scroll to the end, if it is followed."""
        if self.follows and self._bar.value() != self._bar.maximum():
            self._own = True
            self._bar.setValue(self._bar.maximum())
            self._own = False

    def _fit(self, _: int, maximum: int) -> None:
        """Stay at the end of what has grown; a range that shrinks moves the bar next, which is not the user's doing."""
        self._own = self._bar.value() > maximum
        if not self._own:
            self.keep()

    def _scrolled(self, value: int) -> None:
        live = self._session.live
        if self._own or live is None or not self._can_follow():
            self._own = False
            return
        at_end = value >= self._bar.maximum() - self._bar.singleStep()
        if at_end != live.follow and self._bar.maximum() > 0:
            live.set_follow(at_end)
