"""Small multiples: a little curve for each expert, all on one scale."""

from math import ceil

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.ui.multiples import Multiples
from moedesk.ui.theme import LIGHT, Theme

WIDE, HIGH, GAP = 62, 40, 6


class SmallMultiples(QWidget):
    """Draws ``Multiples`` in a grid as wide as there is room; a click names the expert through ``picked``."""

    picked = Signal(int)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.multiples: Multiples | None = None
        self.marked = -1
        self.setMouseTracking(True)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setAccessibleName(title)
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def set_multiples(self, multiples: Multiples | None, marked: int) -> None:
        """Draw other curves, one expert's marked."""
        before = self._count
        self.multiples, self.marked = multiples, marked
        if self._count != before:
            self.updateGeometry()
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.theme = theme
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return four in a row."""
        return QSize(4 * WIDE, self.heightForWidth(4 * WIDE))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return two in a row."""
        return QSize(2 * WIDE, HIGH)

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        """Return the height of all rows."""
        return max(1, ceil(self._count / self._columns(width))) * HIGH

    def box(self, place: int) -> QRectF:
        """Return where a curve with its name is drawn."""
        columns = self._columns(self.width())
        wide = self.width() / columns
        return QRectF(place % columns * wide, place // columns * HIGH, wide - GAP, HIGH - 4)

    def place_at(self, at: QPointF) -> int:
        """Return the curve at a point, or -1."""
        return next((place for place in range(self._count) if self.box(place).contains(at)), -1)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw every curve."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        for place in range(self._count):
            self._draw(painter, place)

    def _draw(self, painter: QPainter, place: int) -> None:
        assert self.multiples is not None
        expert, shares = self.multiples.experts[place], self.multiples.shares[place]
        box, line = self.box(place), self.fontMetrics().height()
        mine = expert == self.marked
        font = self.font()
        font.setBold(mine)
        painter.setFont(font)
        painter.setPen(self.theme.color("text" if mine else "muted"))
        painter.drawText(box, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop, str(expert))
        area = box.adjusted(0, line, 0, 0)
        painter.fillRect(area, self.theme.color("hover" if mine else "background"))
        even = area.bottom() - min(1.0, self.multiples.even / self.multiples.top) * area.height()
        painter.setPen(QPen(self.theme.color("muted"), 1, Qt.PenStyle.DotLine))
        painter.drawLine(QLineF(area.left(), even, area.right(), even))
        painter.setPen(QPen(self.theme.color("text"), 1))
        ys = area.bottom() - np.minimum(1.0, shares / self.multiples.top) * (area.height() - 1)
        xs = np.linspace(area.left(), area.right(), len(shares))
        for run in _known_runs(shares):
            painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in zip(xs[run], ys[run], strict=True)]))
        if mine:
            painter.setPen(QPen(self.theme.color("error"), 1.5))
            painter.drawRect(area)

    @property
    def _count(self) -> int:
        return 0 if self.multiples is None else len(self.multiples.experts)

    def _columns(self, width: int) -> int:
        return max(1, width // WIDE)

    def event(self, event: QEvent) -> bool:
        """Say what the curve under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            place = self.place_at(QPointF(event.pos()))
            known = self.multiples is not None and place >= 0
            QToolTip.showText(event.globalPos(), self.multiples.hint(place) if known and self.multiples else "", self)
            return True
        return super().event(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show what can be clicked."""
        over = self.place_at(event.position()) >= 0
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Name the expert."""
        place = self.place_at(event.position())
        if self.multiples is not None and place >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(self.multiples.experts[place])


def _known_runs(values: npt.NDArray[np.float64]) -> list[npt.NDArray[np.intp]]:
    """Places of known values, a run each."""
    known = np.flatnonzero(np.isfinite(values))
    return [run for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1) if len(run)]
