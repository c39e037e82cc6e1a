"""The Network panel: overview on top, the table of passes below."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from moedesk.panels.network.view_overview import Overview
from moedesk.panels.network.view_passes import PassesView
from moedesk.session.session import Session
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.theme import Theme


class NetworkPanel(Panel):
    """Every pass of a capture, and what it was routed to."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(session, shell, parent)
        self.overview = Overview(session, shell.opengl)
        self.passes = PassesView(session)
        self.upright = QSplitter(Qt.Orientation.Vertical)
        self.upright.addWidget(self.overview)
        self.upright.addWidget(self.passes)
        self.upright.setSizes([260, 400])
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.upright)
        self.set_theme(shell.theme)

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session."""
        self.overview.refresh(changed)
        self.passes.refresh(changed)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.overview.set_theme(theme)
        self.passes.timeline.theme = theme
        self.passes.viewport().update()
