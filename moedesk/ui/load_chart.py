"""Two bars an expert: its share of slots on two sides, such as two captures, or without and with overrides."""

from math import ceil

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.ui.load_pair import LoadPair
from moedesk.ui.theme import LIGHT, Theme

_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 10, 24, 38


class LoadChart(QWidget):
    """Draws a ``LoadPair``, from most gained on the second side to most lost; a click names the expert through ``picked``."""

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.pair: LoadPair | None = None
        self.expert: int | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Load of each expert on both sides")
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return what axis and labels need."""
        return QSize(220, 140)

    def set_pair(self, pair: LoadPair | None) -> None:
        """Draw another layer."""
        self.pair = pair
        self.update()

    def set_expert(self, expert: int | None) -> None:
        """Mark an expert."""
        self.expert = expert
        self.update()

    def place_at(self, x: float) -> int | None:
        """Return the place of the expert at a distance from the left edge; None beside the bars."""
        area = self._area()
        if self.pair is None or not area.left() <= x < area.right():
            return None
        return int((x - area.left()) / self._width())

    def center_of(self, expert: int) -> QPointF:
        """Return the middle of an expert's bars."""
        assert self.pair is not None
        place = int((self.pair.experts == expert).nonzero()[0][0])
        area = self._area()
        return QPointF(area.left() + (place + 0.5) * self._width(), area.center().y())

    def event(self, event: QEvent) -> bool:
        """Say what the bars under the mouse are."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            place = self.place_at(event.pos().x())
            text = self.pair.hint(place) if self.pair is not None and place is not None else ""
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Pick an expert."""
        place = self.place_at(event.position().x())
        if self.pair is not None and place is not None and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(int(self.pair.experts[place]))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw axis and bars."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        if self.pair is None:
            painter.setPen(self.theme.color("muted"))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "Nothing was routed at this layer.")
            return
        self._draw_axis(painter)
        self._draw_bars(painter)
        self._draw_labels(painter)

    def _area(self) -> QRectF:
        return QRectF(self.rect()).adjusted(_LEFT, _TOP, -_RIGHT, -_BOTTOM)

    def _width(self) -> float:
        assert self.pair is not None
        return self._area().width() / len(self.pair.experts)

    def _y(self, share: float) -> float:
        assert self.pair is not None
        return self._area().bottom() - self._area().height() * share / (self.pair.top * 1.05)

    def _draw_axis(self, painter: QPainter) -> None:
        assert self.pair is not None
        area = self._area()
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for share in (0.0, self.pair.top / 2, self.pair.top):
            y = self._y(share)
            painter.setPen(self.theme.color("grid"))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(self.theme.color("muted"))
            painter.drawText(QRectF(0, y - 10, _LEFT - 6, 20), right, f"{share:.1%}")
        self._draw_line(
            painter,
            QRectF(8, 2, self.width() - 16, _TOP - 4),
            Qt.AlignmentFlag.AlignVCenter,
            f"Grey {self.pair.sides[0]}, coloured {self.pair.sides[1]}: shares of slots",
        )

    def _draw_bars(self, painter: QPainter) -> None:
        assert self.pair is not None
        area, width = self._area(), self._width()
        gap = min(2.0, width * 0.15)
        half = (width - gap) / 2
        for place, (expert, a, b) in enumerate(
            zip(self.pair.experts.tolist(), self.pair.a.tolist(), self.pair.b.tolist(), strict=True)
        ):
            left = area.left() + place * width + gap / 2
            for share, x, color in (
                (a, left, self.theme.color("dead")),
                (b, left + half, self.theme.expert_color(expert)),
            ):
                top = self._y(share)
                painter.fillRect(QRectF(x, top, max(half, 0.5), area.bottom() - top), color)
            if expert == self.expert:
                painter.setPen(QPen(self.theme.color("text"), 2))
                painter.drawRect(QRectF(left - 1, area.top(), width - gap + 2, area.height()))

    def _draw_labels(self, painter: QPainter) -> None:
        assert self.pair is not None
        area, metrics = self._area(), painter.fontMetrics()
        box = metrics.horizontalAdvance(str(len(self.pair.experts))) + 6
        step = max(1, ceil(box / self._width()))
        painter.setPen(self.theme.color("muted"))
        for place in range(0, len(self.pair.experts), step):
            x = area.left() + (place + 0.5) * self._width()
            label = QRectF(x - box / 2, area.bottom() + 2, box, metrics.height())
            painter.drawText(label, Qt.AlignmentFlag.AlignCenter, str(self.pair.experts[place]))
        below = QRectF(area.left(), area.bottom() + 4 + metrics.height(), area.width(), metrics.height())
        text = f"Expert, from most gained to most lost ({' → '.join(self.pair.sides)})"
        self._draw_line(painter, below, Qt.AlignmentFlag.AlignCenter, text)

    def _draw_line(self, painter: QPainter, room: QRectF, side: Qt.AlignmentFlag, text: str) -> None:
        """Draw a line of text, which ends in … where there is no room for it."""
        elided = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, int(room.width()))
        painter.drawText(room, side, elided)
