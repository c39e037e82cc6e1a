"""The axes of a waterfall: layers and experts at the left, passes and the brush at the bottom."""

from math import ceil

from PySide6.QtCore import QLineF, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPolygonF
from PySide6.QtWidgets import QWidget

from moedesk.ui.heatmap_axes import tick_step
from moedesk.ui.heatmap_brush import Brush
from moedesk.ui.override_marks import draw_diamonds, layer_text
from moedesk.ui.static_texts import StaticTexts
from moedesk.ui.waterfall_scene import Scene

LEFT_WIDTH = 66
BOTTOM_HEIGHT = 32
STRIP = 11  # height of the brush strip
ARROW = 5


class RowAxis(QWidget):
    """Layer and expert numbers beside the rows."""

    def __init__(self, scene: Scene, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = scene
        self.setFixedWidth(LEFT_WIDTH)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw as many numbers as there is room for."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._scene.theme.color("surface"))
        if self._scene.rows.layers:
            taken = self._mark_at()
            self._layers(painter, taken)
            scene = self._scene
            draw_diamonds(painter, scene.theme, scene.overridden, scene.rows, self._y, LEFT_WIDTH)
            self._mark(painter, taken)
        painter.end()

    def _y(self, row: float) -> float:
        return self._scene.y(row) / self.devicePixelRatioF()

    def _layers(self, painter: QPainter, taken: float | None) -> None:
        rows, (top, bottom) = self._scene.rows, self._scene.viewport.rows
        line = self.fontMetrics().height()
        lowest = taken_until = -float(line)
        for layer in range(rows.layer_at(top), rows.layer_at(bottom - 1) + 1):
            start, stop = rows.span(layer)
            high, low = self._y(max(start, top)), self._y(min(stop, bottom))
            if low - high >= 8:
                painter.setPen(self._scene.theme.color("border"))
                painter.drawLine(QPointF(6, low), QPointF(LEFT_WIDTH, low))
            middle = min(max((high + low) / 2, line / 2), self.height() - line / 2)
            if middle - lowest >= line + 1 and (taken is None or abs(middle - taken) >= line or low - high > 3 * line):
                self._text(painter, 4, middle, layer_text(layer, self._scene.overridden), "text")
                lowest = middle
            taken_until = max(taken_until, self._experts(painter, layer, (high, low), taken))

    def _experts(self, painter: QPainter, layer: int, band: tuple[float, float], taken: float | None) -> float:
        start, stop = self._scene.rows.span(layer)
        top, bottom = self._scene.viewport.rows
        first, last = max(start, top), min(stop, bottom)
        line = self.fontMetrics().height()
        scale = (band[1] - band[0]) / (last - first)
        step = tick_step(scale, line)
        if step * 2 > stop - start:
            return band[0]
        for expert in range(-(-(first - start) // step) * step, last - start, step):
            y = self._y(start + expert) + scale / 2
            inside = band[0] + line / 2 - 1 <= y <= band[1] - line / 2 + 1 or scale >= line
            if inside and (taken is None or abs(y - taken) >= line):
                self._text(painter, 0, y, str(expert), "muted", right=True)
        return band[1]

    def _mark_at(self) -> float | None:
        """Return where the mark of the selection lies; None without one in view."""
        marked, (top, bottom) = self._scene.marked, self._scene.viewport.rows
        if marked is None or marked[0] >= self._scene.rows.layers:
            return None
        start, stop = self._scene.rows.span(marked[0])
        if marked[1] is not None:
            start, stop = start + marked[1], start + marked[1] + 1
        start, stop = max(start, top), min(stop, bottom)
        return (self._y(start) + self._y(stop)) / 2 if start < stop else None

    def _mark(self, painter: QPainter, y: float | None) -> None:
        if y is None or self._scene.marked is None:
            return
        layer, expert = self._scene.marked
        label = f"L{layer}" if expert is None else f"L{layer}·{expert}"
        line, width = self.fontMetrics().height(), self.fontMetrics().horizontalAdvance(label) + 8
        edge = LEFT_WIDTH - 7
        box = QRectF(edge - width, min(max(y - line / 2, 0), self.height() - line), width, line)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._scene.theme.color("accent"))
        painter.drawRoundedRect(box, 3, 3)
        painter.drawPolygon(QPolygonF([QPointF(edge, y - ARROW), QPointF(LEFT_WIDTH, y), QPointF(edge, y + ARROW)]))
        painter.setPen(self._scene.theme.color("accent_text"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, label)

    def _text(self, painter: QPainter, left: float, y: float, text: str, role: str, right: bool = False) -> None:
        painter.setPen(self._scene.theme.color(role))
        side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
        line = self.fontMetrics().height()
        box = QRectF(left, y - line / 2, LEFT_WIDTH - left - 7, line)
        painter.drawText(box, side | Qt.AlignmentFlag.AlignVCenter, text)


class PassStrip(QWidget):
    """Pass numbers below the columns, under a strip to brush in.

    Signals
    -------
    brushed : (int, int) or None
        Passes first…last (end excluded) while the brush is dragged; None when it is cleared.
    """

    brushed = Signal(object)

    def __init__(self, scene: Scene, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = scene
        self._drag: Brush | None = None
        self._texts = StaticTexts()
        self.setFixedHeight(BOTTOM_HEIGHT)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setToolTip("Drag here to look at some passes only; drag an end to move it; double-click to see all again")
        self.setCursor(Qt.CursorShape.SizeHorCursor)

    def _x(self, number: float) -> float:
        return self._scene.viewport.x(number) / self.devicePixelRatioF()

    def _pass_at(self, x: float) -> float:
        return self._scene.viewport.pass_at(x * self.devicePixelRatioF())

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Begin, or take hold of, the brush."""
        if event.button() == Qt.MouseButton.LeftButton and self._scene.end:
            near = self._pass_at(6) - self._pass_at(0)
            self._drag = Brush.grab(self._scene.window, self._pass_at(event.position().x()), near)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Move or resize the brush."""
        if self._drag is not None:
            self.brushed.emit(self._drag.moved(self._pass_at(event.position().x()), self._scene.end))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Leave the brush as it is."""
        self._drag = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Clear the brush."""
        self.brushed.emit(None)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the strip with the brush, and pass numbers where there is room."""
        painter, theme, scene = QPainter(self), self._scene.theme, self._scene
        painter.fillRect(self.rect(), theme.color("surface"))
        left, right = max(self._x(0), 0.0), min(self._x(scene.end), float(self.width()))
        painter.fillRect(QRectF(left, 2, max(right - left, 0), STRIP - 2), theme.color("raised"))
        if scene.window is not None:
            first, last = self._x(scene.window[0]), self._x(scene.window[1])
            painter.fillRect(QRectF(first, 2, max(last - first, 2), STRIP - 2), theme.color("accent"))
            painter.setBrush(theme.color("surface"))
            painter.setPen(theme.color("accent"))
            for x in (first, last):
                painter.drawRoundedRect(QRectF(x - 3, 1, 6, STRIP), 2, 2)
        self._numbers(painter)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for number, role in ((scene.marked_pass, "text"), (scene.cursor, "accent")):
            if number is not None:
                x = self._x(number + 0.5)
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(theme.color(role))
                head = [QPointF(x, 0), QPointF(x - ARROW, STRIP - 3), QPointF(x + ARROW, STRIP - 3)]
                painter.drawPolygon(QPolygonF(head))
        painter.end()

    def _numbers(self, painter: QPainter) -> None:
        theme, metrics, end = self._scene.theme, self.fontMetrics(), self._scene.end
        texts, border, muted = self._texts, theme.color("border"), theme.color("muted")
        texts.set_font(self.font())
        room = metrics.horizontalAdvance("pass") + 8
        per_pass = self._scene.viewport.per_pass / self.devicePixelRatioF()
        step = tick_step(per_pass, metrics.horizontalAdvance(f"{end:,}") + 18)
        first, last = max(ceil(self._pass_at(0) / step), 0) * step, min(int(self._pass_at(self.width())) + 1, end)
        places = [(number, self._x(number + 0.5)) for number in range(first, last, step)]
        painter.setPen(border)
        painter.drawLines([QLineF(x, STRIP, x, STRIP + 3) for _, x in places])
        painter.setPen(muted)
        for number, x in places:
            text = f"{number:,}"
            half = texts.get(text)[1] / 2
            if x - half >= 0 and x + half <= self.width() - room:
                texts.draw(painter, x, STRIP + 3, text, side=0.5)
        texts.draw(painter, self.width() - 2, STRIP + 3, "pass", side=1)
