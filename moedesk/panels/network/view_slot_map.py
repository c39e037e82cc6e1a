"""A map of effects: a line for each layer, a cell for each slot, green where it helped and red where it hurt."""

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.ui.theme import LIGHT, Theme

Floats = npt.NDArray[np.float64]
TALL, LOW, MANY = 19, 9, 24
"""Pixels of a line, and of one where there are more than ``MANY``."""


class SlotMap(QWidget):
    """Draws (L, k) values; the strength of a colour is the value's share of the largest one.

    Signals
    -------
    picked : int, int
        Line and slot that were clicked.
    """

    picked = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self.values: Floats = np.zeros((0, 0))
        self.experts = np.zeros((0, 0), np.int64)
        self.names: list[str] = []
        self._hint = "{name}, expert {expert}: {value:.4g}"
        self._signed = True
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Effects by layer and slot")
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def set_values(
        self, values: Floats, experts: npt.NDArray[np.int64], names: list[str], signed: bool, hint: str
    ) -> None:
        """Draw other values.

        Parameters
        ----------
        values : (L, k)
            NaN for none.
        experts : (L, k)
            Whose they are.
        names : list of str
            Of the lines.
        signed : bool
            Whether below 0 is worse.
        hint : str
            Format of what is said of a cell, with ``name``, ``expert`` and ``value``.
        """
        self.values, self.experts, self.names = values, experts, names
        self._signed, self._hint = signed, hint
        self.updateGeometry()
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.update()

    @property
    def line_height(self) -> int:
        """Pixels of a line."""
        return LOW if len(self.values) > MANY else TALL

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a line for each layer."""
        return QSize(220, max(1, len(self.values)) * self.line_height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the same height."""
        return QSize(120, self.sizeHint().height())

    def cell(self, line: int, slot: int) -> QRectF:
        """Return where a cell is."""
        left = self._left
        width = max((self.width() - left) / max(self.values.shape[1], 1), 1.0)
        return QRectF(left + slot * width, line * self.line_height, width - 1, self.line_height - 1)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the cells."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._theme.color("surface"))
        top = float(np.nanmax(np.abs(self.values))) if np.isfinite(self.values).any() else 0.0
        tall = self.line_height == TALL
        for line, name in enumerate(self.names):
            if tall or line % 2 == 0:
                painter.setPen(self._theme.color("muted"))
                area = QRectF(0, line * self.line_height, self._left, max(self.line_height, TALL))
                painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, name)
            for slot in range(self.values.shape[1]):
                self._draw_cell(painter, line, slot, top, tall)
        painter.end()

    def _draw_cell(self, painter: QPainter, line: int, slot: int, top: float, tall: bool) -> None:
        value, expert, box = self.values[line, slot], self.experts[line, slot], self.cell(line, slot)
        color = self.color(float(value), top)
        painter.fillRect(box, color)
        text = str(expert)
        if tall and expert >= 0 and painter.fontMetrics().horizontalAdvance(text) < box.width():
            painter.setPen(self._theme.text_on(color))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    def color(self, value: float, top: float) -> QColor:
        """Return the colour of a value if ``top`` is the largest."""
        if not np.isfinite(value):
            return self._theme.color("missing")
        strong = self._theme.color("accent" if not self._signed else "success" if value >= 0 else "error")
        weak, share = self._theme.color("grid"), abs(value) / top if top else 0.0
        pairs = ((weak.red(), strong.red()), (weak.green(), strong.green()), (weak.blue(), strong.blue()))
        return QColor(*(round(a + (b - a) * share) for a, b in pairs))

    @property
    def _left(self) -> float:
        return max((self.fontMetrics().horizontalAdvance(name) for name in self.names), default=0) + 6

    def cell_at(self, place: QPointF) -> tuple[int, int] | None:
        """Return line and slot at a point, None where there is no slot."""
        line = int(place.y() // self.line_height)
        if not 0 <= line < len(self.values) or place.x() < self._left:
            return None
        slot = int((place.x() - self._left) / (self.width() - self._left) * self.values.shape[1])
        return (line, slot) if slot < self.values.shape[1] and self.experts[line, slot] >= 0 else None

    def event(self, event: QEvent) -> bool:
        """Say what the cell under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            found = self.cell_at(QPointF(event.pos()))
            text = ""
            if found is not None:
                text = self._hint.format(
                    name=self.names[found[0]], expert=int(self.experts[found]), value=float(self.values[found])
                )
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show what can be clicked."""
        can = self.cell_at(event.position()) is not None
        self.setCursor(Qt.CursorShape.PointingHandCursor if can else Qt.CursorShape.ArrowCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Name what was clicked."""
        found = self.cell_at(event.position())
        if found is not None and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(*found)
