"""Groups of findings as a Qt model of two levels."""

from typing import Any

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QFont

from moedesk.core.selection import NOTHING, Selection
from moedesk.panels.audits.model_findings import COLUMNS, Entry, Group, Quiet
from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme

HEADERS = ("Severity", "Finding", "Where", "Category", "Confidence")
HINTS = (
    "How bad it is: error, warning, info",
    "What was found",
    "The layer's place among the MoE layers, and the expert; ● marks what is about the selected layer or expert",
    "What part of the routing it is about",
    "How sure it is: 100 % for what was counted, else how sure the statistics are",
)
ROLES = {"error": "error", "warning": "warning", "info": "accent"}
"""Colour of a severity's icon."""
MARK = "● "
Index = QModelIndex | QPersistentModelIndex
_GROUP = 0  # internal id of headings; rows below have the place of theirs, counted from 1


class ListModel(QAbstractItemModel):
    """Shows ``Group``s; rows about what is selected are marked."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.groups: tuple[Group, ...] = ()
        self._theme: Theme = LIGHT
        self._selection: Selection = NOTHING

    def set_groups(self, groups: tuple[Group, ...]) -> None:
        """Show other rows."""
        self.beginResetModel()
        self.groups = groups
        self.endResetModel()

    def set_selection(self, selection: Selection) -> None:
        """Mark what is about another layer or expert."""
        if selection != self._selection:
            self._selection = selection
            self._renew()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self._renew()

    def _renew(self) -> None:
        for place, group in enumerate(self.groups):
            heading = self.index(place, 0)
            last = len(group.entries) - 1
            self.dataChanged.emit(self.index(0, 0, heading), self.index(last, len(COLUMNS) - 1, heading))

    def row_of(self, index: Index) -> Entry | Quiet | None:
        """Return what a row shows; None for a heading."""
        if not index.isValid() or index.internalId() == _GROUP:
            return None
        return self.groups[int(index.internalId()) - 1].entries[index.row()]

    def index_of(self, number: int) -> QModelIndex:
        """Return where a finding is, by its place in the report; an invalid index if it is not shown."""
        for place, group in enumerate(self.groups):
            for row, entry in enumerate(group.entries):
                if isinstance(entry, Entry) and entry.number == number:
                    return self.createIndex(row, 0, place + 1)
        return QModelIndex()

    def first_marked(self) -> QModelIndex:
        """Return the first row about what is selected; an invalid index if there is none."""
        for group in self.groups:
            for entry in group.entries:
                if isinstance(entry, Entry) and entry.is_about(self._selection):
                    return self.index_of(entry.number)
        return QModelIndex()

    def index(self, row: int, column: int, parent: Index = QModelIndex()) -> QModelIndex:  # noqa: B008
        """Return the index of a heading, or of a row below one."""
        if not self.hasIndex(row, column, parent):
            return QModelIndex()
        return self.createIndex(row, column, parent.row() + 1 if parent.isValid() else _GROUP)

    def parent(self, index: Index = QModelIndex()) -> QModelIndex:  # type: ignore[override]  # noqa: B008
        """Return the heading of a row."""
        if not index.isValid() or index.internalId() == _GROUP:
            return QModelIndex()
        return self.createIndex(int(index.internalId()) - 1, 0, _GROUP)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of headings, or of rows below one."""
        if not parent.isValid():
            return len(self.groups)
        if parent.internalId() != _GROUP or parent.column() > 0:
            return 0
        return len(self.groups[parent.row()].entries)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns."""
        return len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Return a column's title, or what it means."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return HEADERS[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return HINTS[section]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell's text, icon, or how it is drawn."""
        row = self.row_of(index)
        if row is not None:
            return self._cell(row, index.column(), role)
        if not index.isValid():
            return None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole) and index.column() == 0:
            return self.groups[index.row()].title
        return _bold() if role == Qt.ItemDataRole.FontRole else None

    def _cell(self, row: Entry | Quiet, column: int, role: int) -> Any:
        name = COLUMNS[column]
        marked = isinstance(row, Entry) and row.is_about(self._selection)
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return f"{MARK}{row.text(name)}" if marked and name == "where" else row.text(name)
            case Qt.ItemDataRole.ToolTipRole:
                if isinstance(row, Quiet):
                    return row.why
                return f"{row.finding.title}\n{row.finding.layer or row.where}"
            case Qt.ItemDataRole.DecorationRole if name == "severity" and isinstance(row, Entry):
                severity = row.finding.severity
                return icon(severity, self._theme, ROLES[severity])
            case Qt.ItemDataRole.DecorationRole if name == "severity" and isinstance(row, Quiet):
                return icon("success" if row.judged else "info", self._theme, "success" if row.judged else "muted")
            case Qt.ItemDataRole.FontRole if marked:
                return _bold()
            case Qt.ItemDataRole.ForegroundRole if isinstance(row, Quiet):
                return self._theme.color("muted")
        return None


def _bold() -> QFont:
    font = QFont()
    font.setBold(True)
    return font
