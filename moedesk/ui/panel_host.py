"""One panel of one session: loads its view when first shown, refreshes it once a tick, survives its errors."""

import logging
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton, QStackedLayout, QVBoxLayout, QWidget

from moedesk.session.desk import Desk
from moedesk.session.live import TOPICS
from moedesk.session.panel import PanelSpec, load_view
from moedesk.session.session import Session
from moedesk.ui.paced_question import PacedQuestion
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.ticker import Ticker

_SESSION = "store selection window cursor filter labels attributions explaining conventions live"
EVERYTHING = {
    "session": frozenset({*_SESSION.split(), *TOPICS}),
    "desk": frozenset({"session", "selection", "kernels"}),
}
"""All that can change, by scope of the panel."""
logger = logging.getLogger(__name__)


class PanelHost(QWidget):
    """Holds a panel's view.

    Collects what changed in its subject, a session or the desk, and refreshes the view in the next tick, only while
    ``active``; hidden, it does nothing. A view that raises is replaced by one line and a button that tries again.
    """

    def __init__(
        self, spec: PanelSpec, subject: Session | Desk, shell: Shell, ticker: Ticker, state: dict[str, Any]
    ) -> None:
        super().__init__()
        self.spec = spec
        self.subject = subject
        self.view: Panel | None = None
        self._shell = shell
        self._state = state
        self._stale: set[str] = set(EVERYTHING[self.spec.scope])
        self._active = False
        self._failed = False
        self._ticker = ticker
        self._stack = QStackedLayout(self)
        self._stack.addWidget(QWidget())  # what is seen until the view is loaded
        self._failure = _Failure(self.retry)
        self._stack.addWidget(self._failure)
        self._disconnect = (subject.changed.connect(self._mark), ticker.add(self._tick))

    @property
    def active(self) -> bool:
        """Whether it is on show, and so refreshed."""
        return self._active

    @property
    def stale(self) -> frozenset[str]:
        """What changed since the last refresh."""
        return frozenset(self._stale)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do: not on show, failed, or refreshed, and no question rests before it is asked."""
        if not self._active or self._failed:
            return True
        return not self._stale and not (self.view and any(it.waits for it in self.view.findChildren(PacedQuestion)))

    def set_active(self, active: bool) -> None:
        """Show or hide; shown, it catches up once with all it missed."""
        self._active = active
        if active and self._stale and not self._failed:
            self._ticker.wake()

    def retry(self) -> None:
        """Throw the view away and load it anew."""
        if self.view is not None and not self._failed:
            self._state = self.save_state()
        self._drop_view()
        self._failed = False
        self._stale = set(EVERYTHING[self.spec.scope])
        if self._active:
            self._ticker.wake()

    def set_theme(self) -> None:
        """Hand the shell's theme to the view."""
        if self.view is not None and not self._failed:
            self._guarded(lambda view: view.set_theme(self._shell.theme), "take over the colours")

    def save_state(self) -> dict[str, Any]:
        """Return the view's layout, or the one kept from before while it isn't loaded."""
        if self.view is None or self._failed:
            return self._state
        try:
            return self.view.save_state()
        except Exception:
            logger.exception("panel %s could not say its layout", self.spec.id)
            return self._state

    def close_host(self) -> None:
        """Let go of session, ticker and view."""
        for disconnect in self._disconnect:
            disconnect()
        self._drop_view()
        self.deleteLater()

    def _mark(self, name: str) -> None:
        self._stale.add(name)
        if self._active and not self._failed:
            self._ticker.wake()

    def _tick(self) -> bool:
        if self._active and self._stale and not self._failed:
            changed = frozenset(self._stale)
            self._stale.clear()
            if self.view is not None or self._load():
                self._guarded(lambda view: view.refresh(changed), "show its data")
        return False

    def _load(self) -> bool:
        try:
            view: Panel = load_view(self.spec)(self.subject, self._shell)
            view.restore_state(self._state)
            view.set_theme(self._shell.theme)
        except Exception as error:
            self._fail("load", error)
            return False
        self.view = view
        self._stack.addWidget(view)
        self._stack.setCurrentWidget(view)
        return True

    def _guarded(self, work: Any, what: str) -> None:
        try:
            work(self.view)
        except Exception as error:
            self._fail(what, error)

    def _fail(self, what: str, error: Exception) -> None:
        logger.exception("panel %s could not %s", self.spec.id, what)
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        self._failed = True
        self._failure.say(f"{self.spec.title} could not {what}: {reason}")
        self._stack.setCurrentWidget(self._failure)

    def _drop_view(self) -> None:
        self.subject.jobs.cancel(self.spec.id)
        if self.view is not None:
            self._stack.removeWidget(self.view)
            self.view.hide()
            self.view.deleteLater()
            self.view = None


class _Failure(QWidget):
    """One line about what went wrong, and a button to try again."""

    def __init__(self, retry: Any) -> None:
        super().__init__()
        self._line = QLabel()
        self._line.setObjectName("panel_failure")
        self._line.setWordWrap(True)
        self._line.setTextFormat(Qt.TextFormat.PlainText)
        self._line.setAlignment(Qt.AlignmentFlag.AlignCenter)
        button = QPushButton("Retry")
        button.clicked.connect(retry)
        layout = QVBoxLayout(self)
        layout.addStretch()
        layout.addWidget(self._line)
        layout.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch()

    def say(self, text: str) -> None:
        """Show what went wrong."""
        self._line.setText(text)
