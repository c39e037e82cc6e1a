"""A square matrix as a heat map: a cell for each pair, several pairs a cell where there are more than pixels."""

from math import ceil

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QHelpEvent, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.ui.theme import FIRST_LEVEL, LIGHT, MISSING, Theme

LEFT, TOP, RIGHT, HIGHEST = 34, 18, 64, 340

Floats = npt.NDArray[np.float64]


class Matrix(QWidget):
    """Draws (N, N) values from 0 up, NaN empty; a click names the row through ``picked``.

    Where N is larger than the pixels, a cell is the largest of ``factor`` × ``factor`` values; ``reduced`` says when that
    changes.
    """

    picked = Signal(int)
    reduced = Signal(int)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.values: Floats = np.zeros((0, 0))
        self.marked = -1
        self.factor = 1
        self._name = "{row} → {column}: {value:.3g}"
        self._image: QImage | None = None
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(title)
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def set_values(self, values: Floats, marked: int, name: str) -> None:
        """Draw other values, a row and its column marked.

        Parameters
        ----------
        name : str
            Format of what is said of a cell, with ``row``, ``column`` and ``value``.
        """
        self.values, self.marked, self._name = values, marked, name
        self._render()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.theme = theme
        self._render()

    @property
    def top_value(self) -> float:
        """The largest value."""
        known = self.values[np.isfinite(self.values)]
        return float(known.max(initial=0.0))

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a square and its legend."""
        return QSize(HIGHEST + LEFT + RIGHT, 300)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return a small square and its legend."""
        return QSize(220, 300)

    @property
    def area(self) -> QRectF:
        """Where the cells are: a square of whole pixels a cell."""
        side = min(self.width() - LEFT - RIGHT, self.height() - TOP - 6)
        cells = ceil(len(self.values) / self.factor)
        cell = max(1, side // max(1, cells))
        return QRectF(LEFT, TOP, cell * cells, cell * cells)

    def cell_at(self, place: QPointF) -> tuple[int, int] | None:
        """Return row and column at a point: of several, those of the largest value."""
        area = self.area
        if not len(self.values) or not area.contains(place):
            return None
        cells = ceil(len(self.values) / self.factor)
        row, column = (
            min(cells - 1, int((at - start) / area.width() * cells)) * self.factor
            for at, start in ((place.y(), area.top()), (place.x(), area.left()))
        )
        block = self.values[row : row + self.factor, column : column + self.factor]
        if not np.isfinite(block).any():
            return row, column
        best = np.unravel_index(int(np.nanargmax(block)), block.shape)
        return row + int(best[0]), column + int(best[1])

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the cells, the marks, the axes, the legend."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        if self._image is None:
            return
        area = self.area
        painter.drawImage(area, self._image)
        painter.setPen(QPen(self.theme.color("border"), 1))
        painter.drawRect(area.adjusted(-1, -1, 0, 0))
        if 0 <= self.marked < len(self.values):
            cell = area.width() / ceil(len(self.values) / self.factor)
            at = self.marked // self.factor * cell
            painter.setPen(QPen(self.theme.color("error"), 1.5))
            painter.drawRect(QRectF(area.left() - 1, area.top() + at - 1, area.width() + 1, cell + 1))
            painter.drawRect(QRectF(area.left() + at - 1, area.top() - 1, cell + 1, area.height() + 1))
        self._draw_axes(painter, area)
        self._draw_legend(painter, area)

    def _draw_axes(self, painter: QPainter, area: QRectF) -> None:
        size = len(self.values)
        painter.setPen(self.theme.color("muted"))
        per = area.width() / size
        step = next(s for s in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, size) if s * per >= 24 or s >= size)
        right, middle = Qt.AlignmentFlag.AlignRight, Qt.AlignmentFlag.AlignVCenter
        for number in range(0, size, step):
            centre = (number + 0.5) * per
            painter.drawText(QRectF(0, area.top() + centre - 8, LEFT - 4, 16), right | middle, str(number))
            painter.drawText(
                QRectF(area.left() + centre - 16, 0, 32, TOP - 2), Qt.AlignmentFlag.AlignHCenter | middle, str(number)
            )

    def _draw_legend(self, painter: QPainter, area: QRectF) -> None:
        colors = self.theme.load_lut[FIRST_LEVEL:][::-1].copy()
        strip = QImage(colors.data, 1, len(colors), 4, QImage.Format.Format_RGBA8888)
        bar = QRectF(area.right() + 10, area.top(), 10, min(120.0, area.height()))
        painter.drawImage(bar, strip)
        painter.setPen(self.theme.color("muted"))
        for value, y in ((self.top_value, bar.top() + 6), (0.0, bar.bottom() - 6)):
            painter.drawText(QRectF(bar.right() + 4, y - 8, 48, 16), Qt.AlignmentFlag.AlignVCenter, f"{value:.3g}")

    def _render(self) -> None:
        """Make the picture, one pixel a cell."""
        size = len(self.values)
        if not size:
            self._image = None
            self.update()
            return
        side = max(1, min(self.width() - LEFT - RIGHT, self.height() - TOP - 6))
        factor = ceil(size / side)
        shown = largest_of_blocks(self.values, factor)
        top = self.top_value or 1.0
        levels = np.full(shown.shape, MISSING, np.uint8)
        known = np.isfinite(shown)
        levels[known] = FIRST_LEVEL + np.round(shown[known] / top * (255 - FIRST_LEVEL)).astype(np.uint8)
        colors = np.ascontiguousarray(self.theme.load_lut[levels])
        self._image = QImage(
            colors.data, colors.shape[1], colors.shape[0], 4 * colors.shape[1], QImage.Format.Format_RGBA8888
        ).copy()
        changed, self.factor = factor != self.factor, factor
        if changed:
            self.reduced.emit(factor)
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Make the picture for the new size."""
        super().resizeEvent(event)
        self._render()

    def event(self, event: QEvent) -> bool:
        """Say what the cell under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            QToolTip.showText(event.globalPos(), self.hint_at(QPointF(event.pos())), self)
            return True
        return super().event(event)

    def hint_at(self, place: QPointF) -> str:
        """Return what is said of the cell at a point."""
        cell = self.cell_at(place)
        if cell is None:
            return ""
        value = float(self.values[cell])
        if not np.isfinite(value):
            return f"{cell[0]}, {cell[1]}: " + ("the same expert" if cell[0] == cell[1] else "too few tokens to say")
        text = self._name.format(row=cell[0], column=cell[1], value=value)
        return f"{text}\nthe largest of {self.factor} × {self.factor} pairs in this cell" if self.factor > 1 else text

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show that a cell can be clicked."""
        over = self.cell_at(event.position()) is not None
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Name the row."""
        cell = self.cell_at(event.position())
        if cell is not None and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(cell[0])


def largest_of_blocks(values: Floats, factor: int) -> Floats:
    """Return the largest known value of each block of factor × factor; NaN where none is known."""
    if factor <= 1:
        return values
    starts = np.arange(0, len(values), factor)
    filled = np.where(np.isfinite(values), values, -np.inf)
    blocks: Floats = np.maximum.reduceat(np.maximum.reduceat(filled, starts, axis=0), starts, axis=1)
    return np.where(np.isneginf(blocks), np.nan, blocks)
