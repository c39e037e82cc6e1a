"""Gauges of an audit's scores: a ring, a number and a word; a click shows that category alone."""

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QHBoxLayout, QSizePolicy, QWidget

from moedesk.panels.audits.model_scores import Score
from moedesk.ui.theme import LIGHT, Theme

RING = 40
"""Diameter of a gauge in pixels, …"""
SMALL_RING = 34
"""… and where there is little room."""
_START, _WHOLE = 90 * 16, -360 * 16  # from the top, clockwise, in Qt's sixteenths of a degree


class Gauge(QAbstractButton):
    """One score."""

    def __init__(self, score: Score, theme: Theme) -> None:
        super().__init__()
        self.score = score
        self.theme = theme
        self.setCheckable(True)
        number = "not judged" if score.value is None else f"{score.value} of 100, {score.word}"
        self.setAccessibleName(f"{score.title}: {number}")
        self.setToolTip(f"{score.title}: {number}\n{score.hint}\nClick to see only these findings.")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return room for the ring and two lines beside it."""
        metrics = self.fontMetrics()
        wide = max(metrics.horizontalAdvance(self.score.title), metrics.horizontalAdvance("not judged"))
        return QSize(RING + wide + 22, max(RING, 2 * metrics.height()) + 8)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return room for the ring and a few letters."""
        return QSize(SMALL_RING + 34, self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw ring, number, title and word."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        theme, score = self.theme, self.score
        if self.isChecked() or self.underMouse():
            painter.fillRect(self.rect(), theme.color("selection" if self.isChecked() else "hover"))
        if self.hasFocus():
            painter.setPen(theme.color("focus"))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        size = RING if self.width() >= self.sizeHint().width() else SMALL_RING
        ring = QRectF(3, (self.height() - size) / 2 + 2, size - 4, size - 4)
        painter.setPen(QPen(theme.color("border"), 4))
        painter.drawEllipse(ring)
        if score.value is not None:
            painter.setPen(QPen(theme.color(score.role), 4, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap))
            painter.drawArc(ring, _START, round(_WHOLE * score.value / 100))
        self._write(painter, ring)
        painter.end()

    def _write(self, painter: QPainter, ring: QRectF) -> None:
        theme, score, metrics = self.theme, self.score, self.fontMetrics()
        text = theme.color("selection_text" if self.isChecked() else "text")
        font = self.font()
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(text)
        painter.drawText(ring, Qt.AlignmentFlag.AlignCenter, "–" if score.value is None else str(score.value))
        painter.setFont(self.font())
        left = ring.right() + 5
        lines = QRectF(left, self.height() / 2 - metrics.height(), self.width() - left - 1, metrics.height())
        elide = Qt.TextElideMode.ElideRight
        painter.drawText(
            lines, Qt.AlignmentFlag.AlignVCenter, metrics.elidedText(score.title, elide, int(lines.width()))
        )
        painter.setPen(text if self.isChecked() else theme.color(score.role))
        lines.translate(0, metrics.height())
        painter.drawText(
            lines, Qt.AlignmentFlag.AlignVCenter, metrics.elidedText(score.word, elide, int(lines.width()))
        )


class ScoresView(QWidget):
    """All gauges in a row.

    Signals
    -------
    chosen : str
        The category whose gauge was clicked; empty for the total, or where it was clicked again.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._theme: Theme = LIGHT
        self.gauges: list[Gauge] = []
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(4, 2, 4, 2)
        self._row.setSpacing(4)
        self._row.addStretch(1)

    def set_scores(self, scores: tuple[Score, ...]) -> None:
        """Show other scores."""
        for gauge in self.gauges:
            self._row.removeWidget(gauge)
            gauge.hide()
            gauge.deleteLater()
        self.gauges = [Gauge(score, self._theme) for score in scores]
        for place, gauge in enumerate(self.gauges):
            self._row.insertWidget(place, gauge)
            gauge.clicked.connect(lambda checked, gauge=gauge: self.chosen.emit(gauge.score.key if checked else ""))

    def set_category(self, category: str) -> None:
        """Show which category is shown alone; empty for all."""
        for gauge in self.gauges:
            gauge.setChecked(bool(category) and gauge.score.key == category)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        for gauge in self.gauges:
            gauge.theme = theme
            gauge.update()
