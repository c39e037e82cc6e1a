"""The page "Routes": what the runner-up experts would have done to the loss of the next token."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from moedesk.core.attribution import Counterfactual, Explanation
from moedesk.core.selection import Kind, Selection
from moedesk.core.signed import signed
from moedesk.panels.network import model_other_routes as model
from moedesk.panels.network.model_explain import sentences
from moedesk.ui.ranked_bars import RankedBars
from moedesk.ui.row_table import RowTable
from moedesk.ui.theme import Theme

COLUMNS = (
    (
        "Experts",
        "Of the route; with which it differs from the router's choice: the new one for the one that it replaces",
    ),
    ("Loss", "-log-probability of the next token, in nats"),
    ("Change", "Loss minus that with the router's choice, in nats; below 0 the route is better"),
)


class OtherRoutesPage(QWidget):
    """Shows a ``Counterfactual``.

    Signals
    -------
    picked : Selection
    """

    picked = Signal(object)
    kind = Counterfactual
    title, verb = "Routes", "Try other routes"
    empty = (
        "Was the router's choice the best? The model runs again with runner-up experts for this token, one layer at a time, and "
        "the loss of the next token is compared."
    )

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.shown: Counterfactual | None = None
        self.layer = 0
        self.scope = QComboBox()
        self.headline, self.caption, self.notes = QLabel(), QLabel(), QLabel()
        self.regrets = RankedBars("Regret by layer")
        self.which = QLabel()
        self.table = RowTable("Routes tried at the layer", len(COLUMNS))
        self._set_up()
        self.regrets.picked.connect(self._pick)

    def _set_up(self) -> None:
        self.scope.setAccessibleName("Layers in which routes are tried")
        self.scope.addItem("in all layers", "all")
        self.scope.addItem("in the selected layer", "one")
        table = self.table
        table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        table.set_titles(COLUMNS)
        table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.caption.setText(model.CONVENTION)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(4)
        for label in (self.headline, self.caption, self.which, self.notes):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        for part in (self.headline, self.regrets, self.caption, self.which, table, self.notes):
            column.addWidget(part)
        column.addStretch(1)

    def options(self) -> dict[str, object]:
        """Return what a question has besides token and layer."""
        return {"layers": self.scope.currentData()}

    def show_found(self, found: Explanation | None) -> None:
        """Show an explanation."""
        if not isinstance(found, Counterfactual) or found is self.shown:
            return
        self.shown = found
        self.headline.setText(model.headline(found))
        self.regrets.set_bars(model.bars(found))
        self.notes.setText(sentences((model.whole(found), *found.notes)))
        self.notes.setVisible(bool(self.notes.text()))
        every = model.regrets(found)
        worst = max(every, key=lambda each: each.regret, default=None)
        if self.layer not in {each.layer for each in every} and worst is not None:
            self.layer = worst.layer
        self._show_routes()

    def show_layer(self, layer: int) -> None:
        """Show the routes of another layer, if some were tried there."""
        if self.shown is not None and layer in self.shown.layers:
            self.layer = layer
            self._show_routes()

    def _show_routes(self) -> None:
        assert self.shown is not None
        routes = model.routes(self.shown, self.layer)
        self.which.setText(f"Routes tried at L{self.layer}, the best first; bold: the router's choice.")
        self.table.setRowCount(len(routes))
        for row, route in enumerate(routes):
            for place, text in enumerate((route.experts, f"{route.loss:.4f}", signed(route.change, 4))):
                item = QTableWidgetItem(text)
                item.setToolTip(route.hint)
                if place:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                font = item.font()
                font.setBold(route.own)
                item.setFont(font)
                self.table.setItem(row, place, item)
        height = self.table.verticalHeader().length() + self.table.horizontalHeader().sizeHint().height() + 6
        self.table.setFixedHeight(height)

    def _pick(self, layer: object) -> None:
        if isinstance(layer, int):
            self.show_layer(layer)
            self.picked.emit(Selection(Kind.LAYER, layer=layer))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.regrets.set_theme(theme)
        for part in (self.caption, self.notes):
            part.setStyleSheet(f"color: {theme.color('muted').name()}")
