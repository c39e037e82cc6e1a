"""A picture of norms: experts from top to bottom, training steps from left to right, brightness on a logarithmic scale."""

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from moedesk.panels.network.model_training import Picture
from moedesk.ui.theme import DEAD, FIRST_LEVEL, LIGHT, MISSING, Theme

MARGIN = 6


class NormPicture(QWidget):
    """Draws a ``Picture``.

    Signals
    -------
    hovered : (int, int) or None
        Expert and column pointed at.
    picked : int, int
    """

    hovered = Signal(object)
    picked = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self.picture: Picture | None = None
        self._expert: int | None = None
        self._column: int | None = None
        self.setMouseTracking(True)
        self.setMinimumHeight(70)
        self.setAccessibleName("Norms of each expert over the training steps")

    @property
    def columns(self) -> int:
        """Device pixels across."""
        return max(int((self.width() - 2 * MARGIN) * self.devicePixelRatioF()), 1)

    def set_picture(self, picture: Picture | None, expert: int | None, place: int | None) -> None:
        """Show another picture, with an expert and the column of a pass marked."""
        self.picture, self._expert = picture, expert
        self._column = None
        if picture is not None and place is not None and len(picture.passes):
            self._column = max(int(np.searchsorted(picture.passes, place, "right")) - 1, 0)
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.update()

    @property
    def _area(self) -> QRectF:
        return QRectF(MARGIN, 2, max(self.width() - 2 * MARGIN, 1), max(self.height() - 4, 1))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the picture and what is marked."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._theme.color("surface"))
        if self.picture is not None and self.picture.values.size:
            experts, columns = self.picture.values.shape
            pixels = np.ascontiguousarray(self._theme.load_lut[levels(self.picture)])
            image = QImage(pixels.data, columns, experts, 4 * columns, QImage.Format.Format_RGBA8888)
            area = self._area
            painter.drawImage(area, image)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(self._theme.color("text"), 0))
            width, height = area.width() / columns, area.height() / experts
            if self._column is not None:
                x = area.left() + width * self._column
                painter.drawRect(QRectF(x, area.top(), max(width, 2), area.height()))
            if self._expert is not None and self._expert < experts:
                painter.drawRect(QRectF(area.left(), area.top() + height * self._expert, area.width(), height))
        painter.end()

    def position_of(self, expert: int, column: int) -> QPointF:
        """Return the middle of a cell."""
        assert self.picture is not None
        experts, columns = self.picture.values.shape
        area = self._area
        return QPointF(
            area.left() + area.width() * (column + 0.5) / columns, area.top() + area.height() * (expert + 0.5) / experts
        )

    def _cell(self, position: QPointF) -> tuple[int, int] | None:
        if self.picture is None or not self.picture.values.size or not self._area.contains(position):
            return None
        experts, columns = self.picture.values.shape
        area = self._area
        row = int((position.y() - area.top()) / area.height() * experts)
        column = int((position.x() - area.left()) / area.width() * columns)
        return min(row, experts - 1), min(column, columns - 1)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Report what is pointed at."""
        self.hovered.emit(self._cell(event.position()))

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Nothing is pointed at any more."""
        self.hovered.emit(None)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Report a click."""
        cell = self._cell(event.position())
        if cell is not None and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(*cell)


def levels(picture: Picture) -> npt.NDArray[np.intp]:
    """Return (E, C) places in the theme's colours: ``MISSING`` for unknown, ``DEAD`` for 0, else by logarithm."""
    values, scale = picture.values, picture.scale
    found = np.full(values.shape, MISSING, np.intp)
    found[values == 0] = DEAD
    if scale is not None:
        low, high = np.log(scale)
        positive = values > 0
        share = (np.log(values[positive]) - low) / (high - low) if high > low else np.ones(int(positive.sum()))
        found[positive] = FIRST_LEVEL + np.rint(share * (255 - FIRST_LEVEL)).astype(np.intp)
    return found
