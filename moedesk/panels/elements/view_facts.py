"""Labelled lines, and numbers as tiles."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFormLayout, QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from moedesk.panels.elements.model_facts import Fact

TILES_A_ROW = 3


class FactForm(QWidget):
    """Shows facts a line each, the value to select and copy."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setHorizontalSpacing(14)
        self._form.setVerticalSpacing(3)
        self._form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self._facts: list[Fact] = []

    @property
    def facts(self) -> list[Fact]:
        """What is shown."""
        return self._facts

    def set_facts(self, facts: list[Fact]) -> None:
        """Show other facts."""
        if facts == self._facts:
            return
        self._facts = facts
        while self._form.rowCount():
            self._form.removeRow(0)
        for fact in facts:
            label, value = muted_label(fact.label), text_label(fact.value)
            label.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
            for widget in (label, value):
                widget.setToolTip(fact.hint)
            self._form.addRow(label, value)
        self.setVisible(bool(facts))


class FactTiles(QWidget):
    """Shows facts as tiles: a small label over its value."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 2, 0, 2)
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(6)
        self._tiles: list[tuple[QLabel, QLabel]] = []
        self.facts: list[Fact] = []

    def set_facts(self, facts: list[Fact]) -> None:
        """Show other facts; labels are kept where there are some, so that a replay does not flicker."""
        self.facts = facts
        while len(self._tiles) < len(facts):
            self._add_tile()
        for place, (label, value) in enumerate(self._tiles):
            shown = place < len(facts)
            for widget in (label, value):
                widget.setVisible(shown)
            if shown:
                label.setText(facts[place].label)
                value.setText(facts[place].value)
                for widget in (label, value):
                    widget.setToolTip(facts[place].hint)

    def _add_tile(self) -> None:
        place = len(self._tiles)
        label, value = muted_label(""), text_label("")
        font = value.font()
        font.setBold(True)
        value.setFont(font)
        box = QVBoxLayout()
        box.setSpacing(0)
        box.addWidget(label)
        box.addWidget(value)
        self._grid.addLayout(box, place // TILES_A_ROW, place % TILES_A_ROW)
        self._tiles.append((label, value))


def muted_label(text: str) -> QLabel:
    """Return a label of less weight; the panel's style sheet colours it."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setProperty("muted", True)
    return label


def text_label(text: str) -> QLabel:
    """Return a plain text that wraps and can be selected."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
