"""A plot of flips against margin: where all tokens' margins lie, where those of flips, and what noise can reach."""

from math import floor, log10

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.panels.compare.model_margins import MarginPlot
from moedesk.ui.theme import LIGHT, Theme

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 40, 36


class MarginChart(QWidget):
    """Draws a ``MarginPlot``: both axes are logarithmic."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.plot: MarginPlot | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Margins of all tokens and of those that flip")
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return what axes and labels need."""
        return QSize(220, 140)

    def set_plot(self, plot: MarginPlot | None) -> None:
        """Draw another layer."""
        self.plot = plot
        self.update()

    def bin_at(self, x: float) -> int | None:
        """Return the bin at a distance from the left edge; None beside the plot."""
        area = self._area()
        if self.plot is None or not area.left() <= x < area.right():
            return None
        return int((x - area.left()) / area.width() * len(self.plot.tokens))

    def event(self, event: QEvent) -> bool:
        """Say what the bin under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            place = self.bin_at(event.pos().x())
            text = self.plot.hint(place) if self.plot is not None and place is not None else ""
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw reach, bars and axes."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        if self.plot is None:
            return
        self._draw_reach(painter)
        self._draw_counts(painter)
        self._draw_bars(painter)
        self._draw_margins(painter)
        self._draw_legend(painter)

    def _area(self) -> QRectF:
        return QRectF(self.rect()).adjusted(_LEFT, _TOP, -_RIGHT, -_BOTTOM)

    def _x(self, margin: float) -> float:
        assert self.plot is not None
        area, low, high = self._area(), log10(self.plot.edges[0]), log10(self.plot.edges[-1])
        return area.left() + area.width() * min(max((log10(margin) - low) / (high - low), 0.0), 1.0)

    def _y(self, count: float) -> float:
        """Height of a count: half a token is the floor, so that one can be seen."""
        assert self.plot is not None
        area, top = self._area(), max(float(self.plot.tokens.max()), 1.0) * 1.3
        return area.bottom() - area.height() * max(0.0, log10(max(count, 0.5) / 0.5) / log10(top / 0.5))

    def _draw_reach(self, painter: QPainter) -> None:
        assert self.plot is not None
        area = self._area()
        if self.plot.reach <= 0:
            return
        x = self._x(self.plot.reach)
        shade = QColor(self.theme.color("grid"))
        painter.fillRect(QRectF(area.left(), area.top(), x - area.left(), area.height()), shade)
        painter.setPen(QPen(self.theme.color("text"), 1, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))

    def _draw_counts(self, painter: QPainter) -> None:
        assert self.plot is not None
        area = self._area()
        top = floor(log10(max(float(self.plot.tokens.max()), 1.0)))
        for power in range(top + 1):
            y = self._y(10.0**power)
            painter.setPen(self.theme.color("border"))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(self.theme.color("muted"))
            box = QRectF(0, y - 10, _LEFT - 6, 20)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{10**power:,}")

    def _draw_bars(self, painter: QPainter) -> None:
        assert self.plot is not None
        area, width = self._area(), self._area().width() / len(self.plot.tokens)
        for counts, color, inset in (
            (self.plot.tokens, self.theme.color("dead"), 0.5),
            (self.plot.flips, self.theme.color("accent"), width * 0.25),
        ):
            for place, count in enumerate(counts.tolist()):
                if count:
                    top = self._y(count)
                    left = area.left() + place * width + inset
                    painter.fillRect(QRectF(left, top, max(width - 2 * inset, 1), area.bottom() - top), color)

    def _draw_margins(self, painter: QPainter) -> None:
        assert self.plot is not None
        area = self._area()
        painter.setPen(self.theme.color("muted"))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        low, high = log10(self.plot.edges[0]), log10(self.plot.edges[-1])
        end = -1.0
        for power in range(floor(low) + 1, floor(high) + 1):
            x = self._x(10.0**power)
            if x - 24 > end:
                painter.drawLine(QPointF(x, area.bottom()), QPointF(x, area.bottom() + 4))
                painter.drawText(
                    QRectF(x - 30, area.bottom() + 3, 60, 16), Qt.AlignmentFlag.AlignCenter, f"{10.0**power:g}"
                )
                end = x + 24
        box = QRectF(area.left(), area.bottom() + 18, area.width(), 18)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, "Margin in A (score of rank k − rank k+1)")

    def _draw_legend(self, painter: QPainter) -> None:
        assert self.plot is not None
        x, metrics = 8.0, painter.fontMetrics()
        height = metrics.height()
        about = f" (every {self.plot.sampled}th looked at)" if self.plot.sampled > 1 else ""
        for role, text in (("dead", f"tokens{about}"), ("accent", "of them flip")):
            painter.fillRect(QRectF(x, 4 + height / 2 - 4, 10, 8), self.theme.color(role))
            painter.setPen(self.theme.color("muted"))
            painter.drawText(QPointF(x + 14, 4 + metrics.ascent()), text)
            x += 30 + metrics.horizontalAdvance(text)
        painter.drawText(
            QPointF(8, 6 + height + metrics.ascent()),
            f"– – shaded: in reach of the moves seen without a flip ({self.plot.reach:.2g})",
        )
