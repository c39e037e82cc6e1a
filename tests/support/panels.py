"""Panels to try the shell with: they note what is asked of them."""

from typing import Any

from PySide6.QtWidgets import QLabel, QLineEdit, QVBoxLayout

from moedesk.core.selection import Kind
from moedesk.session.panel import PanelSpec
from moedesk.session.session import Session
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.theme import Theme


class NotingPanel(Panel):
    """Notes every refresh; shows a line and a field to find in."""

    def __init__(self, session: Session, shell: Shell) -> None:
        super().__init__(session, shell)
        self.refreshes: list[frozenset[str]] = []
        self.themes: list[str] = []
        self.find_field = QLineEdit()
        self.width_kept = 0
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("a panel"))
        layout.addWidget(self.find_field)

    def refresh(self, changed: frozenset[str]) -> None:
        self.refreshes.append(changed)

    def set_theme(self, theme: Theme) -> None:
        self.themes.append(theme.name)

    def focus_find(self) -> None:
        self.find_field.setFocus()

    def save_state(self) -> dict[str, Any]:
        return {"width": self.width_kept}

    def restore_state(self, state: dict[str, Any]) -> None:
        self.width_kept = state.get("width", 0)


class FailingPanel(NotingPanel):
    """Raises in ``refresh`` until told otherwise."""

    broken = True

    def refresh(self, changed: frozenset[str]) -> None:
        if FailingPanel.broken:
            raise ValueError("no such column\nand a second line nobody needs")
        super().refresh(changed)


_VIEW = "tests.support.panels:"
ROUTES = PanelSpec(
    "routes", "Routes", f"{_VIEW}NotingPanel", order=1, shortcut="Ctrl+1", reveals=frozenset({Kind.PASS, Kind.EXPERT})
)
MODULES = PanelSpec(
    "modules",
    "Modules",
    f"{_VIEW}NotingPanel",
    order=2,
    shortcut="Ctrl+2",
    reveals=frozenset({Kind.MODULE, Kind.EXPERT}),
)
OUTPUT = PanelSpec("output", "Output", f"{_VIEW}NotingPanel", place="drawer", order=3)
FAILING = PanelSpec("failing", "Failing", f"{_VIEW}FailingPanel", order=4)
SPECS = (ROUTES, MODULES, OUTPUT)
