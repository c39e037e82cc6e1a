"""The list of breakpoints: a line each, in columns."""

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QScrollArea, QWidget

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.model import ModelInfo
from moedesk.panels.breakpoints.view_row import BreakpointRow
from moedesk.session.breakpoints import BreakpointList
from moedesk.ui.theme import LIGHT, Theme

TITLES = ("", "Break where", "Only if (Python)", "Print, don't stop", "Pass over", "Hits", "")
_STRETCH = (0, 5, 3, 3, 0, 0, 0)


class BreakpointRows(QScrollArea):
    """Shows all breakpoints and hands on what is done to one.

    Parameters
    ----------
    switched, edited, removed : callable
        Take the breakpoint's id, and whether it is on now, or what it is now.
    """

    def __init__(
        self,
        switched: Callable[[int, bool], None],
        edited: Callable[[int, Breakpoint], None],
        removed: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._switched, self._edited, self._removed = switched, edited, removed
        self._theme: Theme = LIGHT
        self.rows: dict[int, BreakpointRow] = {}
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self._content = QWidget()
        self._content.setObjectName("breakpoint_rows")
        self._grid = QGridLayout(self._content)
        self._grid.setContentsMargins(8, 4, 8, 4)
        self._grid.setHorizontalSpacing(6)
        self._grid.setVerticalSpacing(3)
        self._titles = [QLabel(title) for title in TITLES]
        for column, title in enumerate(self._titles):
            self._grid.addWidget(title, 0, column)
            self._grid.setColumnStretch(column, _STRETCH[column])
        self._last = 0  # grid row that takes up the room below
        self.setWidget(self._content)

    def show_list(self, shown: BreakpointList, model: ModelInfo) -> None:
        """Take over what was told."""
        ids = [entry.id for entry in shown.entries]
        for gone in [number for number in self.rows if number not in ids]:
            self.rows.pop(gone).close()
        for entry in shown.entries:
            if entry.id in self.rows:
                self.rows[entry.id].show_entry(entry, model)
            else:
                self.rows[entry.id] = row = BreakpointRow(entry, model, self._content)
                row.set_theme(self._theme)
                row.switched.connect(lambda on, number=entry.id: self._switched(number, on))
                row.edited.connect(lambda typed, number=entry.id: self._edited(number, typed))
                row.removed.connect(lambda number=entry.id: self._removed(number))
        self._place(ids)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.setStyleSheet(f"QWidget#breakpoint_rows {{ background: {theme.surface}; }}")
        for title in self._titles:
            title.setStyleSheet(f"color: {theme.muted};")
        for row in self.rows.values():
            row.set_theme(theme)

    def _place(self, ids: list[int]) -> None:
        """Put each breakpoint into two rows of the grid: its fields, and what is wrong with it."""
        self._grid.setRowStretch(self._last, 0)
        for place, number in enumerate(ids):
            row = self.rows[number]
            for column, widget in enumerate(row.fields):
                self._grid.addWidget(widget, 2 * place + 1, column)
            self._grid.addWidget(row.message, 2 * place + 2, 1, 1, len(TITLES) - 1)
        self._last = 2 * len(ids) + 1
        self._grid.setRowStretch(self._last, 1)
