"""Numbers of the tokens that a token saw: a column for each, a line for each attention, or one."""

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Signal
from PySide6.QtGui import QImage, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from moedesk.ui.theme import FIRST_LEVEL, LIGHT, Theme

LINE, LEAST, MOST = 8, 12, 240
"""Pixels of a line, and the least and the most that all take."""


class AttentionPicture(QWidget):
    """Draws (A, T) values from 0 to the largest, dark to bright.

    Signals
    -------
    hovered : (int, int) or None
        Line and column pointed at.
    """

    hovered = Signal(object)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self.values: npt.NDArray[np.float64] = np.zeros((0, 0))
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(title)

    def set_values(self, values: npt.NDArray[np.float64]) -> None:
        """Draw other weights."""
        self.values = values
        self.updateGeometry()
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a line for each attention."""
        return QSize(220, max(LEAST, min(len(self.values) * LINE, MOST)))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the same height."""
        return QSize(120, self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the picture."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._theme.color("surface"))
        if self.values.size:
            top = float(np.nanmax(self.values)) or 1.0
            share = np.nan_to_num(self.values) / top
            levels = FIRST_LEVEL + np.rint(share * (255 - FIRST_LEVEL)).astype(np.intp)
            pixels = np.ascontiguousarray(self._theme.load_lut[levels])
            lines, columns = self.values.shape
            image = QImage(pixels.data, columns, lines, 4 * columns, QImage.Format.Format_RGBA8888)
            painter.drawImage(QRectF(self.rect()), image)
        painter.end()

    def cell_at(self, place: QPointF) -> tuple[int, int] | None:
        """Return line and column at a point."""
        if not self.values.size or not QRectF(self.rect()).contains(place):
            return None
        lines, columns = self.values.shape
        line, column = int(place.y() / self.height() * lines), int(place.x() / self.width() * columns)
        return min(line, lines - 1), min(column, columns - 1)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Report what is pointed at."""
        self.hovered.emit(self.cell_at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Nothing is pointed at any more."""
        self.hovered.emit(None)
