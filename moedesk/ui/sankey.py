"""A Sankey diagram: columns of blocks, and ribbons between them as thick as what flows."""

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moedesk.ui.flow import Flow, FlowPicture, Node
from moedesk.ui.theme import LIGHT, Theme

NODE, GAP, TITLE, SIDE = 12.0, 5.0, 20.0, 4.0


class Sankey(QWidget):
    """Draws a ``FlowPicture``; a click on a node names its key through ``picked``."""

    picked = Signal(object)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.picture = FlowPicture((), (), ())
        self._pointed: Flow | None = None
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(title)
        self.setToolTip(" ")  # what it says comes with the tool-tip event

    def set_picture(self, picture: FlowPicture) -> None:
        """Draw other flows."""
        self.picture, self._pointed = picture, None
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.theme = theme
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a wide area."""
        return QSize(480, 260)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return room for a few columns."""
        return QSize(240, 260)

    def node_rect(self, column: int, place: int) -> QRectF:
        """Return where a node is drawn."""
        nodes = self.picture.columns[column]
        tall = self._per_unit()
        top = TITLE + sum(node.amount * tall + GAP for node in nodes[:place])
        step = (self.width() - 2 * SIDE - NODE - self._label_room()) / max(1, len(self.picture.columns) - 1)
        return QRectF(SIDE + column * step, top, NODE, max(1.0, nodes[place].amount * tall))

    def node_at(self, place: QPointF) -> Node | None:
        """Return the node at a point, its name included."""
        for column, nodes in enumerate(self.picture.columns):
            for number, node in enumerate(nodes):
                if self.node_rect(column, number).adjusted(-2, -GAP / 2, self._label_room(), GAP / 2).contains(place):
                    return node
        return None

    def flow_at(self, place: QPointF) -> Flow | None:
        """Return the flow at a point; of several, the thinnest."""
        hit = [flow for flow, path in self._ribbons() if path.contains(place)]
        return min(hit, key=lambda flow: flow.amount, default=None)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw ribbons, then nodes, then names."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.theme.color("surface"))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for flow, path in self._ribbons():
            color = self._color(self.picture.columns[flow.column][flow.source])
            color.setAlpha(220 if flow is self._pointed else 110)
            painter.fillPath(path, color)
        for column, title in enumerate(self.picture.titles):
            self._draw_column(painter, column, title)

    def _draw_column(self, painter: QPainter, column: int, title: str) -> None:
        room = self._label_room()
        painter.setPen(self.theme.color("muted"))
        left = self.node_rect(column, 0).left() if self.picture.columns[column] else SIDE
        painter.drawText(QRectF(left, 0, room + NODE, TITLE - 3), Qt.AlignmentFlag.AlignVCenter, title)
        metrics, lowest = painter.fontMetrics(), 0.0
        for place, node in enumerate(self.picture.columns[column]):
            rect = self.node_rect(column, place)
            painter.fillRect(rect, self._color(node))
            painter.setPen(QPen(self.theme.color("text"), 0.5))
            painter.drawRect(rect)
            top = rect.center().y() - metrics.height() / 2
            if top < lowest:  # no room beside the one above; the tooltip has its name
                continue
            lowest = top + metrics.height() - 2
            painter.setPen(self.theme.color("text"))
            text = metrics.elidedText(node.name, Qt.TextElideMode.ElideRight, int(room) - 4)
            painter.drawText(QRectF(rect.right() + 3, top, room, metrics.height()), Qt.AlignmentFlag.AlignVCenter, text)

    def _ribbons(self) -> list[tuple[Flow, QPainterPath]]:
        """Each flow's shape; at a node they lie in the order of the nodes at the other end."""
        tall = self._per_unit()
        out: dict[tuple[int, int], float] = {}
        into: dict[tuple[int, int], float] = {}
        starts, ends = {}, {}
        for flow in sorted(self.picture.flows, key=lambda flow: (flow.column, flow.source, flow.target)):
            key = (flow.column, flow.source)
            starts[flow] = out.get(key, 0.0)
            out[key] = starts[flow] + flow.amount * tall
        for flow in sorted(self.picture.flows, key=lambda flow: (flow.column, flow.target, flow.source)):
            key = (flow.column, flow.target)
            ends[flow] = into.get(key, 0.0)
            into[key] = ends[flow] + flow.amount * tall
        return [(flow, self._ribbon(flow, starts[flow], ends[flow], flow.amount * tall)) for flow in self.picture.flows]

    def _ribbon(self, flow: Flow, start: float, end: float, thick: float) -> QPainterPath:
        source = self.node_rect(flow.column, flow.source)
        target = self.node_rect(flow.column + 1, flow.target)
        left, right = source.right(), target.left()
        middle, a, b = (left + right) / 2, source.top() + start, target.top() + end
        path = QPainterPath(QPointF(left, a))
        path.cubicTo(middle, a, middle, b, right, b)
        path.lineTo(right, b + thick)
        path.cubicTo(middle, b + thick, middle, a + thick, left, a + thick)
        path.closeSubpath()
        return path

    def _per_unit(self) -> float:
        """Pixels of one unit: the fullest column just fits."""
        room = self.height() - TITLE - 4
        scales = [
            (room - GAP * (len(nodes) - 1)) / sum(node.amount for node in nodes)
            for nodes in self.picture.columns
            if sum(node.amount for node in nodes)
        ]
        return max(0.0, min(scales, default=0.0))

    def _label_room(self) -> float:
        return min(112.0, self.width() / (len(self.picture.columns) + 1.5))

    def _color(self, node: Node) -> QColor:
        return self.theme.color("dead") if node.expert is None else self.theme.expert_color(node.expert)

    def event(self, event: QEvent) -> bool:
        """Say what the node or flow under the mouse is."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            place = QPointF(event.pos())
            pointed = self.node_at(place) or self.flow_at(place)
            QToolTip.showText(event.globalPos(), pointed.hint if pointed is not None else "", self)
            return True
        return super().event(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Bring out the flow under the mouse."""
        node = self.node_at(event.position())
        over = node is not None and node.key is not None
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)
        flow = None if node is not None else self.flow_at(event.position())
        if flow is not self._pointed:
            self._pointed = flow
            self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Name the node's key."""
        node = self.node_at(event.position())
        if node is not None and node.key is not None and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(node.key)
