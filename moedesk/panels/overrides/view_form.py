"""The form of one override: what, where, and whether it fits the model, said while it is typed."""

from collections.abc import Callable

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from moedesk.core.columns import Phase
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.panels.overrides.model_form import Typed, fields_of, read, typed
from moedesk.panels.overrides.model_rows import KIND_HINTS, KINDS
from moedesk.session.overriding import Entry
from moedesk.ui.theme import LIGHT, Theme

_HINTS = {
    "layers": "Places of MoE layers: 3, 5-7; nothing or all: every layer",
    "experts": "Experts by number: 37, or 3, 5-7",
    "columns": "Slots in the sequence: 12, or 0:16 with the end excluded; nothing: all tokens",
    "name": "What the list calls it; may stay empty",
    "capture": "The .h5 whose routing is replayed, as a path on the machine of the kernel",
}


class OverrideForm(QWidget):
    """Fields for a new override, or for one of the list.

    Parameters
    ----------
    check : callable
        Raises a MoedeskError if an override doesn't fit.

    Signals
    -------
    accepted : Override, Entry or None
        What was typed, and which one it takes the place of.
    closed
    """

    accepted = Signal(object, object)
    closed = Signal()

    def __init__(self, check: Callable[[Override], None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._check = check
        self._entry: Entry | None = None
        self._theme: Theme = LIGHT
        self._tried = False  # whether it was sent once: from then on what is wrong is said while it is typed
        self.title, self.said = QLabel(), QLabel()
        self.kind = QComboBox()
        self.fields = {name: QLineEdit() for name in ("layers", "experts", "value", "columns", "name", "capture")}
        self._labels = {name: QLabel(name.capitalize()) for name in self.fields}
        self.phases = {phase.label: QCheckBox(phase.label) for phase in Phase}
        self.weights = QCheckBox("weights too")
        self.browse = QToolButton()
        self.accept_button, self.cancel_button = QPushButton("Add"), QPushButton("Cancel")
        self._fill()
        self._lay_out()
        self._connect()
        self.show_override(None)

    def _fill(self) -> None:
        for kind, title in KINDS.items():
            self.kind.addItem(title, kind)
            self.kind.setItemData(self.kind.count() - 1, KIND_HINTS[kind], Qt.ItemDataRole.ToolTipRole)
        self.kind.setAccessibleName("Kind of override")
        for name, field in self.fields.items():
            self._labels[name].setBuddy(field)
            field.setMinimumWidth(50)
            field.setToolTip(_HINTS.get(name, ""))
            self._labels[name].setToolTip(_HINTS.get(name, ""))
        for name, sample in (("layers", "all"), ("columns", "all"), ("experts", "37"), ("capture", "run.h5")):
            self.fields[name].setPlaceholderText(sample)
        for label, box in self.phases.items():
            box.setToolTip(f"Act in {label} passes; none ticked: in all")
        self.weights.setToolTip(
            "Also the weights of the capture: its outputs come back bit by bit; else only who is chosen"
        )
        self.browse.setText("Browse…")
        self.said.setWordWrap(True)
        self.said.setTextFormat(Qt.TextFormat.PlainText)
        self.accept_button.setDefault(True)
        self.accept_button.setAutoDefault(True)

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(4)
        grid.addWidget(self.kind, 0, 0)
        for column, name in ((1, "layers"), (3, "experts"), (5, "value")):
            grid.addWidget(self._labels[name], 0, column)
            grid.addWidget(self.fields[name], 0, column + 1)
        phases = QHBoxLayout()
        phases.setSpacing(6)
        for box in self.phases.values():
            phases.addWidget(box)
        grid.addLayout(phases, 1, 0)
        for column, name in ((1, "columns"), (3, "name")):
            grid.addWidget(self._labels[name], 1, column)
            grid.addWidget(self.fields[name], 1, column + 1, 1, 1 if name == "columns" else 3)
        for column in (2, 4, 6):
            grid.setColumnStretch(column, 1)
        replay = QHBoxLayout()
        replay.setSpacing(6)
        for part in (self._labels["capture"], self.fields["capture"], self.browse, self.weights):
            replay.addWidget(part, 1 if part is self.fields["capture"] else 0)
        last = QHBoxLayout()
        last.setSpacing(6)
        last.addWidget(self.said, 1)
        last.addWidget(self.cancel_button)
        last.addWidget(self.accept_button)
        column_layout = QVBoxLayout(self)
        column_layout.setContentsMargins(8, 4, 8, 6)
        column_layout.setSpacing(4)
        column_layout.addWidget(self.title)
        for part_layout in (grid, replay, last):
            column_layout.addLayout(part_layout)

    def _connect(self) -> None:
        self.kind.currentIndexChanged.connect(self._kind_chosen)
        for field in self.fields.values():
            field.textChanged.connect(self._typed)
            field.returnPressed.connect(self.accept)
        for box in (*self.phases.values(), self.weights):
            box.toggled.connect(self._typed)
        self.browse.clicked.connect(self._browse)
        self.accept_button.clicked.connect(self.accept)
        self.cancel_button.clicked.connect(self.closed)

    def show_override(self, override: Override | None, entry: Entry | None = None) -> None:
        """Fill the fields from an override; ``entry`` is the one that it takes the place of."""
        self._entry, self._tried = entry, False
        self.title.setText("New override" if entry is None else f"Change: {entry.override.title}")
        self.accept_button.setText("Add" if entry is None else "Change")
        self.set_typed(Typed() if override is None else typed(override))

    def set_typed(self, form: Typed) -> None:
        """Fill the fields."""
        with QSignalBlocker(self.kind):
            self.kind.setCurrentIndex(self.kind.findData(form.kind))
        for name, field in self.fields.items():
            with QSignalBlocker(field):
                field.setText(getattr(form, name))
        for label, box in self.phases.items():
            with QSignalBlocker(box):
                box.setChecked(label in form.phases)
        with QSignalBlocker(self.weights):
            self.weights.setChecked(form.weights)
        self._kind_chosen()

    @property
    def typed(self) -> Typed:
        """What stands in the fields."""
        texts = {name: field.text() for name, field in self.fields.items()}
        phases = tuple(label for label, box in self.phases.items() if box.isChecked())
        return Typed(kind=self.chosen_kind, phases=phases, weights=self.weights.isChecked(), **texts)

    @property
    def chosen_kind(self) -> OverrideKind:
        """The kind in the box."""
        return OverrideKind(self.kind.currentData())

    def accept(self) -> None:
        """Announce what was typed, if it fits; else say what doesn't."""
        self._tried = True
        try:
            override = read(self.typed)
            self._check(override)
        except MoedeskError as error:
            self.say(str(error), wrong=True)
            return
        self.accepted.emit(override, self._entry)

    def say(self, text: str, wrong: bool = False) -> None:
        """Show a line below the fields."""
        self.said.setText(f"⚠ {text}" if wrong else text)
        self.said.setStyleSheet(f"color: {self._theme.warning if wrong else self._theme.muted};")

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.title.setStyleSheet("font-weight: bold;")
        self._theme = theme
        self._typed()

    def _kind_chosen(self) -> None:
        kind = self.chosen_kind
        matters = fields_of(kind)
        for name in ("experts", "value", "columns"):
            self.fields[name].setEnabled(name in matters)
            self._labels[name].setEnabled(name in matters)
        for box in self.phases.values():
            box.setEnabled("phases" in matters)
        for part in (self._labels["capture"], self.fields["capture"], self.browse, self.weights):
            part.setVisible("capture" in matters)
        self.fields["value"].setToolTip(kind.unit or "This kind needs no number")
        self.fields["value"].setPlaceholderText(kind.unit)
        self.kind.setToolTip(KIND_HINTS[kind])
        self._typed()

    def _typed(self) -> None:
        """Say what the fields mean; what is wrong with them only once they were sent."""
        try:
            override = read(self.typed)
            self._check(override)
        except MoedeskError as error:
            self.say(str(error) if self._tried else KIND_HINTS[self.chosen_kind], wrong=self._tried)
            return
        self.say(override.title)

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Replay the routing of a capture", self.fields["capture"].text(), "Captures (*.h5 *.hdf5)"
        )
        if name:
            self.fields["capture"].setText(name)
