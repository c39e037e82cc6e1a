"""One plot of curves: its title, its axis, and a line a layer or a band over many."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyqtgraph.functions as fn
from PySide6.QtCore import QLineF, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPen, QPolygonF

from moedesk.analysis.ring import ColumnRing
from moedesk.ui.curves_scale import bounds, ticks
from moedesk.ui.static_texts import StaticTexts
from moedesk.ui.waterfall_axes import LEFT_WIDTH
from moedesk.ui.waterfall_scene import Scene

MANY = 16
"""With more layers than this a band is drawn: least, median and most over the layers."""

Floats = npt.NDArray[np.floating]


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
class Plot:
    """A curve over the columns first…last (end excluded) of a ring, in an area of a widget."""

    curve: Curve
    area: QRectF
    scene: Scene
    ring: ColumnRing
    first: int
    last: int
    ratio: float

    @cached_property
    def band(self) -> Floats:
        """(3, N) least, median and most of the layers."""
        return self.ring.get("band", self.first, self.last, self.curve.place)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest value of the axis."""
        return bounds(self.band, self.curve.fixed)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.ring["balance"].shape[1])

    def at(self, column: int) -> npt.NDArray[np.float32]:
        """Return (L,) values of a column."""
        values: npt.NDArray[np.float32] = self.ring["balance"][self.curve.place, :, column % self.ring.capacity]
        return values

    def y(self, values: Floats) -> Floats:
        """Return where values lie."""
        low, high = self.ends
        return self.area.bottom() - (np.asarray(values, np.float64) - low) / (high - low) * self.area.height()

    def value_at(self, y: float) -> float:
        """Return the value at a height."""
        low, high = self.ends
        return low + (self.area.bottom() - y) / self.area.height() * (high - low)

    @cached_property
    def xs(self) -> Floats:
        """Where the middles of the columns lie."""
        middles = (np.arange(self.first, self.last) + 0.5) * self.scene.passes
        view = self.scene.viewport
        return (view.width - (view.right - middles) * view.per_pass) / self.ratio + LEFT_WIDTH

    def worst(self, values: npt.NDArray[np.float32]) -> int:
        """Return the layer that is least even, of those that have a value."""
        keys = values if self.curve.high_is_worse else -values
        return int(np.where(np.isfinite(keys), keys, -np.inf).argmax())

    @property
    def title(self) -> str:
        """The curve's title, and the values of the last column in view, or of the one at the replay cursor."""
        column = self.last - 1
        if self.scene.cursor is not None:
            column = min(column, self.scene.cursor // self.scene.passes)
        newest = self.at(column)
        known = np.isfinite(newest)
        if column < self.first or not known.any():
            return self.curve.title
        worst = self.worst(newest)
        parts = [f"{newest[worst]:.2f}"]
        if len(newest) > 1:
            median = float(self.ring["band"][self.curve.place, 1, column % self.ring.capacity])
            parts = [f"median {median:.2f}", f"least even: L{worst} {newest[worst]:.2f}"]
        marked = self.scene.marked
        if marked is not None and marked[0] < len(newest) and marked[0] != worst and known[marked[0]]:
            parts.append(f"L{marked[0]} {newest[marked[0]]:.2f}")
        start = column * self.scene.passes
        stop = min(start + self.scene.passes, self.scene.end)
        passes = f"pass {start:,}" if stop - start == 1 else f"passes {start:,}–{stop - 1:,}"
        return f"{self.curve.title}   {passes}: {' · '.join(parts)}"

    def paint(self, painter: QPainter, metrics: QFontMetrics, texts: StaticTexts) -> None:
        """Draw axis and lines."""
        self._axis(painter, metrics, texts)
        painter.save()
        painter.setClipRect(self.area.adjusted(0, -1, 0, 1))
        theme, marked = self.scene.theme, self.scene.marked
        if self.layers <= MANY:
            for layer in range(self.layers):
                self._line(painter, layer, theme.expert_color(layer))
        else:
            self._paint_band(painter)
            newest = self.at(self.last - 1)
            if np.isfinite(newest).any():
                self._line(painter, self.worst(newest), theme.color("error"))
        if marked is not None and marked[0] < self.layers:
            self._line(painter, marked[0], theme.color("text"))
        painter.restore()

    def _axis(self, painter: QPainter, metrics: QFontMetrics, texts: StaticTexts) -> None:
        theme, line, area = self.scene.theme, metrics.height(), self.area
        values = ticks(*self.ends, int(area.height() / (line + 4)) + 1)
        heights = self.y(np.array(values)).tolist()
        painter.setPen(theme.color("grid"))
        painter.drawLines([QLineF(area.left(), y, area.right(), y) for y in heights])
        painter.setPen(theme.color("muted"))
        for value, y in zip(values, heights, strict=True):
            top = min(max(y - line / 2, area.top() - 2), area.bottom() - line + 3)  # clear of the titles
            texts.draw(painter, LEFT_WIDTH - 6, top, f"{value:g}", side=1)

    def _paint_band(self, painter: QPainter) -> None:
        covered = np.isfinite(self.band[0])
        if not covered.any():
            return
        x, (least, median, most) = self.xs[covered], self.y(self.band[:, covered])
        fill = QColor(self.scene.theme.color("accent"))
        fill.setAlpha(60)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(fill)
        outline = np.concatenate((x, x[::-1])), np.concatenate((least, most[::-1]))
        painter.drawPolygon(fn.arrayToQPolygonF(*outline))
        _draw_line(painter, x, median, self.scene.theme.color("muted"))

    def _line(self, painter: QPainter, layer: int, color: QColor) -> None:
        values = self.ring.get("balance", self.first, self.last, self.curve.place, layer)
        _draw_line(painter, self.xs, self.y(values), color)


def _draw_line(painter: QPainter, xs: Floats, ys: Floats, color: QColor) -> None:
    """Draw a line with gaps where there is no value."""
    painter.setPen(QPen(color, 0))  # one pixel: wider lines cost several times as much
    known = np.isfinite(ys)
    runs = [slice(None)]
    if not known.all():
        ends = np.flatnonzero(np.diff(np.concatenate(([0], known.astype(np.int8), [0]))))
        runs = [slice(start, stop) for start, stop in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True)]
    for run in runs:
        line: QPolygonF = fn.arrayToQPolygonF(xs[run], ys[run])
        if line.size() == 1:
            painter.drawPoint(line.first())
        else:
            painter.drawPolyline(line)
