"""Paints the cells of the table of passes: dozens of rows 30 times a second while a model runs."""

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRectF, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QTableView

from moedesk.panels.network.view_pass_table import TIMELINE_ROLE, PassTable
from moedesk.ui.theme import LIGHT, Theme

_MARKED = QStyle.StateFlag.State_Selected | QStyle.StateFlag.State_HasFocus


class CellDelegate(QStyledItemDelegate):
    """Draws text straight from a ``PassTable``, and in its last column a bar from the start to the end of a pass.

    What is not selected has no background and no decoration, so that asking the model for them, and the style to draw them,
    can be left out; that is most of what a cell costs.
    """

    def __init__(self, view: QTableView, table: PassTable) -> None:
        super().__init__(view)
        self._table = table
        self._margin = view.style().pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin, None, view) + 1
        self.theme: Theme = LIGHT

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draw the cell."""
        if option.state & _MARKED:
            super().paint(painter, option, index)
        else:
            self._text(painter, option, index)
        bar = self._table.data(index, TIMELINE_ROLE)
        if bar is not None:
            self._bar(painter, QRectF(option.rect).adjusted(4, 0, -4, 0), bar)

    def _text(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        text = self._table.data(index)
        if not text:
            return
        side = self._table.data(index, Qt.ItemDataRole.TextAlignmentRole)
        area = option.rect.adjusted(self._margin, 0, -self._margin, 0)
        metrics = option.fontMetrics
        if len(text) * metrics.maxWidth() > area.width() and metrics.horizontalAdvance(text) > area.width():
            text = metrics.elidedText(text, option.textElideMode, area.width())
        painter.setPen(self.theme.color("text"))
        painter.drawText(area, side, text)

    def _bar(self, painter: QPainter, rect: QRectF, bar: tuple[float, float]) -> None:
        left, right = (rect.left() + rect.width() * min(max(share, 0.0), 1.0) for share in bar)
        height = max(rect.height() * 0.45, 4)
        box = QRectF(min(left, rect.right() - 2), rect.center().y() - height / 2, max(right - left, 2), height)
        painter.fillRect(box, self.theme.color("accent"))
