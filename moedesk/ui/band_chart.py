"""A share over time: a line of steps with the band of its interval, and a dashed line for an even share."""

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.ui.band import Band
from moedesk.ui.theme import LIGHT, Theme

LEFT, RIGHT, TOP, BOTTOM = 58, 8, 8, 20

Floats = npt.NDArray[np.float64]


class BandChart(QWidget):
    """Draws a ``Band``; a click names the passes of a block through ``picked`` (first, last, end excluded)."""

    picked = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.band: Band | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setAccessibleName("Share over time")
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def set_band(self, band: Band | None) -> None:
        """Draw another share."""
        self.band = band
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.theme = theme
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a wide, low area."""
        return QSize(320, 130)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return what axis and labels need."""
        return QSize(160, 130)

    def block_at(self, place: QPointF) -> int:
        """Return the block at a point, or -1."""
        area = self._area()
        if self.band is None or not len(self.band.values) or not area.left() <= place.x() < area.right():
            return -1
        first, last = int(self.band.edges[0]), int(self.band.edges[-1])
        passed = first + (place.x() - area.left()) / area.width() * (last - first)
        return min(int(np.searchsorted(self.band.edges, passed, "right")) - 1, len(self.band.values) - 1)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw axis, band, steps, the line of an even share."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        if self.band is None or not len(self.band.values):
            return
        self._draw_axis(painter, self.band)
        self._draw_steps(painter, self.band)
        area, even = self._area(), self._y(self.band.even)
        painter.setPen(QPen(self.theme.color("text"), 1, Qt.PenStyle.DashLine))
        painter.drawLine(QLineF(area.left(), even, area.right(), even))

    def _draw_axis(self, painter: QPainter, band: Band) -> None:
        area = self._area()
        painter.setPen(self.theme.color("grid"))
        for value in (0.0, band.top / 2, band.top):
            painter.drawLine(QLineF(area.left(), self._y(value), area.right(), self._y(value)))
        painter.setPen(self.theme.color("muted"))
        side = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for value in (0.0, band.top / 2, band.top):
            painter.drawText(QRectF(0, self._y(value) - 9, LEFT - 5, 18), side, f"{100 * value:.3g} %")
        below = QRectF(area.left(), area.bottom() + 2, area.width(), BOTTOM - 2)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, f"pass {int(band.edges[0]):,}")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{int(band.edges[-1]) - 1:,}")

    def _draw_steps(self, painter: QPainter, band: Band) -> None:
        color = self.theme.expert_color(band.expert)
        soft = QColor(color)
        soft.setAlpha(90)
        painter.setClipRect(self._area())
        xs = self._xs(band)
        before: QPointF | None = None
        for block in range(len(band.values)):
            if not np.isfinite(band.values[block]):
                before = None
                continue
            low, high, y = (self._y(float(of[block])) for of in (band.low, band.high, band.values))
            left, right = xs[block], xs[block + 1]
            painter.fillRect(QRectF(left, high, right - left, low - high), soft)
            painter.setPen(QPen(self.theme.color("text"), 1.5))
            if before is not None:
                painter.drawLine(QLineF(before, QPointF(left, y)))
            painter.drawLine(QLineF(left, y, right, y))
            before = QPointF(right, y)
        painter.setClipping(False)

    def event(self, event: QEvent) -> bool:
        """Say what the block under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            block = self.block_at(QPointF(event.pos()))
            text = self.band.hints[block] if self.band is not None and block >= 0 else ""
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Name the block's passes."""
        block = self.block_at(event.position())
        if self.band is not None and block >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(int(self.band.edges[block]), int(self.band.edges[block + 1]))

    def _area(self) -> QRectF:
        return QRectF(self.rect()).adjusted(LEFT, TOP, -RIGHT, -BOTTOM)

    def _xs(self, band: Band) -> list[float]:
        area = self._area()
        places = (band.edges - band.edges[0]) / max(1, int(band.edges[-1] - band.edges[0]))
        return [float(x) for x in area.left() + places * area.width()]

    def _y(self, value: float) -> float:
        assert self.band is not None
        area = self._area()
        return area.bottom() - value / self.band.top * area.height()
