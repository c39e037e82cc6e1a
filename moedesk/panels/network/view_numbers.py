"""The Numbers tab: what is known of a pass, and its load layer by layer."""

from math import isnan

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QTableWidgetItem, QVBoxLayout, QWidget

from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.model_numbers import LayerNumbers, PassNumbers, metric_titles, read_numbers
from moedesk.session.session import Session
from moedesk.ui.paced_question import PacedQuestion
from moedesk.ui.row_table import RowTable


class NumbersTab(QWidget):
    """Asks for the numbers of the pass in question and shows them."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._shown: PassNumbers | None = None
        self._layers = 0
        self._conventions = session.conventions
        self._numbers = PacedQuestion(session, "network.numbers", self, rest=0.2)
        self.header = QLabel()
        self.header.setTextFormat(Qt.TextFormat.RichText)
        self.header.setWordWrap(True)
        self.header.setContentsMargins(6, 4, 6, 4)
        self.header.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.table = RowTable("Load of each layer in this pass", 6)
        self._name_columns()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.header)
        column.addWidget(self.table, 1)
        self.table.cellClicked.connect(self._pick)

    def _name_columns(self) -> None:
        titles = [
            ("Layer", "Place of the MoE layer"),
            ("Slots", "Slots in this pass (tokens × top-k, less dropped ones), padding left out"),
            ("Used", "Experts that got at least one slot, of all experts"),
            *metric_titles(self._conventions),
        ]
        self.table.set_titles(titles)

    def refresh(self, number: int | None, newest: bool = False) -> None:
        """Show another pass; ``newest``: soon there will be a newer one."""
        store = self._session.store
        if number is None:
            self._shown = None
            self.header.setText("No passes yet. Record a model, or open a capture with Ctrl+O.")
            self.table.setRowCount(0)
            return
        layers = len(store.model.layers)
        conventions = self._session.conventions
        if conventions != self._conventions:
            self._conventions, self._shown = conventions, None
            self._name_columns()
        if self._shown is None or self._shown.number != number or self._layers != layers:
            self._layers = layers
            self._numbers.ask(
                lambda _: read_numbers(store, number, conventions), self._show, self._fail, urgent=not newest
            )
        self._mark()

    def _show(self, numbers: PassNumbers) -> None:
        self._shown = numbers
        rows = "".join(
            f"<tr><td style='padding-right:10px'>{name}</td><td>{value}</td></tr>" for name, value in numbers.header
        )
        self.header.setText(f"<b>Pass {numbers.number:,}</b><table>{rows}</table>")
        self.table.setRowCount(len(numbers.layers))
        for row, layer in enumerate(numbers.layers):
            for place, text in enumerate(_texts(layer)):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if layer.busiest >= 0:
                    item.setToolTip(f"Busiest: expert {layer.busiest}")
                self.table.setItem(row, place, item)
        self._mark()

    def _mark(self) -> None:
        layer = self._session.selection.layer
        if layer is not None and layer < self.table.rowCount():
            self.table.selectRow(layer)
        else:
            self.table.clearSelection()

    def _fail(self, error: Exception) -> None:
        self.header.setText(f"The numbers of this pass could not be read: {error}")

    def _pick(self, row: int, _: int) -> None:
        if self._shown is not None:
            self._session.select(Selection(Kind.LAYER, layer=self._shown.layers[row].layer))


def _texts(layer: LayerNumbers) -> list[str]:
    metrics = ["–" if isnan(value) else f"{value:.3f}" for value in layer.metrics]
    return [f"L{layer.layer}", f"{layer.slots:,}", f"{layer.used} of {layer.experts}", *metrics]
