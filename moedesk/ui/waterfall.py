"""The routing waterfall: layer×expert rows, passes from left to right, the newest at the right edge."""

from dataclasses import dataclass, replace
from math import nan

from PySide6.QtCore import QEvent, QObject, QPoint, QPointF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QGridLayout, QWidget

from moedesk.analysis.heatmap import Cell
from moedesk.analysis.ring import ColumnRing
from moedesk.analysis.waterfall import Frame, offsets_of
from moedesk.core.model import ModelInfo
from moedesk.ui.heatmap_brush import extended
from moedesk.ui.heatmap_rows import HeatmapRows
from moedesk.ui.override_marks import OverrideMarks
from moedesk.ui.theme import Theme
from moedesk.ui.waterfall_axes import PassStrip, RowAxis
from moedesk.ui.waterfall_raster import RasterCanvas
from moedesk.ui.waterfall_scene import Scene
from moedesk.ui.waterfall_viewport import Viewport

_NOTCH = 120  # eighths of a degree


@dataclass
class _Drag:
    """A press on the picture: a click unless it moves."""

    start: QPointF
    viewport: Viewport
    moved: bool = False


class WaterfallView(QWidget):
    """Draws a ring of columns and says what is pointed at; it reads no data itself.

    Signals
    -------
    view_changed
        Other passes or rows, or another size, are in view.
    follow_changed : bool
        The user scrolled away from the newest pass, or back to it.
    zoomed
        The user chose how many passes are in view.
    hovered : Cell or None
    picked : Cell
        A click, or the arrow keys.
    menu_asked : Cell, QPoint
        A right click, and where on the screen.
    brushed : (int, int) or None
    refused : str
        Why the picture is not drawn through OpenGL, as was asked.
    """

    view_changed = Signal()
    follow_changed = Signal(bool)
    zoomed = Signal()
    hovered = Signal(object)
    picked = Signal(object)
    menu_asked = Signal(object, QPoint)
    brushed = Signal(object)
    refused = Signal(str)

    def __init__(self, opengl: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scene = Scene()
        self.follow = True
        self._drag: _Drag | None = None
        self._held = False
        self._model: ModelInfo | None = None
        if opengl:
            from moedesk.ui.waterfall_opengl import OpenGLCanvas  # only where it is used

            self.canvas: RasterCanvas | OpenGLCanvas = OpenGLCanvas(self.scene)
            self.canvas.refused.connect(self._draw_in_raster)
        else:
            self.canvas = RasterCanvas(self.scene)
        self.row_axis = RowAxis(self.scene)
        self.pass_strip = PassStrip(self.scene)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 2, 8, 0)
        layout.setSpacing(0)
        layout.addWidget(self.row_axis, 0, 0)
        layout.addWidget(self.canvas, 0, 1)
        layout.addWidget(self.pass_strip, 1, 1)
        self.setMinimumHeight(110)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Routing waterfall")
        self.canvas.installEventFilter(self)
        self.row_axis.installEventFilter(self)
        self.pass_strip.brushed.connect(self.brushed)

    def _draw_in_raster(self, reason: str) -> None:
        """Go on without OpenGL."""
        old, self.canvas = self.canvas, RasterCanvas(self.scene)
        layout = self.layout()
        assert layout is not None
        layout.replaceWidget(old, self.canvas)
        self.canvas.installEventFilter(self)
        old.hide()
        old.deleteLater()
        self.canvas.renew()
        self.refused.emit(reason)

    @property
    def viewport(self) -> Viewport:
        """What is in view."""
        return self.scene.viewport

    def set_viewport(self, viewport: Viewport) -> None:
        """Look at something else."""
        before = self.scene.viewport
        if viewport != before:
            self.scene.viewport = viewport
            self._redraw()
            if (viewport.rows, viewport.height) != (before.rows, before.height):  # it costs as much as the picture
                self.row_axis.update()
            self.view_changed.emit()

    def set_extent(self, model: ModelInfo, end: int) -> None:
        """Say which rows and how many passes there are; following, the newest stays at the right edge."""
        view = self.scene.viewport
        if model is not self._model:
            self._model = model
            rows = HeatmapRows.of(model)
            if rows != self.scene.rows:
                self.scene.rows = rows
                view = replace(view, rows=(0, max(len(rows), 1)))
                self.row_axis.update()
        if 0 < self.scene.end < end:
            view = view.whole()
        self.scene.end = end
        self.set_viewport(view.scrolled(end if self.follow else view.right, end))

    def set_ring(self, ring: ColumnRing, frame: Frame, model: ModelInfo) -> None:
        """Show another ring."""
        self.row_axis.update()
        self.scene.ring, self.scene.passes = ring, frame.passes
        self.scene.row_edges = frame.row_edges(offsets_of(model))
        self.canvas.renew()
        self.release()

    def hold(self) -> None:
        """Keep the picture as it is until the next ``take``: what scrolls into view is drawn once, when it is known."""
        self._held = True

    def release(self) -> None:
        """Draw again what changed meanwhile."""
        self._held = False
        self._redraw()

    def take(self, first: int, last: int) -> None:
        """Show columns that were put into the ring."""
        self.canvas.take(first, last)
        self.release()

    def set_marks(self, layer: int | None, expert: int | None, pass_id: int | None) -> None:
        """Mark the selected layer or expert, and pass."""
        before = self.scene.marked, self.scene.marked_pass
        self.scene.marked = None if layer is None else (layer, expert)
        self.scene.marked_pass = pass_id
        if before[0] != self.scene.marked:
            self.row_axis.update()
        if before != (self.scene.marked, self.scene.marked_pass):
            self._redraw()

    def set_overridden(self, marks: OverrideMarks) -> None:
        """Mark layers and experts that overrides are about."""
        if marks != self.scene.overridden:
            self.scene.overridden = marks
            self.row_axis.update()

    def set_brush(self, window: tuple[int, int] | None) -> None:
        """Show the brushed passes, the rest dimmed."""
        if window != self.scene.window:
            self.scene.window = window
            self._redraw()

    def set_cursor(self, cursor: int | None) -> None:
        """Show the replay cursor at a pass, what comes later dimmed; it stays in view."""
        if cursor == self.scene.cursor:
            return
        self.scene.cursor = cursor
        view = self.viewport
        if cursor is not None and not view.left <= cursor < view.right:
            self.scroll_to(cursor + 1 + (view.right - view.left) / 4)
        self._redraw()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.scene.theme = theme
        self.row_axis.update()
        self.canvas.renew()
        self.release()

    def set_follow(self, follow: bool) -> None:
        """Keep the newest pass at the right edge, or stay."""
        if follow != self.follow:
            self.follow = follow
            self.follow_changed.emit(follow)
        if follow:
            self.set_viewport(self.viewport.scrolled(self.scene.end, self.scene.end))

    def scroll_to(self, right: float) -> None:
        """Put a pass at the right edge; the newest one there means following."""
        new = self.viewport.scrolled(right, self.scene.end)
        self.set_viewport(new)
        self.set_follow(new.right >= self.scene.end)

    def show_layer(self, layer: int | None) -> None:
        """Show one layer's rows, or all of them."""
        rows = self.scene.rows.span(layer) if layer is not None else (0, max(len(self.scene.rows), 1))
        self.set_viewport(replace(self.viewport, rows=rows))

    def show_all(self) -> None:
        """Show every row and every pass."""
        self.set_viewport(replace(self.viewport, rows=(0, max(len(self.scene.rows), 1))).fitted(self.scene.end))
        self.set_follow(True)
        self.zoomed.emit()

    def cell_at(self, position: QPointF) -> Cell | None:
        """Return what the picture shows at a point of the canvas, None where it shows nothing."""
        ratio = self.devicePixelRatioF()
        scene, number = self.scene, self.viewport.pass_at(position.x() * ratio)
        row, ring = scene.row_at(position.y() * ratio), scene.ring
        if row is None or ring is None or not 0 <= number < scene.end:
            return None
        column = int(number) // scene.passes
        if not ring.first <= column < ring.last:
            return None
        value = float(ring["values"][row, column % ring.capacity])
        passes = (column * scene.passes, min((column + 1) * scene.passes, scene.end))
        return Cell(self._expert(row), self._expert(row + 1, -1), passes, value)

    def _expert(self, edge: int, step: int = 0) -> tuple[int, int]:
        row = int(self.scene.row_edges[edge]) + step
        layer = self.scene.rows.layer_at(row)
        return layer, row - self.scene.rows.offsets[layer]

    def position_of(self, layer: int, expert: int, pass_id: int) -> QPoint:
        """Return the point of the canvas at the middle of a cell."""
        row = self.scene.rows.row(layer, expert)
        ratio = self.devicePixelRatioF()
        y = (self.scene.y(row) + self.scene.y(row + 1)) / 2
        return QPoint(int(self.viewport.x(pass_id + 0.5) / ratio), int(y / ratio))

    @property
    def held(self) -> bool:
        """Whether the picture waits for columns."""
        return self._held

    def _redraw(self) -> None:
        if not self._held:
            self.canvas.update()
            self.pass_strip.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Fill the margins."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.scene.theme.color("surface"))
        painter.end()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Ask for columns of the new size."""
        super().resizeEvent(event)
        self.fit_size()

    def fit_size(self) -> None:
        """Take over the canvas's size."""
        ratio = self.devicePixelRatioF()
        width = max(int((self.width() - self.row_axis.width() - 8) * ratio), 1)
        height = max(int((self.height() - self.pass_strip.height() - 2) * ratio), 1)
        view = replace(self.viewport, width=width, height=height)
        self.set_viewport(view.scrolled(self.scene.end if self.follow else view.right, self.scene.end))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Read the pointer over canvas and row axis."""
        if isinstance(event, QWheelEvent):
            self._wheel(event, rows_only=watched is self.row_axis)
            return True
        if watched is self.canvas:
            if event.type() == QEvent.Type.Leave:
                self.hovered.emit(None)
            elif isinstance(event, QMouseEvent):
                self._mouse(event)
        return super().eventFilter(watched, event)

    def _wheel(self, event: QWheelEvent, rows_only: bool) -> None:
        delta = event.angleDelta()
        modifiers = event.modifiers()
        notches = (delta.y() or delta.x()) / _NOTCH
        position = self.canvas.mapFromGlobal(event.globalPosition()) * self.devicePixelRatioF()
        if rows_only or modifiers & Qt.KeyboardModifier.ControlModifier:
            self.set_viewport(self.viewport.rows_zoomed(0.75**notches, position.y(), max(len(self.scene.rows), 1)))
        elif modifiers & Qt.KeyboardModifier.ShiftModifier or abs(delta.x()) > abs(delta.y()):
            self.scroll_to(self.viewport.right - notches * self.viewport.width / self.viewport.per_pass / 10)
        else:
            self._zoom(2.0**notches, position.x())
        event.accept()

    def _zoom(self, factor: float, x: float) -> None:
        self.set_viewport(self.viewport.zoomed(factor, x, self.scene.end, self.follow))
        self.zoomed.emit()

    def _mouse(self, event: QMouseEvent) -> None:
        kind, position = event.type(), event.position()
        left = event.button() == Qt.MouseButton.LeftButton
        if kind == QEvent.Type.MouseButtonPress and left:
            self.setFocus(Qt.FocusReason.MouseFocusReason)
            self._drag = _Drag(position, self.viewport)
        elif kind == QEvent.Type.MouseMove:
            self._move(position)
        elif kind == QEvent.Type.MouseButtonRelease and left and self._drag is not None:
            drag, self._drag = self._drag, None
            self.canvas.unsetCursor()
            cell = self.cell_at(position)
            if not drag.moved and cell is not None:
                self.picked.emit(cell)
        elif kind == QEvent.Type.MouseButtonDblClick and left:
            cell = self.cell_at(position)
            if cell is not None:
                self._toggle_layer(cell.first[0])
        elif kind == QEvent.Type.MouseButtonPress and event.button() == Qt.MouseButton.RightButton:
            cell = self.cell_at(position)
            if cell is not None:
                self.menu_asked.emit(cell, event.globalPosition().toPoint())

    def _move(self, position: QPointF) -> None:
        drag = self._drag
        if drag is None:
            self.hovered.emit(self.cell_at(position))
            return
        by = position - drag.start
        if not drag.moved and by.manhattanLength() < 5:
            return
        drag.moved = True
        self.canvas.setCursor(Qt.CursorShape.ClosedHandCursor)
        ratio, (top, bottom) = self.devicePixelRatioF(), drag.viewport.rows
        rows = by.y() * ratio / max(self.viewport.height, 1) * (bottom - top)
        self.set_viewport(self.viewport.rows_from(top - rows, bottom - top, max(len(self.scene.rows), 1)))
        if abs(by.x()) >= 5 or not self.follow:  # else it was meant for the rows
            self.scroll_to(drag.viewport.right - by.x() * ratio / self.viewport.per_pass)

    def _toggle_layer(self, layer: int) -> None:
        top, bottom = self.viewport.rows
        start, stop = self.scene.rows.span(layer)
        self.show_layer(None if bottom - top <= stop - start else layer)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Arrows move the selection, Shift with them the brush; + and - zoom, Return a layer; Home shows all, End the newest."""
        if not self.scene.end or not self.scene.rows.layers or not self._key(event):
            super().keyPressEvent(event)

    def _key(self, event: QKeyEvent) -> bool:
        key, shift = Qt.Key(event.key()), bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        sideways = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        upright = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        pages = {Qt.Key.Key_PageUp: -1, Qt.Key.Key_PageDown: 1}
        zooms = {Qt.Key.Key_Plus: 2.0, Qt.Key.Key_Equal: 2.0, Qt.Key.Key_Minus: 0.5}
        scene = self.scene
        if shift and key in sideways:
            at = scene.marked_pass if scene.marked_pass is not None else 0
            self.brushed.emit(extended(scene.window, at, sideways[key], scene.end))
        elif key in sideways or key in upright:
            self._step(sideways.get(key, 0), upright.get(key, 0))
        elif key in pages:
            self.scroll_to(self.viewport.right + pages[key] * self.viewport.width / self.viewport.per_pass / 2)
        elif key in zooms:
            self._zoom(zooms[key], self.viewport.width / 2)
        elif key == Qt.Key.Key_Home:
            self.show_all()
        elif key == Qt.Key.Key_End:
            self.set_follow(True)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and scene.marked is not None:
            self._toggle_layer(scene.marked[0])
        elif key in (Qt.Key.Key_Backspace, Qt.Key.Key_Delete) and scene.window is not None:
            self.brushed.emit(None)
        else:
            return False
        return True

    def _step(self, passes: int, rows: int) -> None:
        scene = self.scene
        layer, expert = scene.marked or (0, None)
        first, _ = scene.rows.span(layer)
        row = min(max(first + (expert or 0) + (rows if expert is not None else 0), 0), len(scene.rows) - 1)
        layer = scene.rows.layer_at(row)
        expert = row - scene.rows.offsets[layer]
        at = scene.marked_pass
        at = min(max((scene.end - 1 if at is None else at + passes), 0), scene.end - 1)
        if not self.viewport.left <= at < self.viewport.right:
            self.scroll_to(at + 1 + self.viewport.width / self.viewport.per_pass / 2)
        self.picked.emit(Cell((layer, expert), (layer, expert), (at, at + 1), nan))
