"""A waterfall of signed terms: each bar begins where the one before ended, the last lines are their sum."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QHelpEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QToolTip, QWidget

from moedesk.ui.lines import Lines
from moedesk.ui.term import Term

PAD = 6


class Terms(Lines):
    """Draws ``Term`` lines on one scale, with 0 marked."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(title, width=260, least=160, room=4, parent=parent)
        self.terms: Sequence[Term] = ()

    def set_terms(self, terms: Sequence[Term]) -> None:
        """Draw other lines."""
        taller = len(terms) != len(self.terms)
        self.terms = terms
        if taller:
            self.updateGeometry()
        self.update()

    @property
    def count(self) -> int:
        """Number of terms."""
        return len(self.terms)

    def bar(self, line: int) -> QRectF:
        """Return where a line's bar is."""
        term, area = self.terms[line], self._area(line)
        left, right = sorted((self._x(term.start), self._x(term.end)))
        return QRectF(left, area.top(), max(right - left, 1.0), area.height())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the lines."""
        painter = QPainter(self)
        theme = self.theme
        painter.fillRect(self.rect(), theme.color("surface"))
        names, _ = self._widths()
        colors = {"term": None, "remainder": theme.color("muted"), "sum": theme.color("accent")}
        for line, term in enumerate(self.terms):
            row = QRectF(0, line * self.line_height, self.width(), self.line_height)
            if term.kind == "sum":
                painter.setPen(QPen(theme.color("border"), 1))
                painter.drawLine(QLineF(0, row.top(), self.width(), row.top()))
            painter.setPen(theme.color("muted" if term.kind == "remainder" else "text"))
            name = painter.fontMetrics().elidedText(term.name, Qt.TextElideMode.ElideRight, int(names))
            middle = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(0, row.top(), names, row.height()), middle, name)
            painter.drawText(row, middle | Qt.AlignmentFlag.AlignRight, term.value)
            signed = theme.color("success" if term.end >= term.start else "error")
            painter.fillRect(self.bar(line), colors[term.kind] or signed)
        if self.terms:
            painter.setPen(QPen(theme.color("text"), 1, Qt.PenStyle.DotLine))
            painter.drawLine(QLineF(self._x(0.0), 0, self._x(0.0), self.height()))
        painter.end()

    def _area(self, line: int) -> QRectF:
        names, values = self._widths()
        width = max(self.width() - names - values - 2 * PAD, 1.0)
        return QRectF(names + PAD, line * self.line_height + 3, width, self.line_height - 6)

    def _x(self, value: float) -> float:
        ends = [0.0, *(end for term in self.terms for end in (term.start, term.end))]
        low, high = min(ends), max(ends)
        area = self._area(0)
        return area.left() + (value - low) / ((high - low) or 1.0) * area.width()

    def _widths(self) -> tuple[float, float]:
        """Room for names and for values."""
        metrics = self.fontMetrics()
        values = max((metrics.horizontalAdvance(term.value) for term in self.terms), default=0)
        names = max((metrics.horizontalAdvance(term.name) for term in self.terms), default=0)
        return min(self.width() * 0.4, names + 2.0), float(values)

    def event(self, event: QEvent) -> bool:
        """Say what the line under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            line = self.line_at(QPointF(event.pos()))
            term = self.terms[line] if line >= 0 else None
            text = "" if term is None else f"{term.name}: {term.value}" + (f"\n{term.hint}" if term.hint else "")
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)
