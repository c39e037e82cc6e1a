"""The outline as a Qt model: rows made when asked for, so that 30,000 modules open at once."""

from typing import Any

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from moedesk.analysis.load import LayerLoad
from moedesk.panels.elements.model_facts import parameters, short_count
from moedesk.panels.elements.model_load import ratio_text
from moedesk.panels.elements.model_marks import Marks
from moedesk.panels.elements.model_tree import NO_NODE, ROOT, Badge, Outline

NAME, PARAMETERS, LOAD, DTYPE, DEVICE = range(5)
HEADERS = ("Module", "Parameters", "Load", "Type", "Device")
HINTS = (
    "Name, class, and what it is",
    "With everything below; shared ones counted once",
    "Load ÷ uniform share of an expert over the passes in view; 1 is an even share",
    "Data type of its parameters",
    "Device of its parameters, while it was recorded",
)
NODE_ROLE = Qt.ItemDataRole.UserRole
Index = QModelIndex | QPersistentModelIndex


class TreeModel(QAbstractItemModel):
    """Shows an ``Outline``; ``set_loads`` fills the Load column."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.outline: Outline | None = None
        self._loads: list[LayerLoad] = []
        self._marks: dict[str, Marks] = {}

    def set_outline(self, outline: Outline) -> None:
        """Show another tree."""
        self.beginResetModel()
        self.outline, self._marks = outline, {}
        self.endResetModel()

    def set_loads(self, loads: list[LayerLoad]) -> None:
        """Take over the load of every layer; the view repaints what it shows of it."""
        self._loads = loads

    def set_marks(self, kind: str, marks: Marks) -> bool:
        """Take over the badges of a kind that come and go; return whether they are others than before."""
        changed = marks != self._marks.get(kind, {})
        self._marks[kind] = marks
        return changed

    def badges(self, node: int) -> tuple[Badge, ...]:
        """Return the words beside a node: those that come and go, then what it is, which makes way where there is no room."""
        assert self.outline is not None
        return (*(badge for marks in self._marks.values() for badge in marks.get(node, ())), *self.outline.badges(node))

    def load_text(self, node: int) -> str:
        """Return the load of an expert's node ÷ uniform share, as a text; empty for other nodes, and while it isn't known."""
        assert self.outline is not None
        return ratio_text(self._load(node), self.outline.expert[node])

    def index_of(self, node: int, column: int = NAME) -> QModelIndex:
        """Return the index of a node; an invalid one for -1."""
        if self.outline is None or not 0 <= node < len(self.outline):
            return QModelIndex()
        return self.createIndex(self.outline.row[node], column, node)

    def node_of(self, index: Index) -> int:
        """Return the node of an index, or -1."""
        return int(index.internalId()) if index.isValid() else NO_NODE

    def index(self, row: int, column: int, parent: Index = QModelIndex()) -> QModelIndex:  # noqa: B008
        """Return the index of a child."""
        if self.outline is None or not 0 <= column < len(HEADERS):
            return QModelIndex()
        below = [ROOT] if not parent.isValid() else self.outline.children[self.node_of(parent)]
        return self.createIndex(row, column, below[row]) if 0 <= row < len(below) else QModelIndex()

    def parent(self, index: Index = QModelIndex()) -> QModelIndex:  # type: ignore[override]  # noqa: B008
        """Return the index of the node above."""
        if self.outline is None or not index.isValid():
            return QModelIndex()
        return self.index_of(self.outline.parent[self.node_of(index)])

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of children."""
        if self.outline is None or parent.column() > 0:
            return 0
        return len(self.outline.children[self.node_of(parent)]) if parent.isValid() else 1

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns."""
        return len(HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Return a column's title, or what it means."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return HEADERS[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return HINTS[section]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(section)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell's text, its exact value on hover, or the node."""
        node = self.node_of(index)
        if self.outline is None or node < 0:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(node, index.column())
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._hint(node, index.column())
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(index.column())
        if role == Qt.ItemDataRole.AccessibleTextRole and index.column() == NAME:
            words = [badge.text for badge in self.badges(node)]
            return " ".join([self.outline.name(node), self.outline.class_name(node), *words])
        return node if role == NODE_ROLE else None

    def _text(self, node: int, column: int) -> str:
        assert self.outline is not None
        module = self.outline.module(node)
        match column:
            case 0:  # NAME
                return self.outline.name(node)
            case 1:  # PARAMETERS
                count = parameters(self.outline, node)
                return short_count(count) if count else ""
            case 2:  # LOAD
                return self.load_text(node)
            case 3:  # DTYPE
                return module.dtype
        return module.device

    def _hint(self, node: int, column: int) -> str:
        assert self.outline is not None
        if column == PARAMETERS:
            return f"{parameters(self.outline, node):,} parameters"
        if column == NAME:
            hints = [f"{badge.text}: {badge.hint}" for badge in self.badges(node) if badge.hint]
            return "\n".join([self.outline.path(node) or "the model itself", *hints])
        load, expert = self._load(node), self.outline.expert[node]
        if column == LOAD and load is not None and expert >= 0:
            return f"{load.counts[expert]:,} of {load.slots:,} slots"
        return self.outline.path(node) or "the model itself"

    def _load(self, node: int) -> LayerLoad | None:
        assert self.outline is not None
        place = self.outline.layer[node]
        return self._loads[place] if 0 <= place < len(self._loads) else None


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column in (PARAMETERS, LOAD) else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
