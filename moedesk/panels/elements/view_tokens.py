"""The table of an expert's top tokens."""

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from moedesk.panels.elements.model_expert import COLUMN_HINTS, COLUMNS, ExpertView, cells, table_text
from moedesk.ui.theme import Theme

Index = QModelIndex | QPersistentModelIndex


class TopTokensModel(QAbstractTableModel):
    """Rows of an ``ExpertView``'s top tokens."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.view: ExpertView | None = None
        self.theme: Theme | None = None

    def set_view(self, view: ExpertView | None) -> None:
        """Show another expert."""
        self.beginResetModel()
        self.view = view
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of tokens."""
        return 0 if self.view is None or parent.isValid() else len(self.view.top.tokens)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Return a column's title, or what it means."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return COLUMNS[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return COLUMN_HINTS[section]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(section)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell."""
        if self.view is None:
            return None
        token = self.view.top.tokens[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return cells(token)[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"token {token.token_id}: {token.text!r}"
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(index.column())
        if role == Qt.ItemDataRole.FontRole and index.column() == 0 and self.theme is not None:
            return self.theme.mono_font
        return None


class TopTokensTable(QTableView):
    """Shows the tokens an expert sees most; Ctrl+C copies the whole table, tab-separated."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tokens = TopTokensModel(self)
        self.setModel(self.tokens)
        self.setAccessibleName("Top tokens")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 6)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setMinimumHeight(150)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Copy the table."""
        if event.matches(QKeySequence.StandardKey.Copy) and self.tokens.view is not None:
            QGuiApplication.clipboard().setText(table_text(self.tokens.view))
        else:
            super().keyPressEvent(event)


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
