"""The layer × expert heatmap over passes: one picture as large as its pixels, with axes, brush, marks and a cursor."""

from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
from PySide6.QtCore import QEvent, QPoint, QRectF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QWidget

from moedesk.analysis.heatmap import DEAD as NOTHING
from moedesk.analysis.heatmap import IDLE, Cell, Heatmap
from moedesk.analysis.pass_labels import PassLabels
from moedesk.ui.heatmap_axes import LayerAxis, PassAxis
from moedesk.ui.heatmap_brush import extended
from moedesk.ui.heatmap_overlay import Overlay
from moedesk.ui.heatmap_picture import Picture
from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.label_bands import HEIGHT as BAND
from moedesk.ui.override_marks import OverrideMarks
from moedesk.ui.theme import DEAD, FIRST_LEVEL, LIGHT, MISSING, Theme

FEWEST_PASSES = 4.0  # how far the zoom goes
FEWEST_ROWS = 4.0
LOWEST = 90  # pixels


@dataclass(frozen=True)
class HeatmapExtent:
    """What is in view and how many pixels show it: the question for the next picture.

    Attributes
    ----------
    passes, rows : tuple of float
        Ends of what is in view, in passes and in rows from the top.
    columns, lines : int
        Device pixels across and down.
    """

    passes: tuple[float, float]
    rows: tuple[float, float]
    columns: int
    lines: int


def picture_lut(theme: Theme) -> npt.NDArray[np.uint8]:
    """Return (256, 4) colours for the indexes of an ``analysis.heatmap`` picture."""
    lut = np.empty_like(theme.load_lut)
    lut[1:IDLE] = theme.load_lut[FIRST_LEVEL:]
    lut[NOTHING] = theme.load_lut[DEAD]
    lut[IDLE] = theme.load_lut[MISSING]
    return lut


class _Plot(pg.ViewBox):
    """The area of the picture: drag pans, the wheel zooms both ways, with Shift the passes, with Ctrl the rows."""

    clicked = Signal(object)

    def wheelEvent(self, event: object, axis: int | None = None) -> None:  # noqa: N802
        """Zoom around the pointer."""
        modifiers = event.modifiers() if hasattr(event, "modifiers") else Qt.KeyboardModifier.NoModifier
        if axis is None and modifiers & Qt.KeyboardModifier.ShiftModifier:
            axis = 0
        elif axis is None and modifiers & Qt.KeyboardModifier.ControlModifier:
            axis = 1
        super().wheelEvent(event, axis)

    def mouseClickEvent(self, event: MouseClickEvent) -> None:  # noqa: N802
        """Report the click."""
        event.accept()
        self.clicked.emit(event)


