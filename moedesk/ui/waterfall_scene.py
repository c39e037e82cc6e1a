"""What a waterfall's canvas draws: the ring, where it lies, and the marks over it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QLineF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from moedesk.analysis.ring import ColumnRing
from moedesk.ui.heatmap import picture_lut
from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.override_marks import NO_MARKS, OverrideMarks
from moedesk.ui.theme import LIGHT, Theme
from moedesk.ui.waterfall_viewport import Viewport, row_y


@dataclass
class Scene:
    """Shared by a view and its canvas: the view changes it, the canvas draws it.

    Attributes
    ----------
    ring : ColumnRing or None
        Its ``image`` is what is drawn; None before there is any.
    passes : int
        Passes a column of the ring, which may lag behind the viewport's.
    row_edges : (H + 1,) int64
        Experts of the ring's rows.
    """

    viewport: Viewport = field(default_factory=Viewport)
    ring: ColumnRing | None = None
    passes: int = 1
    row_edges: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    rows: HeatmapRows = field(default_factory=HeatmapRows)
    theme: Theme = LIGHT
    end: int = 0
    window: tuple[int, int] | None = None
    cursor: int | None = None
    marked: tuple[int, int | None] | None = None
    overridden: OverrideMarks = NO_MARKS
    marked_pass: int | None = None

    @property
    def lut(self) -> npt.NDArray[np.uint8]:
        """(256, 4) colours of the indexes."""
        return picture_lut(self.theme)

    def y(self, row: float) -> float:
        """Return the pixel at which an expert's row begins, by the rows of the picture; linear before there is one."""
        top, bottom = self.viewport.rows
        if len(self.row_edges) > 1 and (self.row_edges[0], self.row_edges[-1]) == (top, bottom):
            return row_y(row, self.row_edges, self.viewport.height)
        return (row - top) / max(bottom - top, 1) * self.viewport.height

    def row_at(self, y: float) -> int | None:
        """Return the picture row at a pixel, None outside or while the picture shows other rows."""
        height, rows = self.viewport.height, len(self.row_edges) - 1
        if not 0 <= y < height or rows < 1 or (int(self.row_edges[0]), int(self.row_edges[-1])) != self.viewport.rows:
            return None
        return min(int(y / height * rows), rows - 1)

    def parts(self) -> list[tuple[QRectF, QRectF]]:
        """Return (where it is drawn, places of the ring) for what of the ring is in view: at most two parts."""
        view, ring = self.viewport, self.ring
        if ring is None or not len(ring):
            return []
        first, last = max(int(view.left // self.passes), ring.first), min(-int(-view.right // self.passes), ring.last)
        height = ring["image"].shape[0]
        top, bottom = self.y(float(self.row_edges[0])), self.y(float(self.row_edges[-1]))
        parts = []
        for column, place, length in ring.segments(first, last):
            left, right = view.x(column * self.passes), view.x(min((column + length) * self.passes, self.end))
            if right > left:
                shown = QRectF(left, top, right - left, bottom - top)
                whole = length * (right - left) / (view.x((column + length) * self.passes) - left)
                parts.append((shown, QRectF(place, 0, whole, height)))
        return parts


def paint_marks(painter: QPainter, scene: Scene) -> None:
    """Draw lines between layers, the shade outside brush and replay, and the marks of the selection, in device pixels."""
    view = scene.viewport
    left, right = max(view.x(0), 0.0), min(view.x(scene.end), float(view.width))
    if right <= left:
        return
    _separators(painter, scene, left, right)
    _shade(painter, scene, left, right)
    if scene.marked_pass is not None:
        _vertical(painter, scene, scene.marked_pass, "text", Qt.PenStyle.DotLine)
    if scene.marked is not None and scene.marked[0] < scene.rows.layers:
        _frame(painter, scene, left, right)
    if scene.cursor is not None:
        _vertical(painter, scene, scene.cursor, "accent", Qt.PenStyle.SolidLine)


def _separators(painter: QPainter, scene: Scene, left: float, right: float) -> None:
    top, bottom = scene.viewport.rows
    inner = [row for row in scene.rows.offsets if top < row < bottom]
    if not inner or scene.viewport.height / (len(inner) + 1) < 8:  # closer lines than this would hide the picture
        return
    if not (len(scene.row_edges) > 1 and (scene.row_edges[0], scene.row_edges[-1]) == (top, bottom)):
        return  # the picture of these rows is still to come
    places = np.interp(inner, scene.row_edges, np.linspace(0, scene.viewport.height, len(scene.row_edges)))
    painter.setPen(QPen(scene.theme.color("surface"), 1))
    painter.drawLines([QLineF(left, y, right, y) for y in (places.round() + 0.5).tolist()])


def _shade(painter: QPainter, scene: Scene, left: float, right: float) -> None:
    color = QColor(scene.theme.color("surface"))
    color.setAlpha(170)
    first, last = scene.window or (0, scene.end)
    shown = last if scene.cursor is None else min(last, scene.cursor + 1)
    view = scene.viewport
    for start, stop in ((left, view.x(first)), (view.x(shown), right)):
        start, stop = max(start, left), min(stop, right)
        if stop > start:
            painter.fillRect(QRectF(start, 0, stop - start, view.height), color)
    if scene.window is not None:
        painter.setPen(QPen(scene.theme.color("accent"), 1))
        painter.drawLines([QLineF(view.x(at), 0, view.x(at), view.height) for at in scene.window])


def _vertical(painter: QPainter, scene: Scene, number: int, role: str, style: Qt.PenStyle) -> None:
    x, solid = scene.viewport.x(number + 0.5), style == Qt.PenStyle.SolidLine
    line = QLineF(x, 0, x, scene.viewport.height)
    if solid:
        painter.setPen(QPen(scene.theme.color("surface"), 4))
        painter.drawLine(line)
    painter.setPen(QPen(scene.theme.color(role), 2 if solid else 1, style))
    painter.drawLine(line)


def _frame(painter: QPainter, scene: Scene, left: float, right: float) -> None:
    assert scene.marked is not None
    layer, expert = scene.marked
    start, stop = scene.rows.span(layer)
    if expert is not None:
        start, stop = start + expert, start + expert + 1
    top, bottom = scene.viewport.rows
    if stop <= top or start >= bottom:
        return
    y0, y1 = scene.y(max(start, top)), scene.y(min(stop, bottom))
    if y1 - y0 < 5:  # a row thinner than its frame: draw around its middle
        y0, y1 = (y0 + y1) / 2 - 2.5, (y0 + y1) / 2 + 2.5
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for role, width in (("surface", 3), ("text", 1)):
        painter.setPen(QPen(scene.theme.color(role), width))
        painter.drawRect(QRectF(left, y0, right - left, y1 - y0))
