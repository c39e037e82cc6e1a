"""The Training tab: loss and learning rate of a pass's training step, and the norms of a layer's experts over the steps."""

from math import isnan

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QTableWidgetItem, QVBoxLayout, QWidget

from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.model_training import QUANTITIES, Training, read_training
from moedesk.panels.network.view_norms import NormPicture
from moedesk.session.session import Session
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.paced_question import PacedQuestion
from moedesk.ui.row_table import RowTable
from moedesk.ui.theme import Theme

NO_STEPS = (
    "No training steps here. Train the model while it is recorded, with moedesk.TrainerCallback or in a loop of your own: "
    "each step of the optimizer then shows with its loss and learning rate."
)
NOT_MEASURED = (
    "No norms of this layer's experts: record with backward=True to measure gradients and outputs in training."
)


class TrainingTab(QWidget):
    """Asks for the training step of the pass in question and shows it."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._number: int | None = None
        self.shown: Training | None = None
        self._question = PacedQuestion(session, "network.training", self, rest=0.2)
        self.header = QLabel()
        self.header.setTextFormat(Qt.TextFormat.RichText)
        self.header.setWordWrap(True)
        self.header.setContentsMargins(6, 4, 6, 4)
        self.header.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.choice = QComboBox()
        self.choice.setAccessibleName("What the picture shows")
        for quantity in QUANTITIES:
            self.choice.addItem(quantity.title, quantity.key)
            self.choice.setItemData(self.choice.count() - 1, quantity.convention, Qt.ItemDataRole.ToolTipRole)
        self.caption = ElidedLabel()
        self.picture = NormPicture()
        self.readout = ElidedLabel()
        self.table = RowTable("Norms of each expert in this step", 1 + len(QUANTITIES))
        self._set_up()
        self.choice.currentIndexChanged.connect(self._ask)
        self.picture.hovered.connect(self._hover)
        self.picture.picked.connect(self._pick)
        self.table.cellClicked.connect(self._pick_row)

    def _set_up(self) -> None:
        titles = [("Expert", "Its number"), *((quantity.title, quantity.convention) for quantity in QUANTITIES)]
        self.table.set_titles(titles)
        line = QHBoxLayout()
        line.setContentsMargins(6, 0, 6, 0)
        line.addWidget(self.choice)
        line.addWidget(self.caption, 1)
        footer = QHBoxLayout()
        footer.setContentsMargins(6, 0, 6, 0)
        footer.addWidget(self.readout, 1)
        self._norms = QWidget()
        norms = QVBoxLayout(self._norms)
        norms.setContentsMargins(0, 0, 0, 0)
        norms.setSpacing(2)
        norms.addLayout(line)
        norms.addWidget(self.picture, 1)
        norms.addLayout(footer)
        norms.addWidget(self.table, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.header)
        column.addWidget(self._norms, 1)
        column.addStretch(0)
        self._norms.hide()

    def refresh(self, number: int | None) -> None:
        """Show the step of another pass, or of more steps."""
        self._number = number
        if number is None or not self._session.store.model.layers:
            self._show(None)
        else:
            self._ask()

    def _ask(self) -> None:
        store, number, quantity = self._session.store, self._number, self.choice.currentData()
        if number is None:
            return
        layer, columns = self._session.selection.layer or 0, self.picture.columns
        layer = min(layer, len(store.model.layers) - 1)
        self._question.ask(lambda _: read_training(store, number, layer, quantity, columns), self._show, self._fail)

    def _show(self, training: Training | None) -> None:
        self.shown = training
        self._norms.setVisible(training is not None and training.measured)
        if training is None:
            self.header.setText(NO_STEPS)
            return
        rows = "".join(
            f"<tr><td style='padding-right:10px'>{name}</td><td>{value}</td></tr>" for name, value in training.header
        )
        missing = "" if training.measured else f"<p>{NOT_MEASURED}</p>"
        self.header.setText(f"<b>{training.title}</b><table>{rows}</table>{missing}")
        self.picture.set_picture(training.picture, self._session.selection.expert, self._number)
        self.caption.setText(self._caption(training))
        self._hover(None)
        self._fill(training)

    def _caption(self, training: Training) -> str:
        scale = training.picture.scale
        bright = "none measured" if scale is None else f"{scale[0]:.3g} (dark) to {scale[1]:.3g} (bright), logarithmic"
        return " · ".join(filter(None, (f"L{training.layer}", bright, training.picture.reduction)))

    def _fill(self, training: Training) -> None:
        columns = [training.values[quantity.key] for quantity in QUANTITIES]
        self.table.setRowCount(len(columns[0]))
        for row, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            texts = [f"{row}", *("–" if isnan(value) else f"{value:.4g}" for value in values)]
            for place, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, place, item)
        expert = self._session.selection.expert
        if expert is not None and expert < self.table.rowCount():
            self.table.selectRow(expert)
        else:
            self.table.clearSelection()

    def _fail(self, error: Exception) -> None:
        self.header.setText(f"The training steps could not be read: {error}")

    def _hover(self, cell: tuple[int, int] | None) -> None:
        if self.shown is None:
            return
        picture = self.shown.picture
        if cell is None or cell[1] >= len(picture.numbers):
            self.readout.setText(
                "Experts from top to bottom, steps from left to right; grey: 0; as the background: not measured"
            )
            return
        expert, column = cell
        value = float(picture.values[expert, column])
        text = "not measured, or no tokens" if isnan(value) else f"{value:.4g}"
        title = next(quantity.title for quantity in QUANTITIES if quantity.key == picture.quantity)
        steps = f"step {int(picture.numbers[column]):,}" + (" …" if picture.reduction else "")
        self.readout.setText(f"{steps} · expert {expert} · {title.lower()} {text}")

    def _pick(self, expert: int, column: int) -> None:
        if self.shown is not None:
            number = int(self.shown.picture.passes[column])
            shown = number if number < self._session.store.n_passes else None
            self._session.select(Selection(Kind.EXPERT, pass_id=shown, layer=self.shown.layer, expert=expert))

    def _pick_row(self, row: int, _: int) -> None:
        if self.shown is not None:
            self._session.select(Selection(Kind.EXPERT, layer=self.shown.layer, expert=row))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.picture.set_theme(theme)
