"""The axes of a heatmap: layers and experts at the left, passes and the brush at the bottom."""

from math import ceil

import pyqtgraph as pg
from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent, MouseDragEvent
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QFontMetrics, QPainter, QPolygonF
from PySide6.QtWidgets import QStyleOptionGraphicsItem, QWidget

from moedesk.analysis.pass_labels import PassLabels
from moedesk.ui.heatmap_brush import Brush
from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.label_bands import HEIGHT as BAND
from moedesk.ui.label_bands import LabelBands
from moedesk.ui.override_marks import NO_MARKS, draw_diamonds, layer_text
from moedesk.ui.static_texts import StaticTexts
from moedesk.ui.theme import LIGHT, Theme

LEFT_WIDTH = 66
BOTTOM_HEIGHT = 34
STRIP = 12  # height of the brush strip


def tick_step(per_unit: float, room: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, … units that is at least ``room`` pixels long at ``per_unit`` pixels each."""
    step = 1
    while step * per_unit < room:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return step


class LayerAxis(pg.GraphicsWidget):
    """Layer and expert numbers beside the rows; the wheel and a drag here work on the rows alone."""

    def __init__(self, view: pg.ViewBox) -> None:
        super().__init__()
        self._view = view
        self.rows = HeatmapRows()
        self.theme: Theme = LIGHT
        self.marked: tuple[int, int | None] | None = None
        self.overridden = NO_MARKS
        self.setFixedWidth(LEFT_WIDTH)
        self.setFlag(self.GraphicsItemFlag.ItemClipsToShape)
        self.setCacheMode(self.CacheMode.DeviceCoordinateCache)  # a new picture alone does not draw them again
        view.sigYRangeChanged.connect(self._redraw)

    def _redraw(self, *_: object) -> None:
        self.update()

    def wheelEvent(self, event: object) -> None:  # noqa: N802
        """Zoom the rows."""
        self._view.wheelEvent(event, axis=1)

    def mouseDragEvent(self, event: object) -> None:  # noqa: N802
        """Pan the rows."""
        self._view.mouseDragEvent(event, axis=1)

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Draw as many numbers as there is room for."""
        if not self.rows.layers:
            return
        top, bottom = self._view.viewRange()[1]
        scale = self.size().height() / max(bottom - top, 1e-9)
        metrics = QFontMetrics(painter.font())
        line = metrics.height()
        first, last = self.rows.layer_at(top), self.rows.layer_at(bottom - 1e-6)
        taken = self._mark_middle(top, scale)
        step = ceil((line + 1) / max(scale * len(self.rows) / self.rows.layers, 1e-9))
        lowest = -float(line)  # where the last number went: one pushed in from the edge may be in the next one's way
        for layer in range(first, last + 1):
            start, stop = self.rows.span(layer)
            high, low = (max(start, top) - top) * scale, (min(stop, bottom) - top) * scale
            painter.setPen(self.theme.color("border"))
            painter.drawLine(QPointF(6, low), QPointF(LEFT_WIDTH, low))
            if layer % step == 0 and low - high >= min(line, (stop - start) * scale) * 0.9:
                middle = min(max((high + low) / 2, line / 2), self.size().height() - line / 2)
                free = taken is None or abs(middle - taken) >= line or scale * (stop - start) > 3 * line
                if free and middle - lowest >= line:
                    self._text(painter, 4, middle, layer_text(layer, self.overridden), "text", line)
                    lowest = middle
            self._experts(painter, layer, top, scale, (high, low), line)
        draw_diamonds(
            painter, self.theme, self.overridden, self.rows, lambda row: (row - top) * scale, self.size().width()
        )
        self._mark(painter, top, scale, line)

    def _experts(
        self, painter: QPainter, layer: int, top: float, scale: float, band: tuple[float, float], line: int
    ) -> None:
        start, stop = self.rows.span(layer)
        step = tick_step(scale, line)
        if step * 2 > stop - start:
            return
        visible = range(max(int(top - start) - step, 0) // step * step, stop - start, step)
        for expert in visible:
            y = (start + expert + 0.5 - top) * scale
            if y > band[1] - line / 2 + 1:
                break
            if y >= band[0] + min(line / 2, scale / 2) - 1:
                self._text(painter, 0, y, str(expert), "muted", line, right=True)

    def _mark_middle(self, top: float, scale: float) -> float | None:
        """Return where the mark of the selection lies, None without one."""
        if self.marked is None or self.marked[0] >= self.rows.layers:
            return None
        layer, expert = self.marked
        start, stop = self.rows.span(layer)
        return ((start + stop) / 2 - top) * scale if expert is None else (start + expert + 0.5 - top) * scale

    def _mark(self, painter: QPainter, top: float, scale: float, line: int) -> None:
        y = self._mark_middle(top, scale)
        if y is None or self.marked is None or not -line < y < self.size().height() + line:
            return
        layer, expert = self.marked
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.theme.color("accent"))
        label = f"L{layer}" if expert is None else f"L{layer}·{expert}"
        width = QFontMetrics(painter.font()).horizontalAdvance(label) + 8
        edge = LEFT_WIDTH - 7
        painter.drawRoundedRect(QRectF(edge - width, y - line / 2, width, line), 3, 3)
        painter.drawPolygon(QPolygonF([QPointF(edge, y - 5), QPointF(LEFT_WIDTH, y), QPointF(edge, y + 5)]))
        painter.setPen(self.theme.color("accent_text"))
        painter.drawText(QRectF(edge - width, y - line / 2, width, line), Qt.AlignmentFlag.AlignCenter, label)

    def _text(
        self, painter: QPainter, left: float, y: float, text: str, role: str, line: int, right: bool = False
    ) -> None:
        painter.setPen(self.theme.color(role))
        side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
        box = QRectF(left, y - line / 2, LEFT_WIDTH - left - 7, line)
        painter.drawText(box, side | Qt.AlignmentFlag.AlignVCenter, text)


class PassAxis(pg.GraphicsWidget):
    """Pass numbers below the columns, under a strip to brush in; the wheel here works on the passes alone.

    Signals
    -------
    brushed : object
        ``(first, last)`` in passes, end excluded, while the brush is dragged; None when it is cleared.
    """

    brushed = Signal(object)

    def __init__(self, view: pg.ViewBox) -> None:
        super().__init__()
        self._view = view
        self._drag: Brush | None = None
        self.passes = 0
        self.window: tuple[int, int] | None = None
        self.cursor: int | None = None
        self.marked: int | None = None
        self.theme: Theme = LIGHT
        self._texts = StaticTexts()
        self._bands = LabelBands()
        self.setFixedHeight(BOTTOM_HEIGHT)
        self.setFlag(self.GraphicsItemFlag.ItemClipsToShape)
        self.setCacheMode(self.CacheMode.DeviceCoordinateCache)  # a new picture alone does not draw them again
        self.setToolTip("Drag here to look at some passes only; drag an end to move it; double-click to see all again")
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        view.sigXRangeChanged.connect(self._redraw)

    def _redraw(self, *_: object) -> None:
        self.update()

    def set_labels(self, labels: PassLabels) -> None:
        """Show these labels as bands under the pass numbers; without any they take no room."""
        if labels != self._bands.labels:
            self._bands.set_labels(labels)
            self.setFixedHeight(BOTTOM_HEIGHT + (BAND + 1 if labels.labels else 0))
            self.update()

    def _at(self, x: float) -> float:
        left, right = self._view.viewRange()[0]
        return left + x / max(self.size().width(), 1.0) * (right - left)

    def _x(self, at: float) -> float:
        left, right = self._view.viewRange()[0]
        return (at - left) / max(right - left, 1e-9) * self.size().width()

    def wheelEvent(self, event: object) -> None:  # noqa: N802
        """Zoom the passes."""
        self._view.wheelEvent(event, axis=0)

    def mouseDragEvent(self, event: MouseDragEvent) -> None:  # noqa: N802
        """Make, move or resize the brush."""
        if event.button() != Qt.MouseButton.LeftButton or not self.passes:
            event.ignore()
            return
        event.accept()
        if event.isStart() or self._drag is None:
            near = self._at(6) - self._at(0)
            self._drag = Brush.grab(self.window, self._at(event.buttonDownPos().x()), near)
        self.brushed.emit(self._drag.moved(self._at(event.pos().x()), self.passes))
        if event.isFinish():
            self._drag = None

    def mouseClickEvent(self, event: MouseClickEvent) -> None:  # noqa: N802
        """Clear the brush on a double click."""
        if event.double() and event.button() == Qt.MouseButton.LeftButton:
            event.accept()
            self.brushed.emit(None)

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Draw the strip with the brush, and pass numbers where there is room."""
        width = self.size().width()
        painter.fillRect(QRectF(0, 2, width, STRIP - 2), self.theme.color("raised"))
        if self.window is not None:
            left, right = self._x(self.window[0]), self._x(self.window[1])
            painter.fillRect(QRectF(left, 2, max(right - left, 2), STRIP - 2), self.theme.color("accent"))
            painter.setBrush(self.theme.color("surface"))
            painter.setPen(self.theme.color("accent"))
            for x in (left, right):
                painter.drawRoundedRect(QRectF(x - 3, 1, 6, STRIP), 2, 2)
        self._numbers(painter, width)
        if self._bands.labels.labels:
            left, right = self._view.viewRange()[0]
            self._bands.paint(painter, self.theme, (left, right), width, BOTTOM_HEIGHT)
        if self.marked is not None:
            self._arrow(painter, self._x(self.marked + 0.5), "text")
        if self.cursor is not None:
            self._arrow(painter, self._x(self.cursor + 0.5), "accent")

    def _numbers(self, painter: QPainter, width: float) -> None:
        left, right = self._view.viewRange()[0]
        metrics = QFontMetrics(painter.font())
        widest = metrics.horizontalAdvance(f"{self.passes:,}") + 18
        step = tick_step(width / max(right - left, 1e-9), widest)
        title, texts, scale = "pass", self._texts, width / max(right - left, 1e-9)
        texts.set_font(painter.font())
        room = metrics.horizontalAdvance(title) + 10
        numbers = range(max(ceil(left / step), 0) * step, min(int(right) + 1, self.passes), step)
        places = [(number, (number + 0.5 - left) * scale) for number in numbers]
        painter.setPen(self.theme.color("border"))
        painter.drawLines([QLineF(x, STRIP, x, STRIP + 3) for _, x in places])
        painter.setPen(self.theme.color("muted"))
        for number, x in places:
            text = f"{number:,}"
            half = texts.get(text)[1] / 2
            if x - half >= 0 and x + half <= width - room:
                texts.draw(painter, x, STRIP + 3, text, side=0.5)
        texts.draw(painter, width - 2, STRIP + 3, title, side=1)

    def _arrow(self, painter: QPainter, x: float, role: str) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.theme.color(role))
        painter.drawPolygon(QPolygonF([QPointF(x, 0), QPointF(x - 5, STRIP - 3), QPointF(x + 5, STRIP - 3)]))
