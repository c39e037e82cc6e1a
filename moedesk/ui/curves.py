"""Live curves of balance: one plot a metric, a line a layer (or a band over many), on the waterfall's passes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from moedesk.ui.curves_plot import Curve, Plot
from moedesk.ui.static_texts import StaticTexts
from moedesk.ui.waterfall_axes import LEFT_WIDTH
from moedesk.ui.waterfall_scene import Scene

RIGHT = 8  # margin
ROOM = 2.6
"""Lines of text that a plot needs at least."""


@dataclass(frozen=True)
class CurvePoint:
    """What is pointed at.

    Attributes
    ----------
    curve : Curve
    passes : tuple of int
        The column's passes, end excluded.
    values : (L,) float32
    layer : int or None
        The layer whose line is nearest.
    window : int
        Passes that the values are over.
    """

    curve: Curve
    passes: tuple[int, int]
    values: npt.NDArray[np.float32]
    layer: int | None
    window: int


class CurvesView(QWidget):
    """Draws the ``balance`` of a waterfall's ring below it; it reads no data itself.

    Signals
    -------
    hovered : CurvePoint or None
    picked : CurvePoint
    """

    hovered = Signal(object)
    picked = Signal(object)

    def __init__(self, scene: Scene, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = scene
        self.curves: tuple[Curve, ...] = ()
        self._pointer: QPointF | None = None
        self._texts = StaticTexts()
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMinimumHeight(60)
        self.setAccessibleName("Curves of balance")

    def show_curves(self, curves: Sequence[Curve]) -> None:
        """Choose the plots, one above the other."""
        self.curves = tuple(curves)
        self.update()

    @property
    def hidden(self) -> int:
        """How many plots there is no room for."""
        room = int(self.height() // (ROOM * self.fontMetrics().height()))
        return len(self.curves) - max(min(len(self.curves), room), 1) if self.curves else 0

    def plots(self) -> list[Plot]:
        """Return what is drawn; nothing without columns in view."""
        scene, ring = self._scene, self._scene.ring
        if ring is None or not len(ring):
            return []
        first = max(int(scene.viewport.left // scene.passes), ring.first)
        last = min(-int(-scene.viewport.right // scene.passes), ring.last)
        if first >= last:
            return []
        line = self.fontMetrics().height()
        shown = self.curves[: len(self.curves) - self.hidden]
        height = self.height() / max(len(shown), 1)
        width = max(self.width() - LEFT_WIDTH - RIGHT, 1)
        areas = (
            QRectF(LEFT_WIDTH, number * height + line + 3, width, max(height - line - 7, 8))
            for number in range(len(shown))
        )
        ratio = self.devicePixelRatioF()
        return [Plot(curve, area, scene, ring, first, last, ratio) for curve, area in zip(shown, areas, strict=True)]

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw every plot."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._scene.theme.color("surface"))
        self._texts.set_font(self.font())
        plots = self.plots()
        for plot in plots:
            plot.paint(painter, self.fontMetrics(), self._texts)
        self._shade(painter)
        painter.setPen(self._scene.theme.color("text"))
        for plot in plots:
            title = plot.title
            if plot is plots[-1] and self.hidden:
                title = f"({self.hidden} more: make room below, or choose one)   {title}"
            text = self.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, int(plot.area.right()) - 6)
            painter.drawText(QPointF(6, plot.area.top() - 6), text)
        self._marks(painter)
        painter.end()

    def _x(self, number: float) -> float:
        return self._scene.viewport.x(number) / self.devicePixelRatioF() + LEFT_WIDTH

    def _shade(self, painter: QPainter) -> None:
        """Dim what lies outside the brush and after the replay cursor."""
        scene, height = self._scene, self.height()
        if scene.window is None and scene.cursor is None:
            return
        first, last = scene.window or (0, scene.end)
        shown = last if scene.cursor is None else min(last, scene.cursor + 1)
        color = QColor(scene.theme.color("surface"))
        color.setAlpha(170)
        left, right = max(self._x(first), LEFT_WIDTH), max(self._x(shown), LEFT_WIDTH)
        painter.fillRect(QRectF(LEFT_WIDTH, 0, left - LEFT_WIDTH, height), color)
        painter.fillRect(QRectF(right, 0, max(self.width() - right, 0), height), color)

    def _marks(self, painter: QPainter) -> None:
        scene = self._scene
        for number, role, style in (
            (scene.marked_pass, "text", Qt.PenStyle.DotLine),
            (scene.cursor, "accent", Qt.PenStyle.SolidLine),
        ):
            if number is not None and LEFT_WIDTH <= (x := self._x(number + 0.5)) <= self.width() - RIGHT:
                painter.setPen(QPen(scene.theme.color(role), 0, style))
                painter.drawLine(QPointF(x, 0), QPointF(x, self.height()))
        if self._pointer is not None and self._pointer.x() >= LEFT_WIDTH:
            painter.setPen(QPen(scene.theme.color("muted"), 0))
            painter.drawLine(QPointF(self._pointer.x(), 0), QPointF(self._pointer.x(), self.height()))

    def point_at(self, position: QPointF) -> CurvePoint | None:
        """Return what the plots show at a point of this widget."""
        scene = self._scene
        number = scene.viewport.pass_at((position.x() - LEFT_WIDTH) * self.devicePixelRatioF())
        column = int(number // scene.passes)
        for plot in self.plots():
            above = plot.area.top() - self.fontMetrics().height()
            inside = position.x() >= LEFT_WIDTH and above <= position.y() <= plot.area.bottom() + 4
            if inside and plot.first <= column < plot.last:
                values = plot.at(column).copy()
                distance = np.abs(values - plot.value_at(position.y()))
                layer = int(np.nanargmin(distance)) if np.isfinite(distance).any() else None
                passes = column * scene.passes, min((column + 1) * scene.passes, scene.end)
                window = int(plot.ring["window"][column % plot.ring.capacity])
                return CurvePoint(plot.curve, passes, values, layer, window)
        return None

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Report what is pointed at."""
        self._pointer = event.position()
        self.hovered.emit(self.point_at(event.position()))
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Report a click."""
        point = self.point_at(event.position())
        if point is not None and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(point)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Nothing is pointed at any more."""
        self._pointer = None
        self.hovered.emit(None)
        self.update()
