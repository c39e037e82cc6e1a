"""What the colours of a load heatmap mean."""

import numpy as np
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from moedesk.analysis.heatmap import ColourScale
from moedesk.ui.theme import FIRST_LEVEL, LIGHT, Theme

BAR = 160
SWATCH = 12


class LoadLegend(QWidget):
    """A colour bar of load ÷ uniform share, and the two cells beside it: no tokens for the expert, or for the whole layer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self._scale = ColourScale()
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Load ÷ uniform share: tokens an expert got ÷ what it would get if all experts of its layer got the same. 1 is even."
        )

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return room for the bar and its texts."""
        metrics = self.fontMetrics()
        texts = sum(metrics.horizontalAdvance(text) + SWATCH + 14 for text in ("none", "idle"))
        return QSize(texts + BAR + 44, max(metrics.height() + 13, 28))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the bar."""
        painter = QPainter(self)
        metrics = self.fontMetrics()
        x = 0.0
        for text, role in (("idle", "missing"), ("none", "dead")):
            painter.setPen(self._theme.color("border"))
            painter.setBrush(self._theme.color(role))
            painter.drawRect(QRectF(x + 0.5, 2.5, SWATCH, SWATCH - 3))
            painter.setPen(self._theme.color("muted"))
            width = metrics.horizontalAdvance(text)
            painter.drawText(QRectF(x + SWATCH + 4, 0, width + 2, SWATCH + 2), Qt.AlignmentFlag.AlignVCenter, text)
            x += SWATCH + width + 14
        x += 10
        colors = self._theme.load_lut[FIRST_LEVEL:]
        image = QImage(np.ascontiguousarray(colors).data, len(colors), 1, QImage.Format.Format_RGBA8888)
        painter.drawImage(QRectF(x, 2, BAR, SWATCH - 2), image)
        painter.setPen(self._theme.color("muted"))
        for ratio, text in ((1 / 8, "≤ ⅛"), (1, "1 = even"), (8, "≥ 8")):
            at = x + BAR * (int(self._scale.indexes(np.array([ratio], np.float32))[0]) - 1) / 253
            painter.drawLine(int(at), SWATCH, int(at), SWATCH + 2)
            half = metrics.horizontalAdvance(text) / 2 + 1
            box = QRectF(at - half, SWATCH + 2, 2 * half, metrics.height())
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
        painter.end()
