"""The Breakpoints panel: the list, a line to add one, and where the model stands."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QStackedLayout, QVBoxLayout, QWidget

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.errors import MoedeskError
from moedesk.core.selection import Kind, Selection
from moedesk.panels.breakpoints.model import summary, why_empty
from moedesk.panels.breakpoints.view_add import AddLine
from moedesk.panels.breakpoints.view_list import BreakpointRows
from moedesk.panels.breakpoints.view_stop import StopView
from moedesk.session import breakpoints
from moedesk.session.session import Session
from moedesk.session.stop import stop_of
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.stop_commands import READY
from moedesk.ui.theme import Theme

_ROOM = 800  # pixels from which on there is room for a table beside the list


class BreakpointsPanel(Panel):
    """The breakpoints of the session's live model."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(session, shell, parent)
        self.add_line = AddLine([(title, text) for _, title, text in READY])
        self.rows = BreakpointRows(self._switch, self._change, self._remove)
        self.stop = StopView()
        self.empty = QLabel(wordWrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._lay_out()
        self.add_line.added.connect(self._add)
        self.add_line.switched.connect(self._switch_all)
        self.stop.picked.connect(self._pick)
        self.set_theme(shell.theme)

    def _lay_out(self) -> None:
        self._pages = QStackedLayout()
        self._pages.addWidget(self.rows)
        self._pages.addWidget(self.empty)
        column = QVBoxLayout()
        column.setSpacing(0)
        column.addWidget(self.add_line)
        column.addLayout(self._pages, 1)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addLayout(column, 1)
        row.addWidget(self.stop)

    def refresh(self, changed: frozenset[str]) -> None:
        """Show what the model's process told last."""
        if not changed & {breakpoints.TOPIC, "stopped", "live", "store"}:
            return
        live, model = self.session.live, self.session.store.model
        shown = breakpoints.breakpoints_of(live)
        why = why_empty(live, shown)
        self.add_line.setVisible(breakpoints.can_break(live))
        self.add_line.show_state(model, shown.active, summary(shown), shown.problem)
        self.rows.show_list(shown, model)
        self.empty.setText(why)
        self._pages.setCurrentWidget(self.empty if why else self.rows)
        self._show_stop()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        for part in (self.add_line, self.rows, self.stop):
            part.set_theme(theme)
        self.empty.setStyleSheet(f"color: {theme.muted};")

    def focus_find(self) -> None:
        """Put the keyboard into the line that adds one."""
        self.add_line.edit.setFocus()
        self.add_line.edit.selectAll()

    def save_state(self) -> dict[str, object]:
        """Return what was typed last."""
        return {"history": self.add_line.edit.history}

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over what was typed in an earlier run."""
        history = state.get("history")
        if isinstance(history, list) and all(isinstance(text, str) for text in history):
            self.add_line.edit.set_history(history)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave the room to the list where there is little; the window's banner says where the model stands, too."""
        super().resizeEvent(event)
        self._show_stop()

    def _show_stop(self) -> None:
        self.stop.show_stop(stop_of(self.session.live) if self.width() >= _ROOM else None)

    def _add(self, breakpoint: Breakpoint) -> None:
        if self.session.live is not None:
            try:
                breakpoints.add(self.session.live, breakpoint, self.session.store.model)
            except MoedeskError as error:
                self.shell.say(f"No breakpoint set: {error}")

    def _change(self, number: int, breakpoint: Breakpoint) -> None:
        if self.session.live is not None:
            breakpoints.change(self.session.live, number, breakpoint, self.session.store.model)

    def _remove(self, number: int) -> None:
        if self.session.live is not None:
            breakpoints.remove(self.session.live, number)

    def _switch(self, number: int, on: bool) -> None:
        if self.session.live is not None:
            breakpoints.switch(self.session.live, number, on)

    def _switch_all(self) -> None:
        live = self.session.live
        if live is not None:
            breakpoints.activate(live, not breakpoints.breakpoints_of(live).active)

    def _pick(self, expert: int) -> None:
        stop = stop_of(self.session.live)
        if stop is not None:
            self.session.select(Selection(Kind.EXPERT, layer=stop.layer, expert=expert))
