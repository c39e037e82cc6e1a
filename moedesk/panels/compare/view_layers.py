"""The table of layers."""

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, Qt, Signal
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import (
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidgetItem,
    QWidget,
)

from moedesk.panels.compare.model_layers import COLUMNS, LayerRow, in_order
from moedesk.ui.icons import icon
from moedesk.ui.row_table import RowTable
from moedesk.ui.theme import LIGHT, Theme

_SHARE = Qt.ItemDataRole.UserRole


class LayerTable(RowTable):
    """A row for each layer; ``picked`` names the session's layer that was chosen."""

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("What differs at each layer", len(COLUMNS), parent)
        self._rows: tuple[LayerRow, ...] = ()
        self._layer: int | None = None
        self._column, self._falling = 0, False
        self._theme: Theme = LIGHT
        self._bars = _Bars(self)
        self._set_up()
        self.itemSelectionChanged.connect(self._pick)
        self.horizontalHeader().sectionClicked.connect(self.sort_by)

    def _set_up(self) -> None:
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        self.set_titles((column.title, f"{column.hint}. Click to sort.") for column in COLUMNS)
        for place, column in enumerate(COLUMNS):
            if column.bar:
                self.setItemDelegateForColumn(place, self._bars)
        header = self.horizontalHeader()
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(0, Qt.SortOrder.AscendingOrder)

    @property
    def rows(self) -> tuple[LayerRow, ...]:
        """What is shown, from top to bottom."""
        return in_order(self._rows, self._column, self._falling)

    def set_rows(self, rows: tuple[LayerRow, ...]) -> None:
        """Show other numbers."""
        self._rows = rows
        self._fill()

    def set_layer(self, layer: int | None) -> None:
        """Mark a layer of the session."""
        self._layer = layer
        self._mark()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self._bars.color = theme.color("accent")
        self._fill()

    def sort_by(self, column: int) -> None:
        """Sort by a column; by the same one again, the other way round. Numbers come largest first."""
        self._falling = not self._falling if column == self._column else column > 0
        self._column = column
        order = Qt.SortOrder.DescendingOrder if self._falling else Qt.SortOrder.AscendingOrder
        self.horizontalHeader().setSortIndicator(column, order)
        self._fill()

    def _fill(self) -> None:
        self.blockSignals(True)
        rows = self.rows
        self.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for place, (column, text) in enumerate(zip(COLUMNS, row.texts, strict=True)):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if column.bar:
                    item.setData(_SHARE, row.values[place])
                if place == 0:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
                    item.setToolTip(row.pair.path + (": more than rounding explains" if row.unexplained else ""))
                    if row.unexplained:
                        item.setIcon(icon("warning", self._theme, "warning"))
                self.setItem(number, place, item)
        self.blockSignals(False)
        self._mark()

    def _mark(self) -> None:
        self.blockSignals(True)
        rows = [number for number, row in enumerate(self.rows) if row.pair.mine == self._layer]
        if rows:
            self.selectRow(rows[0])
        else:
            self.clearSelection()
        self.blockSignals(False)

    def _pick(self) -> None:
        chosen = self.selectionModel().selectedRows()
        if chosen:
            self.picked.emit(self.rows[chosen[0].row()].pair.mine)


class _Bars(QStyledItemDelegate):
    """Draws a share as a thin bar below its number."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.color = QColor()

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().paint(painter, option, index)
        share = index.data(_SHARE)
        if share is not None and share == share:
            box: QRect = option.rect
            width = round((box.width() - 4) * min(max(share, 0.0), 1.0))
            painter.fillRect(box.left() + 2, box.bottom() - 2, max(width, 1 if share else 0), 3, self.color)
