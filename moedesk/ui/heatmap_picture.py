"""The picture of a heatmap as a graphics item."""

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QStyleOptionGraphicsItem, QWidget


class Picture(pg.GraphicsObject):
    """Indexes drawn in the colours of a table, stretched over a rectangle.

    The image is kept in 32 bits: Qt draws that, scaled, some 20 times as fast as one of 8 bits with a colour table.
    """

    def __init__(self) -> None:
        super().__init__()
        self._indexes: npt.NDArray[np.uint8] | None = None
        self._rect = QRectF()
        self._colors: list[int] = []
        self._image: QImage | None = None

    def set_colors(self, lut: npt.NDArray[np.uint8]) -> None:
        """Take over (256, 4) red, green, blue, alpha."""
        red, green, blue, alpha = (lut[:, channel].astype(np.uint32) for channel in range(4))
        self._colors = ((alpha << 24) | (red << 16) | (green << 8) | blue).tolist()
        self._convert()

    def set_picture(self, indexes: npt.NDArray[np.uint8] | None, rect: QRectF) -> None:
        """Show (H, W) indexes over ``rect``, row 0 at its top; nothing with None."""
        if rect != self._rect:
            self.prepareGeometryChange()
        self._indexes, self._rect = None if indexes is None else np.ascontiguousarray(indexes), rect
        self._convert()

    def pixel_at(self, position: QPointF) -> tuple[int, int] | None:
        """Return row and column of the pixel at a point of the scene, None outside."""
        at = self.mapFromScene(position)
        if self._indexes is None or not self._rect.contains(at):
            return None
        height, width = self._indexes.shape
        row = int((at.y() - self._rect.top()) / self._rect.height() * height)
        column = int((at.x() - self._rect.left()) / self._rect.width() * width)
        return min(row, height - 1), min(column, width - 1)

    def _convert(self) -> None:
        self._image = None
        if self._indexes is not None and self._colors:
            height, width = self._indexes.shape
            image = QImage(self._indexes.data, width, height, width, QImage.Format.Format_Indexed8)
            image.setColorTable(self._colors)
            self._image = image.convertToFormat(QImage.Format.Format_RGB32)
        self.update()

    def boundingRect(self) -> QRectF:  # noqa: N802
        """Return the rectangle."""
        return self._rect

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Draw the picture, each pixel as a box."""
        if self._image is not None:
            painter.drawImage(self._rect, self._image)
