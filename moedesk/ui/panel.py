"""What every panel's view is: a widget that refreshes when told, and only while it is shown."""

from typing import Protocol

from PySide6.QtWidgets import QWidget

from moedesk.core.selection import Kind, Selection
from moedesk.session.panel import PanelSpec
from moedesk.session.session import Session
from moedesk.ui.beside import Beside
from moedesk.ui.theme import Theme


class Shell(Protocol):
    """What a panel may ask of the window around it."""

    @property
    def theme(self) -> Theme:
        """The colours in use."""

    @property
    def beside(self) -> Beside:
        """The other sessions, and a way to open more."""

    def reveal(self, selection: Selection, panel_id: str) -> None:
        """Show a panel and select something in its session."""

    def panels_for(self, kind: Kind) -> tuple[PanelSpec, ...]:
        """Return the panels that can show a kind of selection."""

    def say(self, text: str) -> None:
        """Show a line in the status bar for a while."""

    @property
    def opengl(self) -> bool:
        """Whether plots draw through OpenGL."""


class Panel(QWidget):
    """Base of all panel views.

    The dock that holds it collects what changed in the session (``store``, ``selection``, ``window``, ``cursor``, ``filter``,
    ``labels``, ``conventions``, ``live``, topics such as ``overrides``) and calls ``refresh`` once per tick, only while the panel
    is shown; shown again, once with all that it missed.
    The first call names everything.
    """

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.shell = shell

    def refresh(self, changed: frozenset[str]) -> None:
        """Start the queries that these changes call for; their results draw."""
        raise NotImplementedError

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours; called at the start and when the user switches."""

    def focus_find(self) -> None:
        """Put the keyboard into the panel's search or filter field (Ctrl+F)."""

    def save_state(self) -> dict[str, object]:
        """Return the layout to keep between runs, as JSON values."""
        return {}

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over what ``save_state`` returned in an earlier run; ignore what doesn't fit."""
