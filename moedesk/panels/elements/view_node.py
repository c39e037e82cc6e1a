"""Paints a node of the tree: its name, its class, and its badges."""

from dataclasses import replace

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QTreeView

from moedesk.panels.elements.model_tree import Badge
from moedesk.panels.elements.view_tree_model import NODE_ROLE, TreeModel
from moedesk.ui.theme import Theme

_GAP = 6
_PADDING = 5
_ROLES = {"moe": "accent", "router": "warning", "expert": "success", "shared": "muted", "detail": "muted"}
_ROLES |= {"verified": "success", "failed": "error", "unchecked": "muted"}
_ROLES |= {"breakpoint": "error", "overridden": "warning"}


class NodeDelegate(QStyledItemDelegate):
    """Draws the first column; needs ``theme`` before the first paint."""

    def __init__(self, tree: QTreeView) -> None:
        super().__init__(tree)
        self.theme: Theme | None = None

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draw row background, name, class and badges, from left to right, as much as fits."""
        model = index.model()
        if self.theme is None or not isinstance(model, TreeModel) or model.outline is None:
            super().paint(painter, option, index)
            return
        plain = QStyleOptionViewItem(option)
        self.initStyleOption(plain, index)
        plain.text = ""
        tree = plain.widget
        tree.style().drawControl(QStyle.ControlElement.CE_ItemViewItem, plain, painter, tree)
        outline, node = model.outline, index.data(NODE_ROLE)
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        painter.save()
        area = QRectF(option.rect).adjusted(4, 0, -4, 0)
        ink = self.theme.color("selection_text" if selected else "text")
        faint = ink if selected else self.theme.color("muted")
        font = QFont(option.font)
        badges = model.badges(node)
        if badges or outline.kind(node) == "expert":
            font.setBold(True)
        area = _draw_text(painter, area, outline.name(node), font, ink)
        # The badges say what a node is: the class makes way for them.
        reserved = sum(_badge_width(badge, option.font) + _GAP for badge in badges)
        room = QRectF(area.left(), area.top(), max(0.0, area.width() - reserved), area.height())
        rest = _draw_text(painter, room, outline.class_name(node), option.font, faint)
        area.setLeft(rest.left())
        for badge in badges:
            area = self._draw_badge(painter, area, badge, option.font, ink if selected else None)
        painter.restore()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:  # noqa: N802
        """Return one line with room for a badge."""
        return QSize(80, QFontMetrics(option.font).height() + 6)

    def _draw_badge(self, painter: QPainter, area: QRectF, badge: Badge, font: QFont, ink: QColor | None) -> QRectF:
        assert self.theme is not None
        width = _badge_width(badge, font)
        if area.width() < width and badge.short:
            badge = replace(badge, text=badge.short)
            width = _badge_width(badge, font)
        if area.width() < width:
            area.setLeft(area.right())
            return area
        color = ink or self.theme.color(_ROLES[badge.role])
        height = QFontMetrics(_small(font)).height() + 2
        box = QRectF(area.left(), area.center().y() - height / 2, width, height)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if badge.role != "detail":
            fill = QColor(color)
            fill.setAlpha(36)
            painter.setBrush(fill)
            painter.setPen(color)
            painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)
        painter.setFont(_small(font))
        painter.setPen(color)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, badge.text)
        area.setLeft(box.right() + _GAP)
        return area


def _draw_text(painter: QPainter, area: QRectF, text: str, font: QFont, color: QColor) -> QRectF:
    """Draw a text at the left of an area, cut off with an ellipsis where it must, and return what is left of the area."""
    metrics = QFontMetrics(font)
    shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, int(area.width()))
    if shown in ("", "…") or area.width() < metrics.horizontalAdvance("…"):
        return area
    painter.setFont(font)
    painter.setPen(color)
    painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, shown)
    return QRectF(area).adjusted(metrics.horizontalAdvance(shown) + _GAP, 0, 0, 0)


def _badge_width(badge: Badge, font: QFont) -> float:
    return QFontMetrics(_small(font)).horizontalAdvance(badge.text) + 2 * (_PADDING if badge.role != "detail" else 1)


def _small(font: QFont) -> QFont:
    small = QFont(font)
    if font.pointSizeF() > 0:
        small.setPointSizeF(font.pointSizeF() * 0.88)
    else:
        small.setPixelSize(round(font.pixelSize() * 0.88))
    return small
