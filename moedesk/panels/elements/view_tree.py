"""The tree of modules: a Qt tree whose Load column can be drawn anew alone, thirty times a second."""

from PySide6.QtCore import QPoint, QPointF, QRect
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QTreeView

from moedesk.panels.elements.view_tree_model import LOAD, TreeModel
from moedesk.ui.static_texts import StaticTexts
from moedesk.ui.theme import LIGHT, Theme

_MARGIN = 3  # what the style leaves at both sides of a cell's text


class ModuleTree(QTreeView):
    """Draws new loads by itself where nothing else has changed.

    Qt draws every column of each row in sight, asking model and style for seven things a cell; this costs a tenth.
    """

    def __init__(self) -> None:
        super().__init__()
        self._texts = StaticTexts()
        self.theme: Theme = LIGHT

    def update_loads(self) -> None:
        """Draw the Load column anew."""
        self.viewport().update(self._load_column())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the loads, or all there is to draw."""
        model = self.model()
        if isinstance(model, TreeModel) and self._load_column().contains(event.rect()):
            self._paint_loads(model)
        else:
            super().paintEvent(event)

    def _load_column(self) -> QRect:
        return QRect(self.columnViewportPosition(LOAD), 0, self.columnWidth(LOAD), self.viewport().height())

    def _paint_loads(self, model: TreeModel) -> None:
        painter, theme, column = QPainter(self.viewport()), self.theme, self._load_column()
        painter.setFont(self.font())
        self._texts.set_font(self.font())
        right = column.right() + 1 - _MARGIN
        chosen = {model.node_of(index) for index in self.selectionModel().selectedRows()}
        index = self.indexAt(QPoint(column.left(), 0)).siblingAtColumn(0)
        height = self.rowHeight(index)
        down = (height - self.fontMetrics().height()) // 2
        painter.setPen(theme.color("text"))
        for top in range(self.visualRect(index).top(), column.height(), max(height, 1)):
            if not index.isValid():
                break
            node = model.node_of(index)
            text = model.load_text(node)
            if node in chosen:
                painter.fillRect(QRect(column.left(), top, column.width(), height), theme.color("selection"))
                painter.setPen(theme.color("selection_text"))
            if text:
                static, wide = self._texts.get(text)
                painter.drawStaticText(QPointF(right - wide, top + down), static)
            if node in chosen:
                painter.setPen(theme.color("text"))
            index = self.indexBelow(index)
        painter.end()
