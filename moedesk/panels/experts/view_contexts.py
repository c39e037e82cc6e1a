"""Occurrences of an expert, a line each, its token in the middle."""

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QFontMetricsF, QHelpEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QToolTip, QWidget

from moedesk.analysis.expert.contexts import Context
from moedesk.core.visible import visible_text
from moedesk.panels.experts.model_tokens import context_hint
from moedesk.ui.lines import Lines

WEIGHT = 46  # room for the weight


class ContextLines(Lines):
    """Draws contexts with their tokens one below the other; a click names the token row through ``picked``."""

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Contexts", width=420, least=160, room=7, parent=parent)
        self.contexts: tuple[Context, ...] = ()
        self.expert = -1

    def set_contexts(self, contexts: tuple[Context, ...], expert: int) -> None:
        """Draw others."""
        taller = len(contexts) != len(self.contexts)
        self.contexts, self.expert = contexts, expert
        if taller:
            self.updateGeometry()
        self.update()

    @property
    def count(self) -> int:
        """Number of contexts."""
        return len(self.contexts)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the lines."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        painter.setFont(self.theme.mono_font)
        metrics = QFontMetricsF(painter.font())
        for line, context in enumerate(self.contexts):
            self._draw(painter, metrics, context, line * self.line_height)

    def _draw(self, painter: QPainter, metrics: QFontMetricsF, context: Context, top: float) -> None:
        height, middle = self.line_height, Qt.AlignmentFlag.AlignVCenter
        painter.setPen(self.theme.color("muted"))
        painter.drawText(
            QRectF(0, top, WEIGHT - 6, height), middle | Qt.AlignmentFlag.AlignRight, f"{context.weight:.2f}"
        )
        token = visible_text(context.token) or "⟨empty⟩"
        room = self.width() - WEIGHT
        wide = min(metrics.horizontalAdvance(token) + 4, room * 0.6)
        left = WEIGHT + (room - wide) * 0.5
        color = self.theme.expert_color(self.expert)
        box = QRectF(left, top + 2, wide, height - 4)
        painter.fillRect(box, color)
        painter.setPen(self.theme.text_on(color))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, token)
        painter.setPen(self.theme.color("text"))
        before = QRectF(WEIGHT, top, left - WEIGHT - 2, height)
        after = QRectF(left + wide + 2, top, self.width() - left - wide - 2, height)
        start = "" if context.begins else "…"
        end = " ■" if context.ends else "…"
        for area, text, side, elide in (
            (before, start + visible_text(context.before), Qt.AlignmentFlag.AlignRight, Qt.TextElideMode.ElideLeft),
            (after, visible_text(context.after) + end, Qt.AlignmentFlag.AlignLeft, Qt.TextElideMode.ElideRight),
        ):
            painter.drawText(area, middle | side, metrics.elidedText(text, elide, area.width()))

    def event(self, event: QEvent) -> bool:
        """Say where the line under the mouse stands."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            line = self.line_at(QPointF(event.pos()))
            QToolTip.showText(event.globalPos(), context_hint(self.contexts[line]) if line >= 0 else "", self)
            return True
        return super().event(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show that a line can be clicked."""
        over = self.line_at(event.position()) >= 0
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Name the token row."""
        line = self.line_at(event.position())
        if line >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(self.contexts[line].row)
