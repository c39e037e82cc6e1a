"""The button beside the filter that makes a breakpoint of it."""

from PySide6.QtCore import QSize
from PySide6.QtWidgets import QToolButton

from moedesk.session.breakpoints import can_break
from moedesk.session.session import Session
from moedesk.ui.break_menu import set_breakpoint
from moedesk.ui.icons import icon
from moedesk.ui.panel import Shell
from moedesk.ui.theme import Theme


class BreakOnFilter(QToolButton):
    """Has the model stop at what the filter shows; hidden without a filter, or without a model that runs."""

    def __init__(self, session: Session, shell: Shell) -> None:
        super().__init__()
        self._session, self._shell = session, shell
        self.setAutoRaise(True)
        self.setIconSize(QSize(14, 14))
        self.setToolTip("Break on this filter: stop the model at what it shows")
        self.setAccessibleName("Break on this filter")
        self.clicked.connect(lambda: set_breakpoint(session, shell, session.filter.to_text()))
        self.hide()

    def refresh(self) -> None:
        """Show or hide."""
        self.setVisible(bool(self._session.filter) and can_break(self._session.live))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.setIcon(icon("breakpoint", theme, "accent"))
