"""What is drawn over a heatmap: lines between layers, the selection's frame, the replay cursor, the shade outside the brush."""

import pyqtgraph as pg
from PySide6.QtCore import QLineF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen
from PySide6.QtWidgets import QStyleOptionGraphicsItem, QWidget

from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.theme import LIGHT, Theme


def line_pen(color: QColor, width: float, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> QPen:
    """Return a pen whose width is in pixels at every zoom."""
    pen = QPen(color, width, style)
    pen.setCosmetic(True)
    return pen


class Overlay(pg.GraphicsObject):
    """Marks in the heatmap's own coordinates: x in passes, y in rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = HeatmapRows()
        self.passes = 0
        self.theme: Theme = LIGHT
        self.window: tuple[int, int] | None = None
        self.cursor: int | None = None
        self.marked: tuple[int, int | None] | None = None
        self.marked_pass: int | None = None
        self.setZValue(10)

    def set_extent(self, rows: HeatmapRows, passes: int) -> None:
        """Take over how many rows and passes there are."""
        self.prepareGeometryChange()
        self.rows, self.passes = rows, passes

    def boundingRect(self) -> QRectF:  # noqa: N802
        """Return the whole heatmap."""
        return QRectF(0, 0, max(self.passes, 1), max(len(self.rows), 1))

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Draw the marks."""
        height = float(len(self.rows))
        self._separators(painter)
        self._shade(painter, height)
        if self.marked_pass is not None:
            self._vertical(painter, self.marked_pass, height, "text", Qt.PenStyle.DotLine)
        if self.marked is not None and self.marked[0] < self.rows.layers:
            self._frame(painter, *self.marked)
        if self.cursor is not None:
            self._vertical(painter, self.cursor, height, "accent", Qt.PenStyle.SolidLine)

    def _separators(self, painter: QPainter) -> None:
        scale = painter.worldTransform().m22()
        if self.rows.layers and scale * len(self.rows) / self.rows.layers < 8:
            return  # closer lines than this would hide the picture
        painter.setPen(line_pen(self.theme.color("surface"), 1))
        painter.drawLines([QLineF(0, y, self.passes, y) for y in self.rows.offsets[1:-1]])

    def _shade(self, painter: QPainter, height: float) -> None:
        color = self.theme.color("surface")
        color.setAlpha(170)
        first, last = self.window or (0, self.passes)
        shown = last if self.cursor is None else min(last, self.cursor + 1)
        painter.fillRect(QRectF(0, 0, first, height), color)
        painter.fillRect(QRectF(shown, 0, self.passes - shown, height), color)
        if self.window is not None:
            painter.setPen(line_pen(self.theme.color("accent"), 1))
            painter.drawLines([QLineF(x, 0, x, height) for x in self.window])

    def _vertical(self, painter: QPainter, at: int, height: float, role: str, style: Qt.PenStyle) -> None:
        line = QLineF(at + 0.5, 0, at + 0.5, height)
        if style == Qt.PenStyle.SolidLine:
            painter.setPen(line_pen(self.theme.color("surface"), 4))
            painter.drawLine(line)
        painter.setPen(line_pen(self.theme.color(role), 2 if style == Qt.PenStyle.SolidLine else 1, style))
        painter.drawLine(line)

    def _frame(self, painter: QPainter, layer: int, expert: int | None) -> None:
        start, stop = self.rows.span(layer)
        if expert is not None:
            start, stop = start + expert, start + expert + 1
        box = QRectF(0, start, self.passes, stop - start)
        scale = painter.worldTransform().m22()
        if box.height() * scale < 5:  # a row thinner than its frame: draw around its middle
            middle = box.center().y()
            box.setTop(middle - 2.5 / scale)
            box.setBottom(middle + 2.5 / scale)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for role, width in (("surface", 3.0), ("text", 1.0)):
            painter.setPen(line_pen(self.theme.color(role), width))
            painter.drawRect(box)
