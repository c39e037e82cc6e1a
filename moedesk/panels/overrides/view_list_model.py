"""The list of overrides as a Qt model: the tick and the name can be changed in place."""

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from moedesk.core.selection import NOTHING, Selection
from moedesk.panels.overrides.model_rows import (
    COLUMNS,
    HINTS,
    RECORDED_HINTS,
    RECORDED_TITLES,
    TITLES,
    hint,
    is_about,
    text,
)
from moedesk.session.overriding import Entry

Index = QModelIndex | QPersistentModelIndex
MARK = "● "
"""Before the layers of what is about the selected layer or expert."""
WHAT, LAYERS, ACTED, NAME = (COLUMNS.index(column) for column in ("what", "layers", "acted", "name"))


class ListModel(QAbstractTableModel):
    """A row an override, in the order in which they act.

    What is ticked or typed is only announced: the model's process decides, and ``set_entries`` brings what it says.

    Signals
    -------
    switched : Entry, bool
    renamed : Entry, str
    """

    switched = Signal(object, bool)
    renamed = Signal(object, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.entries: tuple[Entry, ...] = ()
        self._selection: Selection = NOTHING
        self._editable = False
        self._recorded = False

    def set_entries(self, entries: tuple[Entry, ...], editable: bool) -> None:
        """Show other rows; where they are the same ones, what is selected stays, and a name that is being typed."""
        before, self._editable = self.entries, editable
        recorded = any(entry.passes for entry in entries)
        if recorded != self._recorded:
            self._recorded = recorded
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(COLUMNS) - 1)
        if [(entry.id, bool(entry.passes)) for entry in entries] != [
            (entry.id, bool(entry.passes)) for entry in before
        ]:
            self.beginResetModel()
            self.entries = entries
            self.endResetModel()
            return
        self.entries = entries
        for row, (old, new) in enumerate(zip(before, entries, strict=True)):
            if old.override != new.override:
                self.dataChanged.emit(self.index(row, 0), self.index(row, len(COLUMNS) - 1))
            elif old != new:  # only what may change many times a second: Qt fills a cell's editor anew with the rest
                self.dataChanged.emit(self.index(row, WHAT), self.index(row, WHAT))
                self.dataChanged.emit(self.index(row, ACTED), self.index(row, ACTED))

    def set_selection(self, selection: Selection) -> None:
        """Mark what is about another layer or expert."""
        if selection != self._selection:
            self._selection = selection
            if self.entries:
                self.dataChanged.emit(self.index(0, LAYERS), self.index(len(self.entries) - 1, LAYERS))

    def entry(self, index: Index) -> Entry | None:
        """Return what a row shows."""
        return self.entries[index.row()] if index.isValid() else None

    def row_of(self, number: int) -> int | None:
        """Return the row of an override, by its number; None if it is gone."""
        return next((row for row, entry in enumerate(self.entries) if entry.id == number), None)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of overrides."""
        return 0 if parent.isValid() else len(self.entries)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Return a column's title, or what it means."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return (RECORDED_TITLES if self._recorded else TITLES)[COLUMNS[section]]
            if role == Qt.ItemDataRole.ToolTipRole:
                return (RECORDED_HINTS if self._recorded else HINTS)[COLUMNS[section]]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(section)
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Return what can be done with a cell."""
        plain = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == WHAT:
            plain |= Qt.ItemFlag.ItemIsUserCheckable
            return plain if self._editable else plain & ~Qt.ItemFlag.ItemIsUserCheckable
        return plain | Qt.ItemFlag.ItemIsEditable if index.column() == NAME and self._editable else plain

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell's text, tick, or how it is drawn."""
        entry, column = self.entries[index.row()], COLUMNS[index.column()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                marked = column == "layers" and is_about(entry, self._selection)
                return (MARK if marked else "") + text(entry, column)
            case Qt.ItemDataRole.EditRole:
                return text(entry, column)
            case Qt.ItemDataRole.CheckStateRole if column == "what" and not self._recorded:
                return Qt.CheckState.Checked if entry.on else Qt.CheckState.Unchecked
            case Qt.ItemDataRole.ToolTipRole:
                return hint(entry)
            case Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(index.column())
            case Qt.ItemDataRole.AccessibleTextRole if column == "what":
                return (
                    text(entry, column) if self._recorded else f"{text(entry, column)}, {'on' if entry.on else 'off'}"
                )
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:  # noqa: N802
        """Announce a tick or a name."""
        entry = self.entry(index)
        if entry is None or not self._editable:
            return False
        if role == Qt.ItemDataRole.CheckStateRole and index.column() == WHAT:
            self.switched.emit(entry, Qt.CheckState(value) == Qt.CheckState.Checked)
            return True
        if role == Qt.ItemDataRole.EditRole and index.column() == NAME:
            self.renamed.emit(entry, str(value).strip())
            return True
        return False


def _alignment(section: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if section == ACTED else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
