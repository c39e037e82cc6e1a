"""Lines with a name, a bar and a number: what is largest, and by how much."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QToolTip, QWidget

from moedesk.ui.bar import Bar
from moedesk.ui.lines import Lines

PAD = 6


class RankedBars(Lines):
    """Draws ``Bar`` lines; a click, or Enter on the line chosen with the arrow keys, names its key through ``picked``.

    Parameters
    ----------
    mono : bool
        Whether names are tokens, written in the fixed-width font.
    """

    picked = Signal(object)

    def __init__(self, title: str, mono: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(title, width=260, least=120, room=5, parent=parent)
        self.bars: tuple[Bar, ...] = ()
        self.mark: float | None = None
        self._mono = mono
        self._current = -1
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def set_bars(self, bars: Sequence[Bar], mark: float | None = None) -> None:
        """Draw other lines, with a dashed line at ``mark`` (0 to 1), such as what chance gives."""
        taller = len(bars) != len(self.bars)
        self.bars, self.mark, self._current = tuple(bars), mark, -1
        if taller:
            self.updateGeometry()
        self.update()

    @property
    def count(self) -> int:
        """Number of bars."""
        return len(self.bars)

    def track(self, line: int) -> QRectF:
        """Return the area in which a line's bar grows from left to right."""
        names, values = self._widths()
        top = line * self.line_height
        left = names + PAD
        return QRectF(left, top + 3, max(1.0, self.width() - left - values - PAD), self.line_height - 6)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the lines."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        for line in range(len(self.bars)):
            self._draw_line(painter, line)
        if self.mark is not None and self.bars:
            first, last = self.track(0), self.track(len(self.bars) - 1)
            x = first.left() + self.mark * first.width()
            painter.setPen(QPen(self.theme.color("text"), 1, Qt.PenStyle.DashLine))
            painter.drawLine(QLineF(x, first.top() - 2, x, last.bottom() + 2))

    def _draw_line(self, painter: QPainter, line: int) -> None:
        bar, track = self.bars[line], self.track(line)
        row = QRectF(0, line * self.line_height, self.width(), self.line_height)
        if line == self._current:
            painter.fillRect(row, self.theme.color("hover"))
        names, _ = self._widths()
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.setFont(self.theme.mono_font if self._mono else self.font())
        painter.setPen(self.theme.color("text"))
        name = painter.fontMetrics().elidedText(bar.name, Qt.TextElideMode.ElideRight, int(names))
        painter.drawText(QRectF(0, row.top(), names, row.height()), middle, name)
        painter.setFont(self.font())
        painter.drawText(row, middle | Qt.AlignmentFlag.AlignRight, bar.value)
        if bar.length is None:
            return
        fill = self.theme.color("accent") if bar.expert is None else self.theme.expert_color(bar.expert)
        painter.fillRect(track, self.theme.color("grid"))
        painter.fillRect(QRectF(track.left(), track.top(), track.width() * min(1.0, bar.length), track.height()), fill)
        if bar.interval is not None:
            self._draw_interval(painter, track, bar.interval, self.theme.color("text"))

    def _draw_interval(self, painter: QPainter, track: QRectF, ends: tuple[float, float], color: QColor) -> None:
        painter.setPen(QPen(color, 1))
        low, high = (track.left() + min(1.0, end) * track.width() for end in ends)
        y = track.center().y()
        painter.drawLine(QLineF(low, y, high, y))
        for x in (low, high):
            painter.drawLine(QLineF(x, y - 3, x, y + 3))

    def _widths(self) -> tuple[float, float]:
        """Room for names and for values."""
        metrics = self.fontMetrics()
        values = max((metrics.horizontalAdvance(bar.value) for bar in self.bars), default=0) + PAD
        if all(bar.length is None for bar in self.bars):
            return max(1.0, self.width() - values - PAD), values
        wide = metrics.averageCharWidth() * (1.3 if self._mono else 1.0)
        longest = max((len(bar.name) for bar in self.bars), default=0)
        return min(self.width() * 0.4, max(metrics.horizontalAdvance("0" * 4), (longest + 1) * wide)), values

    def event(self, event: QEvent) -> bool:
        """Say what the line under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            line = self.line_at(QPointF(event.pos()))
            QToolTip.showText(event.globalPos(), self.bars[line].hint if line >= 0 else "", self)
            return True
        return super().event(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show what can be clicked."""
        line = self.line_at(event.position())
        can = line >= 0 and self.bars[line].key is not None
        self.setCursor(Qt.CursorShape.PointingHandCursor if can else Qt.CursorShape.ArrowCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Name what was clicked."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._pick(self.line_at(event.position()))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Walk over the lines with the arrow keys, take one with Enter."""
        step = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(Qt.Key(event.key()), 0)
        if step and self.bars:
            self._current = max(0, min(len(self.bars) - 1, self._current + step))
            QToolTip.showText(
                self.mapToGlobal(self.track(self._current).center().toPoint()), self.bars[self._current].hint, self
            )
            self.update()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._pick(self._current)
        else:
            super().keyPressEvent(event)

    def _pick(self, line: int) -> None:
        if line >= 0 and self.bars[line].key is not None:
            self.picked.emit(self.bars[line].key)
