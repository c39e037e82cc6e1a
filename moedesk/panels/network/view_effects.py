"""The table of effects: a row for each slot and each other component, sorted by a click on a column."""

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRectF, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem, QWidget

from moedesk.core.attribution import Attribution
from moedesk.panels.network import model_attribution as model
from moedesk.ui.theme import LIGHT, Theme

AnyIndex = QModelIndex | QPersistentModelIndex
BAR_ROLE = Qt.ItemDataRole.UserRole + 1
ROW_ROLE = Qt.ItemDataRole.UserRole + 2


class EffectsTable(QAbstractTableModel):
    """Rows of an ``Attribution``; columns of which nothing is known are left out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._attribution: Attribution | None = None
        self._all: list[model.Row] = []
        self._rows: list[model.Row] = []
        self.columns: tuple[model.Quantity, ...] = ()
        self._top: dict[str, float] = {}
        self._order = (-1, Qt.SortOrder.AscendingOrder)

    def set_attribution(self, attribution: Attribution | None) -> None:
        """Show another attribution, in the same order."""
        self.beginResetModel()
        self._attribution = attribution
        self._all = [] if attribution is None else model.rows(attribution)
        self.columns = () if attribution is None else model.shown(attribution)
        for quantity in self.columns:
            values = [abs(row.values[self._place(quantity)]) for row in self._all]
            self._top[quantity.key] = max((value for value in values if value == value), default=0.0)
        self._sort()
        self.endResetModel()

    def row(self, index: AnyIndex) -> model.Row:
        """Return the row of a cell."""
        return self._rows[index.row()]

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of slots and components."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the name's column and one for each quantity."""
        return 0 if parent.isValid() else 1 + len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:  # noqa: N802
        """Return title and convention of a column."""
        if orientation != Qt.Orientation.Horizontal or self._attribution is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return "Layer · expert" if section == 0 else self.columns[section - 1].title
        if role == Qt.ItemDataRole.ToolTipRole:
            if section == 0:
                return "A slot of an MoE layer, or another part of the residual stream"
            return f"{model.convention(self.columns[section - 1], self._attribution)}. Click to sort by its size"
        return None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return what a cell says."""
        row = self._rows[index.row()]
        if role == ROW_ROLE:
            return row
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.hint or row.name
        if index.column() == 0:
            return row.name if role == Qt.ItemDataRole.DisplayRole else None
        quantity = self.columns[index.column() - 1]
        value = row.values[self._place(quantity)]
        if role == Qt.ItemDataRole.DisplayRole:
            return model.text(value, quantity)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == BAR_ROLE and quantity.signed and value == value and self._top[quantity.key]:
            return value / self._top[quantity.key]
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Put the rows in the order of a column: by size, unknown ones last; the first column means by layer."""
        self.layoutAboutToBeChanged.emit()
        self._order = (column, order)
        self._sort()
        self.layoutChanged.emit()

    def _sort(self) -> None:
        column, order = self._order
        place = self._place(self.columns[column - 1]) if 0 < column <= len(self.columns) else -1
        self._rows = model.ordered(self._all, place, column >= 0 and order == Qt.SortOrder.DescendingOrder)

    def _place(self, quantity: model.Quantity) -> int:
        return model.QUANTITIES.index(quantity)


class EffectDelegate(QStyledItemDelegate):
    """Draws a bar under an effect, to the right in green where it is above 0, to the left in red where it is below."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Draw the cell."""
        super().paint(painter, option, index)
        rect = QRectF(option.rect).adjusted(3, 0, -3, -1)
        row = index.data(ROW_ROLE)
        if index.column() == 0:
            if row.expert >= 0:
                painter.fillRect(
                    QRectF(rect.left(), rect.bottom() - 3, rect.width(), 3), self.theme.expert_color(row.expert)
                )
            return
        share = index.data(BAR_ROLE)
        if share is None:
            return
        middle, reach = rect.center().x(), rect.width() / 2
        left = middle + min(share, 0.0) * reach
        color = self.theme.color("success" if share >= 0 else "error")
        painter.fillRect(QRectF(left, rect.bottom() - 3, abs(share) * reach, 3), color)
