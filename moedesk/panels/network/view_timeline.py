"""The time line column: when each pass ran."""

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QRectF
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from moedesk.ui.theme import LIGHT, Theme


class TimelineDelegate(QStyledItemDelegate):
    """Draws a bar from the start to the end of a pass, at least two pixels wide."""

    def __init__(self, role: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._role = role
        self.theme: Theme = LIGHT

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draw the cell."""
        super().paint(painter, option, index)
        bar = index.data(self._role)
        if bar is None:
            return
        rect = QRectF(option.rect).adjusted(4, 0, -4, 0)
        left, right = (rect.left() + rect.width() * min(max(share, 0.0), 1.0) for share in bar)
        height = max(rect.height() * 0.45, 4)
        box = QRectF(min(left, rect.right() - 2), rect.center().y() - height / 2, max(right - left, 2), height)
        painter.fillRect(box, self.theme.color("accent"))
