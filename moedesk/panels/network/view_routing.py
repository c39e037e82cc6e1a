"""The Routing tab: the selected token across all layers."""

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QPoint, QRectF, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QLabel,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from moedesk.analysis.tokens import TokenRoutes, token_routes
from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.model_routing import bar, flags_text, heading, most_slots, slot_text
from moedesk.panels.network.model_tokens import number
from moedesk.session.session import Session
from moedesk.ui.plain_rows import show_plain_rows
from moedesk.ui.theme import LIGHT, Theme

AnyIndex = QModelIndex | QPersistentModelIndex
BAR_ROLE = Qt.ItemDataRole.UserRole + 1
EMPTY = "Click a token in the Tokens tab to see where every layer sent it."


class RoutesTable(QAbstractTableModel):
    """A row per layer: its choices by weight, entropy, margin, flags."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._routes: TokenRoutes | None = None
        self._slots = 0

    @property
    def routes(self) -> TokenRoutes | None:
        """The token shown."""
        return self._routes

    def set_routes(self, routes: TokenRoutes | None) -> None:
        """Show another token."""
        self.beginResetModel()
        self._routes = routes
        self._slots = most_slots(routes) if routes is not None else 0
        self.endResetModel()

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of layers."""
        return 0 if parent.isValid() or self._routes is None else len(self._routes.layers)

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008
        """Return layer, one per slot, entropy, margin, flags."""
        return 0 if parent.isValid() else self._slots + 4

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:  # noqa: N802
        """Return title and explanation of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        titles = ["Layer", *(f"{rank + 1}." for rank in range(self._slots)), "Entropy", "Margin", "Flags"]
        hints = [
            "Place of the MoE layer",
            *["Expert and the weight it received; the bar is the weight's share of the token's weights"] * self._slots,
            "Entropy of softmax(logits) over all experts, in nats",
            "Score of rank k minus rank k+1, in the score the router ranks by; why, says the tab Explain",
            "dropped: lost a slot to the capacity limit; absent: the layer did not see the token; "
            "overridden: an override changed its experts or weights",
        ]
        if role == Qt.ItemDataRole.DisplayRole:
            return titles[section]
        return hints[section] if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return what a cell says."""
        if self._routes is None:
            return None
        route, column = self._routes.layers[index.row()], index.column()
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{route.layer.path} ({route.layer.score})"
        if role == Qt.ItemDataRole.UserRole:
            return route.layer.place
        rank = column - 1
        if role == BAR_ROLE:
            return bar(route, rank) if 0 <= rank < self._slots else None
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if column == 0:
            return f"L{route.layer.place}"
        if rank < self._slots:
            return slot_text(route, rank)
        return (number(route.entropy), number(route.margin), flags_text(route))[rank - self._slots]

    def selection_at(self, index: AnyIndex) -> Selection:
        """Return what a click selects: the expert in that slot, else the layer."""
        assert self._routes is not None
        route, rank = self._routes.layers[index.row()], index.column() - 1
        chosen = bar(route, rank) if 0 <= rank < self._slots else None
        if chosen is None:
            return Selection(Kind.LAYER, layer=route.layer.place)
        return Selection(Kind.EXPERT, layer=route.layer.place, expert=chosen[0])


class SlotDelegate(QStyledItemDelegate):
    """Draws a bar under expert and weight, in the expert's colour."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme: Theme = LIGHT
        self.marked: tuple[int, int] | None = None

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Draw the cell."""
        super().paint(painter, option, index)
        found = index.data(BAR_ROLE)
        if found is None:
            return
        expert, share = found
        rect = QRectF(option.rect).adjusted(3, 0, -3, -2)
        painter.fillRect(QRectF(rect.left(), rect.bottom() - 3, rect.width(), 3), self.theme.color("grid"))
        painter.fillRect(
            QRectF(rect.left(), rect.bottom() - 3, rect.width() * min(share, 1.0), 3), self.theme.expert_color(expert)
        )
        if self.marked == (index.data(Qt.ItemDataRole.UserRole), expert):
            painter.setPen(self.theme.color("text"))
            painter.drawRect(rect.adjusted(-2, 1, 2, 1))


class RoutingTab(QWidget):
    """Asks for the selected token's routing and shows it.

    Signals
    -------
    menu_asked : Selection, QPoint
    """

    menu_asked = Signal(object, QPoint)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.heading = QLabel(EMPTY)
        self.heading.setWordWrap(True)
        self.heading.setContentsMargins(6, 4, 6, 2)
        self.heading.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.table = RoutesTable(self)
        self.delegate = SlotDelegate(self)
        self.view = QTableView()
        self._set_up()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.heading)
        column.addWidget(self.view, 1)
        self.view.clicked.connect(self._pick)
        self.view.activated.connect(self._pick)
        self.view.customContextMenuRequested.connect(self._menu)

    def _set_up(self) -> None:
        view = self.view
        view.setModel(self.table)
        show_plain_rows(view, "Routing of the token", room=10)
        view.setItemDelegate(self.delegate)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        view.horizontalHeader().setStretchLastSection(True)

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session."""
        selected = self._session.selection
        self.delegate.marked = (
            None if selected.layer is None or selected.expert is None else (selected.layer, selected.expert)
        )
        store, row, stream = self._session.store, selected.token, selected.stream
        shown = self.table.routes
        if row is None:
            self._session.jobs.cancel("network.routing")
            if shown is not None:
                self._show(None)
        elif (
            shown is None
            or (shown.row, shown.stream) != (row, stream or store.model.streams[0])
            or len(shown.layers) != sum(layer.stream == shown.stream for layer in store.model.layers)
        ):
            self._session.jobs.latest(
                "network.routing", lambda _: token_routes(store, row, stream), self._show, self._fail
            )
        if changed - {"store", "live"}:
            self._mark()

    def _show(self, routes: TokenRoutes | None) -> None:
        self.table.set_routes(routes)
        self.heading.setText(EMPTY if routes is None else heading(routes))
        self.view.setVisible(routes is not None)
        width = self.view.fontMetrics().averageCharWidth()
        for column in range(self.table.columnCount()):
            slot = 0 < column <= self.table.columnCount() - 4
            self.view.setColumnWidth(column, width * (15 if slot else 11))
        self._mark()

    def _fail(self, error: Exception) -> None:
        self._show(None)
        self.heading.setText(f"The routing of this token could not be read: {error}")

    def _mark(self) -> None:
        """Highlight the selected layer's row."""
        routes, layer = self.table.routes, self._session.selection.layer
        self.view.clearSelection()
        for row, route in enumerate(routes.layers if routes is not None else ()):
            if route.layer.place == layer:
                self.view.setCurrentIndex(self.table.index(row, self._column(row)))
        self.view.viewport().update()

    def _column(self, row: int) -> int:
        """Return the column of the selected expert in a row, else the first."""
        routes = self.table.routes
        assert routes is not None
        slots = routes.layers[row].slots
        return next((rank + 1 for rank, slot in enumerate(slots) if slot.expert == self._session.selection.expert), 0)

    def _pick(self, index: QModelIndex) -> None:
        self._session.select(self.table.selection_at(index))

    def _menu(self, position: QPoint) -> None:
        index = self.view.indexAt(position)
        if index.isValid():
            self.menu_asked.emit(self.table.selection_at(index), self.view.viewport().mapToGlobal(position))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.delegate.theme = theme
        self.view.viewport().update()
