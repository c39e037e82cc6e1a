"""A bar a expert: its load ÷ the uniform share."""

from math import ceil, floor, log10

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QBrush, QColor, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.panels.elements.model_load import Bars
from moedesk.ui.theme import LIGHT, Theme

_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 20, 34


class LoadChart(QWidget):
    """Draws ``Bars``; a click, or Enter on the bar chosen with the arrow keys, names the expert through ``picked``."""

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.bars: Bars | None = None
        self.expert = -1
        self._cursor = -1
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Load of each expert")
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a wide, low area."""
        return QSize(420, 220)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return what axis and labels need."""
        return QSize(200, 150)

    def set_bars(self, bars: Bars | None, expert: int) -> None:
        """Draw other bars, ``expert`` (-1 for none) marked."""
        self.bars, self.expert = bars, expert
        self._cursor = -1
        self.update()

    def bar_at(self, place: QPointF) -> int:
        """Return the bar under a point, or -1."""
        area = self._area()
        if self.bars is None or not area.left() <= place.x() < area.right():
            return -1
        return min(len(self.bars.experts) - 1, int((place.x() - area.left()) / self._width()))

    def bar_rect(self, bar: int) -> QRectF:
        """Return where a bar is drawn, at least a pixel wide; of an expert without load, the whole height."""
        assert self.bars is not None
        area, width = self._area(), self._width()
        gap = min(2.0, width * 0.2) if width >= 3 else 0.0
        left = area.left() + bar * width
        top = self._y(float(self.bars.ratios[bar])) if self.bars.counts[bar] else area.top()
        return QRectF(left + gap / 2, top, max(width - gap, 1.0), area.bottom() - top)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw axis, bars, the line at 1."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        if self.bars is None:
            return
        self._draw_axis(painter)
        self._draw_bars(painter)
        self._draw_labels(painter)
        area, one = self._area(), self._y(1)
        painter.setPen(QPen(self.theme.color("text"), 1, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(area.left(), one), QPointF(area.right(), one))

    def event(self, event: QEvent) -> bool:
        """Say what the bar under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            bar = self.bar_at(QPointF(event.pos()))
            if self.bars is None or bar < 0:
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), self.bars.hint(bar), self)
            return True
        return super().event(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show that a bar can be clicked."""
        over = self.bar_at(event.position()) >= 0
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Name the expert."""
        bar = self.bar_at(event.position())
        if event.button() == Qt.MouseButton.LeftButton and self.bars is not None and bar >= 0:
            self.picked.emit(int(self.bars.experts[bar]))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Walk over the bars with the arrow keys, take one with Enter."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()), 0)
        if self.bars is None or not (step or event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)):
            super().keyPressEvent(event)
        elif step:
            start = self._cursor if self._cursor >= 0 else self._marked_bar()
            self._cursor = max(0, min(len(self.bars.experts) - 1, start + step))
            QToolTip.showText(
                self.mapToGlobal(self.bar_rect(self._cursor).center().toPoint()), self.bars.hint(self._cursor), self
            )
            self.update()
        elif self._cursor >= 0:
            self.picked.emit(int(self.bars.experts[self._cursor]))

    def _marked_bar(self) -> int:
        assert self.bars is not None
        found = (self.bars.experts == self.expert).nonzero()[0]
        return int(found[0]) if len(found) else -1

    def _area(self) -> QRectF:
        return QRectF(self.rect()).adjusted(_LEFT, _TOP, -_RIGHT, -_BOTTOM)

    def _width(self) -> float:
        assert self.bars is not None
        return self._area().width() / len(self.bars.experts)

    def _y(self, ratio: float) -> float:
        assert self.bars is not None
        area = self._area()
        return area.bottom() - area.height() * ratio / self.bars.top

    def _draw_axis(self, painter: QPainter) -> None:
        assert self.bars is not None
        area = self._area()
        step = _nice_step(self.bars.top, max(2, int(area.height() / 36)))
        for number in range(floor(self.bars.top / step) + 1):
            y = self._y(number * step)
            painter.setPen(self.theme.color("grid"))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(self.theme.color("muted"))
            label = QRectF(0, y - 10, _LEFT - 6, 20)
            painter.drawText(label, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{number * step:g}×")
        painter.drawText(QRectF(4, 0, self.width() - 8, _TOP), Qt.AlignmentFlag.AlignVCenter, "Load ÷ uniform share")
        even = QRectF(4, 0, self.width() - 8 - _RIGHT, _TOP)
        painter.drawText(even, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, "– – 1 = uniform")

    def _draw_bars(self, painter: QPainter) -> None:
        assert self.bars is not None
        marked = self._marked_bar()
        hatch = QBrush(self.theme.color("muted"), Qt.BrushStyle.BDiagPattern)
        experts, counts = self.bars.experts.tolist(), self.bars.counts.tolist()
        for bar in sorted(range(len(experts)), key=lambda bar: counts[bar] > 0):  # no hatch over a neighbour's bar
            fill = self.theme.expert_color(experts[bar]) if counts[bar] else hatch
            painter.fillRect(self.bar_rect(bar), fill)
        for bar, role in ((marked, "text"), (self._cursor, "focus")):
            if bar >= 0:
                rect = self.bar_rect(bar)
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(QPen(self.theme.color(role), 2))
                painter.drawRect(rect.adjusted(-1, -1, 1, 0))

    def _draw_labels(self, painter: QPainter) -> None:
        """Write expert numbers below the bars, as many as there is room for, the marked one always."""
        assert self.bars is not None
        area, experts, metrics = self._area(), self.bars.experts.tolist(), self.fontMetrics()
        width = metrics.horizontalAdvance(str(max(experts))) + 8
        step = max(1, ceil(width / self._width()))
        marked = self._marked_bar()
        taken = QRectF()
        places = ([marked] if marked >= 0 else []) + list(range(0, len(experts), step))
        for bar in places:
            centre = area.left() + (bar + 0.5) * self._width()
            box = QRectF(centre - width / 2, area.bottom() + 1, width, metrics.height())
            if bar != marked and box.intersects(taken):
                continue
            idle = self.bars.counts[bar] == 0
            taken = box if bar == marked else taken
            font = self.font()
            font.setBold(bar == marked)
            painter.setFont(font)
            painter.setPen(_label_color(self.theme, bar == marked, idle))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, str(experts[bar]))
        painter.setFont(self.font())
        painter.setPen(self.theme.color("muted"))
        crowded = self._width() < 1
        text = "Expert (more than one a pixel: the highest is seen)" if crowded else "Expert"
        if (self.bars.counts == 0).any():
            text += " · hatched: no slot"
        below = QRectF(area.left(), area.bottom() + metrics.height(), area.width(), metrics.height() + 2)
        painter.drawText(
            below,
            Qt.AlignmentFlag.AlignCenter,
            metrics.elidedText(text, Qt.TextElideMode.ElideRight, int(area.width())),
        )


def _label_color(theme: Theme, marked: bool, idle: bool) -> QColor:
    return theme.color("text" if marked else "error" if idle else "muted")


def _nice_step(top: float, lines: int) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that needs no more than ``lines`` lines up to ``top``."""
    rough = top / lines
    power = 10 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
