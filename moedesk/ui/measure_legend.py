"""What the colours of a heat map or a waterfall mean."""

import numpy as np
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from moedesk.analysis.waterfall_measure import MEASURES, Measure
from moedesk.ui.theme import FIRST_LEVEL, LIGHT, Theme

BAR = 150
SWATCH = 12


class MeasureLegend(QWidget):
    """A colour bar of a measure, load ÷ uniform share at first; beside it the cells without tokens, and without a value."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self._measure: Measure = MEASURES["load"]
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.set_measure(self._measure)

    def set_measure(self, measure: Measure) -> None:
        """Explain another measure."""
        self._measure = measure
        unknown = "no value is known" if measure.column else "its layer saw no tokens"
        self.setToolTip(f"{measure.convention}\nnone: the expert got no tokens; {self._unknown}: {unknown}")
        self.setAccessibleName(f"Colours: {measure.convention}")
        self.updateGeometry()
        self.update()

    @property
    def _unknown(self) -> str:
        return "unknown" if self._measure.column else "idle"

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return room for the bar and its texts."""
        metrics = self.fontMetrics()
        texts = sum(metrics.horizontalAdvance(text) + SWATCH + 14 for text in ("none", self._unknown))
        return QSize(texts + BAR + 62, max(metrics.height() + 13, 28))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the bar."""
        painter = QPainter(self)
        metrics = self.fontMetrics()
        x = 0.0
        for text, role in ((self._unknown, "missing"), ("none", "dead")):
            painter.setPen(self._theme.color("border"))
            painter.setBrush(self._theme.color(role))
            painter.drawRect(QRectF(x + 0.5, 2.5, SWATCH, SWATCH - 3))
            painter.setPen(self._theme.color("muted"))
            width = metrics.horizontalAdvance(text)
            painter.drawText(QRectF(x + SWATCH + 4, 0, width + 2, SWATCH + 2), Qt.AlignmentFlag.AlignVCenter, text)
            x += SWATCH + width + 14
        x += 18
        colors = self._theme.load_lut[FIRST_LEVEL:]
        image = QImage(np.ascontiguousarray(colors).data, len(colors), 1, QImage.Format.Format_RGBA8888)
        painter.drawImage(QRectF(x, 2, BAR, SWATCH - 2), image)
        painter.setPen(self._theme.color("muted"))
        for value, text in self._measure.ticks:
            index = int(self._measure.indexes(np.array([value], np.float32))[0])
            at = x + BAR * (index - 1) / 253
            painter.drawLine(int(at), SWATCH, int(at), SWATCH + 2)
            half = metrics.horizontalAdvance(text) / 2 + 1
            painter.drawText(
                QRectF(at - half, SWATCH + 2, 2 * half, metrics.height()), Qt.AlignmentFlag.AlignCenter, text
            )
        painter.end()
