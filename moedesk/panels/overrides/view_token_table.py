"""A row a token of the text: its log-probability without overrides and with them."""

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from moedesk.core.before_after import BeforeAfter
from moedesk.panels.overrides.model_before_after import TITLES, TOKEN_COLUMNS, TokenColumn, order, token_row
from moedesk.ui.plain_rows import show_plain_rows
from moedesk.ui.theme import Theme

Index = QModelIndex | QPersistentModelIndex
ROOM: dict[TokenColumn, int] = {"place": 330, "before": 260}
"""Width from which on a column is shown."""
TOKEN = TOKEN_COLUMNS.index("token")


class TokenModel(QAbstractTableModel):
    """Shows the tokens of a ``BeforeAfter`` in the order of a column."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._result: BeforeAfter | None = None
        self._places: list[int] = []
        self._sorted = (0, Qt.SortOrder.AscendingOrder)

    def set_result(self, result: BeforeAfter | None) -> None:
        """Show other tokens."""
        self._result = result
        self.sort(*self._sorted)

    def sort(self, column: int, order_: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Order the rows by a column."""
        self.beginResetModel()
        self._sorted = column, order_
        descending = order_ == Qt.SortOrder.DescendingOrder
        self._places = [] if self._result is None else order(self._result, TOKEN_COLUMNS[column], descending)
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of tokens."""
        return 0 if parent.isValid() else len(self._places)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(TOKEN_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Return a column's title, or what it means."""
        if orientation == Qt.Orientation.Horizontal:
            title, hint = TITLES[TOKEN_COLUMNS[section]]
            if role == Qt.ItemDataRole.DisplayRole:
                return title
            if role == Qt.ItemDataRole.ToolTipRole:
                return hint
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(section)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell says."""
        if role == Qt.ItemDataRole.DisplayRole and self._result is not None:
            return token_row(self._result, self._places[index.row()])[TOKEN_COLUMNS[index.column()]]
        return _alignment(index.column()) if role == Qt.ItemDataRole.TextAlignmentRole else None


class TokenTable(QTableView):
    """The table; a click on a heading sorts by it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = TokenModel(self)
        self.setModel(self.rows)
        show_plain_rows(self, "Log-probability of each token before and after")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(30)
        header.setSectionResizeMode(TOKEN, QHeaderView.ResizeMode.Stretch)
        for place, (column, sample) in enumerate(
            zip(TOKEN_COLUMNS, ("1,234MM", "", "-88.888", "-88.888", "+88.888"), strict=True)
        ):
            if column != "token":
                width = max(self.fontMetrics().horizontalAdvance(text) for text in (sample, TITLES[column][0] + "M"))
                self.setColumnWidth(place, width + 14)
        header.setSortIndicator(0, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave out columns for which there is no room."""
        super().resizeEvent(event)
        for column, room in ROOM.items():
            self.setColumnHidden(TOKEN_COLUMNS.index(column), event.size().width() < room)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.setFont(theme.mono_font)


def _alignment(section: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignLeft if section == TOKEN else Qt.AlignmentFlag.AlignRight
    return side | Qt.AlignmentFlag.AlignVCenter