class HeatmapView(pg.GraphicsView):
    """Draws a ready-made picture and says what is pointed at; it reads no data itself.

    x runs over passes, y over rows (``HeatmapRows``), from the top.

    Signals
    -------
    view_changed
        Something else, or at another size, is in view: ``extent()`` is the next question.
    hovered : Cell or None
    picked : Cell
        A click, or the arrow keys.
    menu_asked : Cell, QPoint
        A right click, and where on the screen.
    brushed : (int, int) or None
    """

    view_changed = Signal()
    hovered = Signal(object)
    picked = Signal(object)
    menu_asked = Signal(object, QPoint)
    brushed = Signal(object)

    def __init__(self, opengl: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent, useOpenGL=opengl)
        self.setMinimumHeight(LOWEST)
        self.setAccessibleName("Load heatmap")
        self._rows = HeatmapRows()
        self._passes = 0
        self._picture: Heatmap | None = None
        self._plot = _Plot(invertY=True, enableMenu=False, defaultPadding=0.0)
        self._image = Picture()
        self._overlay = Overlay()
        self._plot.addItem(self._image, ignoreBounds=True)
        self._plot.addItem(self._overlay, ignoreBounds=True)
        self._layer_axis = LayerAxis(self._plot)
        self._pass_axis = PassAxis(self._plot)
        layout = pg.GraphicsLayout()
        layout.setContentsMargins(0, 4, 8, 0)
        layout.setSpacing(0)
        layout.addItem(self._layer_axis, 0, 0)
        layout.addItem(self._plot, 0, 1)
        layout.addItem(self._pass_axis, 1, 1)
        self.setCentralItem(layout)
        self._plot.sigRangeChanged.connect(self._announce)
        self._plot.clicked.connect(self._click)
        self._pass_axis.brushed.connect(self.brushed)
        self.scene().sigMouseMoved.connect(self._hover)
        self.set_theme(LIGHT)

    def set_extent(self, rows: HeatmapRows, passes: int, follow: bool = False) -> None:
        """Say how many rows and passes there are.

        Passes that are added keep the view unless it showed all, or with ``follow`` the last ones: it then moves on with them.
        """
        whole, at_end, moved = self.shows_all, follow and self.at_end, passes != self._passes
        if rows != self._rows:
            self._rows, whole = rows, True
            self._layer_axis.rows = rows
            self._plot.setLimits(yMin=0, yMax=max(len(rows), 1), minYRange=min(FEWEST_ROWS, max(len(rows), 1)))
            self._plot.setYRange(0, max(len(rows), 1), padding=0)
        self._passes = self._pass_axis.passes = passes
        self._overlay.set_extent(rows, passes)
        if moved:
            self._plot.setLimits(xMin=0, xMax=max(passes, 1), minXRange=min(FEWEST_PASSES, max(passes, 1)))
        if whole:
            self._plot.setXRange(0, max(passes, 1), padding=0)
        elif at_end:
            self.show_end()
        self._announce()

    def show_end(self) -> None:
        """Show the last passes, as many as are in view."""
        left, right = self._plot.viewRange()[0]
        self._plot.setXRange(max(self._passes - (right - left), 0), max(self._passes, 1), padding=0)

    @property
    def shows_all(self) -> bool:
        """Whether every pass is in view."""
        return not self._passes or (self._plot.viewRange()[0][0] <= 0.5 and self.at_end)

    @property
    def at_end(self) -> bool:
        """Whether the last pass is in view."""
        return not self._passes or self._plot.viewRange()[0][1] >= self._passes - 0.5

    @property
    def rows(self) -> HeatmapRows:
        """The rows as given to ``set_extent``."""
        return self._rows

    def extent(self) -> HeatmapExtent:
        """Return what is in view and how many device pixels there are for it."""
        (left, right), (top, bottom) = self._plot.viewRange()
        ratio = self.devicePixelRatioF()
        size = self._plot.size()
        return HeatmapExtent(
            (max(left, 0.0), min(right, float(self._passes))),
            (max(top, 0.0), min(bottom, float(len(self._rows)))),
            max(int(size.width() * ratio), 1),
            max(int(size.height() * ratio), 1),
        )

    def set_picture(self, picture: Heatmap) -> None:
        """Show a picture of some passes and rows; what it does not cover stays empty."""
        self._picture = picture if picture.image.size else None
        if self._picture is None:
            self._image.set_picture(None, QRectF())
            return
        first, last = (float(picture.pass_edges[end]) for end in (0, -1))
        top, bottom = (float(picture.row_edges[end]) for end in (0, -1))
        self._image.set_picture(picture.image, QRectF(first, top, last - first, bottom - top))
        self.scene().prepareForPaint()  # else the first paint moves the items, and so asks for a second one

    @property
    def picture(self) -> Heatmap | None:
        """What is shown."""
        return self._picture

    def set_marks(self, layer: int | None, expert: int | None, pass_id: int | None) -> None:
        """Mark the selected layer or expert, and pass."""
        marked = None if layer is None else (layer, expert)
        if (marked, pass_id) == (self._overlay.marked, self._overlay.marked_pass):
            return
        self._overlay.marked = self._layer_axis.marked = marked
        self._overlay.marked_pass = self._pass_axis.marked = pass_id
        self._redraw()

    def set_overridden(self, marks: OverrideMarks) -> None:
        """Mark layers and experts that overrides are about."""
        if marks != self._layer_axis.overridden:
            self._layer_axis.overridden = marks
            self._layer_axis.update()

    def set_brush(self, window: tuple[int, int] | None) -> None:
        """Show the brushed passes, the rest dimmed."""
        if window != self._overlay.window:
            self._overlay.window = self._pass_axis.window = window
            self._redraw()

    def set_labels(self, labels: PassLabels) -> None:
        """Show what passes were labelled as."""
        self._pass_axis.set_labels(labels)
        self.setMinimumHeight(LOWEST + (BAND if labels.labels else 0))

    def set_cursor(self, cursor: int | None) -> None:
        """Show the replay cursor at a pass, what comes later dimmed."""
        if cursor != self._overlay.cursor:
            self._overlay.cursor = self._pass_axis.cursor = cursor
            self._redraw()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.setBackground(theme.surface)
        self._image.set_colors(picture_lut(theme))
        for item in (self._overlay, self._layer_axis, self._pass_axis):
            item.theme = theme
        self._redraw()

    def zoom_to_layer(self, layer: int | None) -> None:
        """Show one layer's rows, or all of them."""
        start, stop = self._rows.span(layer) if layer is not None else (0, max(len(self._rows), 1))
        self._plot.setYRange(start, stop, padding=0)

    def zoom_to_all(self) -> None:
        """Show every row and every pass."""
        self._plot.setRange(QRectF(0, 0, max(self._passes, 1), max(len(self._rows), 1)), padding=0)

    def cell_at(self, position: QPoint) -> Cell | None:
        """Return what the picture shows under a point of this widget, None outside of it."""
        point = self.mapToScene(position)
        picture = self._picture
        if picture is None or not self._plot.sceneBoundingRect().contains(point):
            return None
        pixel = self._image.pixel_at(point)
        return None if pixel is None else picture.at(*pixel)

    def position_of(self, layer: int, expert: int, pass_id: int) -> QPoint:
        """Return the point of this widget at the middle of a cell."""
        at = self._plot.mapViewToScene(pg.Point(pass_id + 0.5, self._rows.row(layer, expert) + 0.5))
        return self.mapFromScene(at)

    def _redraw(self) -> None:
        for item in (self._overlay, self._layer_axis, self._pass_axis):
            item.update()

    def _announce(self) -> None:
        self.view_changed.emit()

    def _hover(self, scene_position: pg.Point) -> None:
        self.hovered.emit(self.cell_at(self.mapFromScene(scene_position)))

    def _click(self, event: MouseClickEvent) -> None:
        cell = self.cell_at(self.mapFromScene(event.scenePos()))
        if cell is None:
            return
        if event.button() == Qt.MouseButton.RightButton:
            self.menu_asked.emit(cell, event.screenPos().toPoint())
        elif event.double():
            self._toggle_layer(cell.first[0])
        elif event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(cell)

    def _toggle_layer(self, layer: int) -> None:
        top, bottom = self._plot.viewRange()[1]
        start, stop = self._rows.span(layer)
        self.zoom_to_layer(None if bottom - top <= stop - start + 0.5 else layer)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Arrows move the selection, Shift with them the brush; + and - zoom, Return a layer, Home shows all."""
        if not self._passes or not self._rows.layers or not self._key(event):
            event.ignore()
            return
        event.accept()

    def _key(self, event: QKeyEvent) -> bool:
        key, shift = Qt.Key(event.key()), bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        sideways = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        upright = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        zooms = {Qt.Key.Key_Plus: 0.8, Qt.Key.Key_Equal: 0.8, Qt.Key.Key_Minus: 1.25}
        if shift and key in sideways:
            at = self._overlay.marked_pass if self._overlay.marked_pass is not None else 0
            self.brushed.emit(extended(self._overlay.window, at, sideways[key], self._passes))
        elif key in sideways or key in upright:
            self._step(sideways.get(key, 0), upright.get(key, 0))
        elif key in zooms:
            self._plot.scaleBy((zooms[key], zooms[key]))
        elif key == Qt.Key.Key_Home:
            self.zoom_to_all()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._overlay.marked is not None:
            self._toggle_layer(self._overlay.marked[0])
        elif key in (Qt.Key.Key_Backspace, Qt.Key.Key_Delete) and self._overlay.window is not None:
            self.brushed.emit(None)
        else:
            return False
        return True

    def _step(self, passes: int, rows: int) -> None:
        layer, expert = self._overlay.marked or (0, None)
        first, _ = self._rows.span(layer)
        row = min(max(first + (expert or 0) + (rows if expert is not None else 0), 0), len(self._rows) - 1)
        layer = self._rows.layer_at(row)
        expert = row - self._rows.offsets[layer]
        at = self._overlay.marked_pass
        at = min(max((0 if at is None else at + passes), 0), self._passes - 1)
        self.picked.emit(Cell((layer, expert), (layer, expert), (at, at + 1), nan))

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Nothing is pointed at any more."""
        super().leaveEvent(event)
        self.hovered.emit(None)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Ask for a picture of the new size."""
        super().resizeEvent(event)
        if hasattr(self, "_plot"):
            self._announce()
