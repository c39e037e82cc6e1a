"""A graph of one expert and those around it, at places that depend on nothing but their order."""

from math import cos, pi, sin

from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.ui.graph import GraphEdge, GraphNode
from moedesk.ui.theme import LIGHT, Theme

RADIUS = 17.0
THICKEST = 10.0


class FriendGraph(QWidget):
    """Draws nodes and edges; a click on a node names its key through ``picked``."""

    picked = Signal(object)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.nodes: tuple[GraphNode, ...] = ()
        self.edges: tuple[GraphEdge, ...] = ()
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(title)
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def set_graph(self, nodes: tuple[GraphNode, ...], edges: tuple[GraphEdge, ...]) -> None:
        """Draw another graph."""
        self.nodes, self.edges = nodes, edges
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.theme = theme
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return room for a ring."""
        return QSize(320, 260)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return room for a ring."""
        return QSize(200, 260)

    def centre(self, place: int) -> QPointF:
        """Return where a node stands."""
        middle = QPointF(self.width() / 2, self.height() / 2)
        if not place:
            return middle
        wide = min(self.width() / 2 - RADIUS - 6, self.height() * 0.75)
        angle = 2 * pi * (place - 1) / max(1, len(self.nodes) - 1) - pi / 2
        return middle + QPointF(wide * cos(angle), (self.height() / 2 - RADIUS - 4) * sin(angle))

    def node_at(self, place: QPointF) -> GraphNode | None:
        """Return the node at a point."""
        for number, node in enumerate(self.nodes):
            if QLineF(self.centre(number), place).length() <= RADIUS:
                return node
        return None

    def edge_at(self, place: QPointF) -> GraphEdge | None:
        """Return the edge within four pixels of a point, the nearest first."""
        near = sorted(
            (_distance(place, QLineF(self.centre(e.a), self.centre(e.b))), n) for n, e in enumerate(self.edges)
        )
        return self.edges[near[0][1]] if near and near[0][0] <= 4 else None

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw edges, weakest first, then nodes."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for edge in sorted(self.edges, key=lambda edge: edge.strength):
            color = QColor(self.theme.color("accent" if 0 in (edge.a, edge.b) else "muted"))
            color.setAlpha(60 + int(150 * edge.strength))
            painter.setPen(QPen(color, 0.5 + THICKEST * edge.strength, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap))
            painter.drawLine(QLineF(self.centre(edge.a), self.centre(edge.b)))
        for place, node in enumerate(self.nodes):
            color = self.theme.expert_color(node.expert)
            painter.setBrush(color)
            painter.setPen(QPen(self.theme.color("text"), 2.5 if not place else 1))
            painter.drawEllipse(self.centre(place), RADIUS, RADIUS)
            painter.setPen(self.theme.text_on(color))
            centre = self.centre(place)
            box = QRectF(centre.x() - RADIUS, centre.y() - RADIUS, 2 * RADIUS, 2 * RADIUS)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, node.name)

    def event(self, event: QEvent) -> bool:
        """Say what the node or edge under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            place = QPointF(event.pos())
            pointed = self.node_at(place) or self.edge_at(place)
            QToolTip.showText(event.globalPos(), pointed.hint if pointed is not None else "", self)
            return True
        return super().event(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show what can be clicked."""
        node = self.node_at(event.position())
        can = node is not None and node.key is not None
        self.setCursor(Qt.CursorShape.PointingHandCursor if can else Qt.CursorShape.ArrowCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Name the node's key."""
        node = self.node_at(event.position())
        if node is not None and node.key is not None and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(node.key)


def _distance(point: QPointF, line: QLineF) -> float:
    """Pixels between a point and a line from end to end."""
    length = line.length()
    if not length:
        return QLineF(point, line.p1()).length()
    along = ((point.x() - line.x1()) * line.dx() + (point.y() - line.y1()) * line.dy()) / (length * length)
    return QLineF(point, line.pointAt(min(1.0, max(0.0, along)))).length()
