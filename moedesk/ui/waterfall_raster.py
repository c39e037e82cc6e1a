"""A waterfall drawn in raster: the ring's pixels in colour, painted as two blits."""

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from moedesk.ui.waterfall_scene import Scene, paint_marks


class RasterCanvas(QWidget):
    """Keeps the ring's columns as 32-bit pixels: only new ones are coloured, and painting copies."""

    def __init__(self, scene: Scene, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = scene
        self._pixels = np.zeros((1, 1), np.uint32)
        self._image = QImage()
        self._lut = np.zeros(256, np.uint32)
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def renew(self) -> None:
        """Take over another ring, or other colours."""
        lut = self._scene.lut.astype(np.uint32)
        self._lut = (0xFF << 24 | lut[:, 0] << 16 | lut[:, 1] << 8 | lut[:, 2]).astype(np.uint32)
        ring = self._scene.ring
        if ring is None:
            self._image = QImage()
        else:
            height, width = ring["image"].shape
            self._pixels = np.zeros((height, width), np.uint32)
            self._image = QImage(self._pixels.data, width, height, 4 * width, QImage.Format.Format_RGB32)
            self.take(ring.first, ring.last)
        self.update()

    def take(self, first: int, last: int) -> None:
        """Colour some columns of the ring."""
        ring = self._scene.ring
        if ring is not None:
            for _, place, length in ring.segments(first, last):
                span = slice(place, place + length)
                self._pixels[:, span] = self._lut[ring["image"][:, span]]
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw what is in view."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._scene.theme.color("surface"))
        ratio = self.devicePixelRatioF()
        painter.scale(1 / ratio, 1 / ratio)
        for shown, source in self._scene.parts():
            painter.drawImage(shown, self._image, source)
        paint_marks(painter, self._scene)
        painter.end()
