"""Live curves of balance: one plot a metric, a line a layer (or a band over many), on the waterfall's passes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyqtgraph.functions as fn
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QWidget

from moedesk.analysis.ring import ColumnRing
from moedesk.ui.curves_scale import bounds, ticks
from moedesk.ui.theme import Theme
from moedesk.ui.waterfall_axes import LEFT_WIDTH
from moedesk.ui.waterfall_scene import Scene

MANY = 16
"""With more layers than this a band is drawn: least, median and most over the layers."""
NO_VALUE = "–"


@dataclass(frozen=True)
class Curve:
    """What one plot shows.

    Attributes
    ----------
    place : int
        Which of the ring's ``balance`` values.
    title : str
    fixed : (float or None, float or None)
        Ends of the axis that don't follow the values.
    high_is_worse : bool
        Whether the largest or the smallest value is the least even.
    """

    place: int
    title: str
    fixed: tuple[float | None, float | None] = (0.0, None)
    high_is_worse: bool = True


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
        self.setMouseTracking(True)
        self.setMinimumHeight(60)
        self.setAccessibleName("Curves of balance")

    def show_curves(self, curves: Sequence[Curve]) -> None:
        """Choose the plots, one above the other."""
        self.curves = tuple(curves)
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.update()

    @property
    def hidden(self) -> int:
        """How many plots there is no room for."""
        least = 2.6 * self.fontMetrics().height()
        return len(self.curves) - max(min(len(self.curves), int(self.height() // least)), 1) if self.curves else 0

    def plots(self) -> list[tuple[Curve, QRectF]]:
        """Return the area of each plot."""
        line = self.fontMetrics().height()
        shown = self.curves[: len(self.curves) - self.hidden]
        height = self.height() / max(len(shown), 1)
        width = max(self.width() - LEFT_WIDTH - 8, 1)
        return [
            (curve, QRectF(LEFT_WIDTH, number * height + line + 3, width, max(height - line - 7, 8)))
            for number, curve in enumerate(shown)
        ]

    def columns(self) -> tuple[ColumnRing | None, int, int]:
        """Return the ring and which of its columns are in view."""
        scene, ring = self._scene, self._scene.ring
        if ring is None or not len(ring):
            return None, 0, 0
        first = max(int(scene.viewport.left // scene.passes), ring.first)
        return ring, first, max(min(-int(-scene.viewport.right // scene.passes), ring.last), first)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw every plot."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._scene.theme.color("surface"))
        ring, first, last = self.columns()
        titles = []
        for curve, area in self.plots():
            empty = np.zeros((0, 0), np.float32)
            values = ring.get("balance", first, last)[curve.place] if ring is not None else empty
            band = ring.get("band", first, last)[curve.place] if ring is not None else empty
            titles.append((self._title(curve, values, last), area))
            low, high = bounds(band, curve.fixed)
            self._axis(painter, area, low, high)
            if values.size:
                painter.save()
                painter.setClipRect(area.adjusted(0, -1, 0, 1))
                self._draw(painter, curve, area, (values, band), self._xs(first, last), (low, high))
                painter.restore()
        self._shade(painter)
        if self.hidden:
            titles[-1] = (f"{titles[-1][0]}   ({self.hidden} more: make room below, or choose one)", titles[-1][1])
        for title, area in titles:
            painter.setPen(self._scene.theme.color("text"))
            room = int(area.right()) - 6
            text = self.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, room)
            painter.drawText(QPointF(6, area.top() - 6), text)
        self._marks(painter)
        painter.end()

    def _xs(self, first: int, last: int) -> npt.NDArray[np.floating]:
        """Return where the middles of columns lie."""
        scene = self._scene
        middles = (np.arange(first, last) + 0.5) * scene.passes
        view, ratio = scene.viewport, self.devicePixelRatioF()
        return (view.width - (view.right - middles) * view.per_pass) / ratio + LEFT_WIDTH

    def _title(self, curve: Curve, values: npt.NDArray[np.float32], last: int) -> str:
        """Return the title with the values of the last column in view, or of the one at the replay cursor."""
        at = values.shape[-1] - 1
        if self._scene.cursor is not None:
            at = min(at, self._scene.cursor // self._scene.passes - (last - values.shape[-1]))
        newest = values[:, at] if values.size and at >= 0 else np.zeros(0, np.float32)
        known = np.isfinite(newest)
        if not known.any():
            return curve.title
        worst = self._worst(curve, newest)
        parts = [f"median {np.median(newest[known]):.2f}"] if len(newest) > 1 else []
        parts.append(f"least even: L{worst} {newest[worst]:.2f}" if len(newest) > 1 else f"{newest[worst]:.2f}")
        marked = self._scene.marked
        if marked is not None and marked[0] < len(newest) and marked[0] != worst and known[marked[0]]:
            parts.append(f"L{marked[0]} {newest[marked[0]]:.2f}")
        first = (last - values.shape[-1] + at) * self._scene.passes
        end = min(first + self._scene.passes, self._scene.end)
        passes = f"pass {first:,}" if end - first == 1 else f"passes {first:,}–{end - 1:,}"
        return f"{curve.title}   {passes}: {' · '.join(parts)}"

    @staticmethod
    def _worst(curve: Curve, values: npt.NDArray[np.float32]) -> int:
        return int(np.nanargmax(values) if curve.high_is_worse else np.nanargmin(values))

    def _axis(self, painter: QPainter, area: QRectF, low: float, high: float) -> None:
        theme, line = self._scene.theme, self.fontMetrics().height()
        for value in ticks(low, high, int(area.height() / (line + 4)) + 1):
            y = area.bottom() - (value - low) / (high - low) * area.height()
            painter.setPen(theme.color("grid"))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(theme.color("muted"))
            top = min(max(y - line / 2, area.top() - 2), area.bottom() - line + 3)  # clear of the titles
            box = QRectF(0, top, LEFT_WIDTH - 6, line)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{value:g}")

    def _draw(
        self,
        painter: QPainter,
        curve: Curve,
        area: QRectF,
        data: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
        xs: npt.NDArray[np.floating],
        ends: tuple[float, float],
    ) -> None:
        theme, marked = self._scene.theme, self._scene.marked
        values, band = data

        def y(of: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
            return area.bottom() - (of.astype(np.float64) - ends[0]) / (ends[1] - ends[0]) * area.height()

        layers = len(values)
        if layers <= MANY:
            for layer in range(layers):
                self._line(painter, xs, y(values[layer]), theme.expert_color(layer))
        else:
            self._band(painter, xs, y(band))
            newest = values[:, -1]
            if np.isfinite(newest).any():
                self._line(painter, xs, y(values[self._worst(curve, newest)]), theme.color("error"))
        if marked is not None and marked[0] < layers:
            self._line(painter, xs, y(values[marked[0]]), theme.color("text"))

    def _band(self, painter: QPainter, xs: npt.NDArray[np.floating], ys: npt.NDArray[np.floating]) -> None:
        covered = np.isfinite(ys[0])
        x, (least, median, most) = xs[covered], ys[:, covered]
        if not len(x):
            return
        fill = QColor(self._scene.theme.color("accent"))
        fill.setAlpha(60)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(fill)
        outline = np.concatenate((x, x[::-1])), np.concatenate((least, most[::-1]))
        painter.drawPolygon(fn.arrayToQPolygonF(*outline))
        self._line(painter, x, median, self._scene.theme.color("muted"))

    def _line(
        self, painter: QPainter, xs: npt.NDArray[np.floating], ys: npt.NDArray[np.floating], color: QColor
    ) -> None:
        painter.setPen(QPen(color, 0))  # one pixel: wider lines cost several times as much
        known = np.isfinite(ys)
        breaks = np.flatnonzero(np.diff(known.astype(np.int8))) + 1
        for run in np.split(np.arange(len(ys)), breaks):
            if len(run) and known[run[0]]:
                line: QPolygonF = fn.arrayToQPolygonF(xs[run], ys[run])
                if len(run) == 1:
                    painter.drawPoint(line.first())
                else:
                    painter.drawPolyline(line)

    def _shade(self, painter: QPainter) -> None:
        """Dim what lies outside the brush and after the replay cursor."""
        scene, ratio = self._scene, self.devicePixelRatioF()
        first, last = scene.window or (0, scene.end)
        shown = last if scene.cursor is None else min(last, scene.cursor + 1)
        color = QColor(scene.theme.color("surface"))
        color.setAlpha(170)
        left, right = (scene.viewport.x(number) / ratio + LEFT_WIDTH for number in (first, shown))
        painter.fillRect(QRectF(QPointF(LEFT_WIDTH, 0), QPointF(max(left, LEFT_WIDTH), self.height())), color)
        painter.fillRect(QRectF(QPointF(max(right, LEFT_WIDTH), 0), QPointF(self.width(), self.height())), color)

    def _marks(self, painter: QPainter) -> None:
        scene, ratio = self._scene, self.devicePixelRatioF()
        for number, role, style in (
            (scene.marked_pass, "text", Qt.PenStyle.DotLine),
            (scene.cursor, "accent", Qt.PenStyle.SolidLine),
        ):
            if number is not None:
                x = scene.viewport.x(number + 0.5) / ratio + LEFT_WIDTH
                if LEFT_WIDTH <= x <= self.width() - 8:
                    painter.setPen(QPen(scene.theme.color(role), 0, style))
                    painter.drawLine(QPointF(x, 0), QPointF(x, self.height()))
        if self._pointer is not None and self._pointer.x() >= LEFT_WIDTH:
            painter.setPen(QPen(scene.theme.color("muted"), 0))
            painter.drawLine(QPointF(self._pointer.x(), 0), QPointF(self._pointer.x(), self.height()))

    def point_at(self, position: QPointF) -> CurvePoint | None:
        """Return what the plots show at a point of this widget."""
        ring, first, last = self.columns()
        number = self._scene.viewport.pass_at((position.x() - LEFT_WIDTH) * self.devicePixelRatioF())
        column = int(number // self._scene.passes)
        if ring is None or not first <= column < last or position.x() < LEFT_WIDTH:
            return None
        for curve, area in self.plots():
            if area.top() - self.fontMetrics().height() <= position.y() <= area.bottom() + 4:
                low, high = bounds(ring.get("band", first, last)[curve.place], curve.fixed)
                values = ring["balance"][curve.place, :, column % ring.capacity]
                wanted = low + (area.bottom() - position.y()) / area.height() * (high - low)
                distance = np.where(np.isfinite(values), np.abs(values - wanted), np.inf)
                layer = int(np.argmin(distance)) if np.isfinite(distance).any() else None
                passes = column * self._scene.passes, min((column + 1) * self._scene.passes, self._scene.end)
                return CurvePoint(curve, passes, values, layer, int(ring["window"][column % ring.capacity]))
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
