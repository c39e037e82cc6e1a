"""Occurrences of an expert, a line each, its token in the middle."""

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetricsF, QHelpEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.analysis.expert.contexts import Context
from moedesk.core.visible import visible_text
from moedesk.panels.experts.model_tokens import context_hint
from moedesk.ui.theme import LIGHT, Theme

WEIGHT = 46  # room for the weight


class ContextLines(QWidget):
    """Draws contexts with their tokens one below the other; a click names the token row through ``picked``."""

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.contexts: tuple[Context, ...] = ()
        self.expert = -1
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Contexts")
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def set_contexts(self, contexts: tuple[Context, ...], expert: int) -> None:
        """Draw others."""
        taller = len(contexts) != len(self.contexts)
        self.contexts, self.expert = contexts, expert
        if taller:
            self.updateGeometry()
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.theme = theme
        self.update()

    @property
    def line_height(self) -> int:
        """Pixels of a line."""
        return self.fontMetrics().height() + 7

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a line for each context."""
        return QSize(420, max(1, len(self.contexts)) * self.line_height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return a line for each context."""
        return QSize(160, self.sizeHint().height())

    def line_at(self, place: QPointF) -> int:
        """Return the line at a point, or -1."""
        line = int(place.y() // self.line_height)
        return line if 0 <= line < len(self.contexts) else -1

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
