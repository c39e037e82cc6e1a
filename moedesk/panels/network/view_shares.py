"""The experts on a page of tokens, a coloured chip each: what the colours of the text stand for."""

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from moedesk.ui.theme import LIGHT, Theme


class ExpertShares(QWidget):
    """Chips with an expert's number and its share of first choices, as many as there is room for.

    Signals
    -------
    picked : int
        A chip was clicked.
    """

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self._shares: list[tuple[int, float]] = []
        self._selected: int | None = None
        self._known: dict[int, tuple[QColor, QColor]] = {}
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Share of the tokens shown that have the expert as first choice (largest weight); click to select it"
        )

    def set_shares(self, shares: list[tuple[int, float]], selected: int | None) -> None:
        """Show (expert, share), the largest first, one of them marked."""
        self._shares, self._selected = shares, selected
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self._known.clear()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the height of a line."""
        return QSize(100, self.fontMetrics().height() + 6)

    def boxes(self) -> list[tuple[int, str, QRectF]]:
        """Return expert, text and place of every chip there is room for."""
        result, x = [], 0.0
        metrics = self.fontMetrics()
        for expert, share in self._shares:
            text = f"{expert} · {share:.0%}"
            width = metrics.horizontalAdvance(text) + 10
            if x + width > self.width() - (0 if expert == self._shares[-1][0] else metrics.horizontalAdvance("+999")):
                break
            result.append((expert, text, QRectF(x + 0.5, 1.5, width, self.height() - 4)))
            x += width + 4
        return result

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the chips."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        boxes = self.boxes()
        for expert, text, box in boxes:
            color, ink = self._colors(expert)
            painter.setBrush(color)
            painter.setPen(self._theme.color("text") if expert == self._selected else color)
            painter.drawRoundedRect(box, 3, 3)
            painter.setPen(ink)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
        rest = len(self._shares) - len(boxes)
        if rest:
            left = boxes[-1][2].right() + 4 if boxes else 0
            painter.setPen(self._theme.color("muted"))
            area = QRectF(left, 0, self.width() - left, self.height())
            painter.drawText(area, Qt.AlignmentFlag.AlignVCenter, f"+{rest}")
        painter.end()

    def _colors(self, expert: int) -> tuple[QColor, QColor]:
        """Return the colour of an expert's chip and of the text on it."""
        if expert not in self._known:
            color = self._theme.expert_color(expert)
            self._known[expert] = (color, self._theme.text_on(color))
        return self._known[expert]

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Pick an expert."""
        for expert, _, box in self.boxes():
            if box.contains(event.position()) and event.button() == Qt.MouseButton.LeftButton:
                self.picked.emit(expert)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the font."""
        super().changeEvent(event)
        self.updateGeometry()
