"""The line that narrows the list: text, severities, category, layer, and how it is grouped."""

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QSizePolicy, QToolButton, QWidget

from moedesk.analysis.finding import SEVERITIES, Severity
from moedesk.panels.audits.model_findings import GROUPINGS, WORDS, Criteria, Entry, GroupBy
from moedesk.panels.audits.model_scores import category_title
from moedesk.panels.audits.view_list_model import ROLES
from moedesk.ui.icons import icon
from moedesk.ui.theme import Theme

ALL = "\0all"
"""Stands for every category or layer in the lists."""


class Filters(QWidget):
    """What to show.

    Signals
    -------
    changed
        ``criteria`` or ``grouping`` is another one.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.text = QLineEdit(placeholderText="Filter, for example  dead 3.5", clearButtonEnabled=True)
        self.text.setAccessibleName("Filter findings by text")
        self.text.setToolTip("Words that must all occur in title, place, evidence or advice (Ctrl+F)")
        self.text.setMinimumWidth(110)
        self.severities: dict[Severity, QToolButton] = {}
        for severity in reversed(SEVERITIES):
            button = self.severities[severity] = QToolButton()
            button.setCheckable(True)
            button.setChecked(True)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.clicked.connect(self.changed)
        self.category = _combo("Category")
        self.layer = _combo("Layer")
        self.group = _combo("Group by")
        for by in GROUPINGS:
            self.group.addItem(f"By {by}", by)
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 2, 6, 2)
        row.setSpacing(4)
        row.addWidget(self.text, 1)
        for widget in (*self.severities.values(), self.category, self.layer, self.group):
            row.addWidget(widget)
        self.text.textChanged.connect(self.changed)
        for combo in (self.category, self.layer, self.group):
            combo.currentIndexChanged.connect(self.changed)
        self.set_entries(())

    @property
    def criteria(self) -> Criteria:
        """Which findings are asked for."""
        category, layer = self.category.currentData(), self.layer.currentData()
        return Criteria(
            frozenset(severity for severity, button in self.severities.items() if button.isChecked()),
            "" if category in (ALL, None) else category,
            None if layer in (ALL, None) else layer,
            self.text.text(),
        )

    @property
    def grouping(self) -> GroupBy:
        """What the headings are."""
        by: GroupBy = self.group.currentData()
        return by

    def set_entries(self, entries: tuple[Entry, ...]) -> None:
        """Offer what these findings have; what was chosen stays chosen if it is still there."""
        for severity, button in self.severities.items():
            count = sum(entry.finding.severity == severity for entry in entries)
            button.setText(f"{count:,}")
            button.setAccessibleName(f"{WORDS[severity]}: {count}")
            button.setToolTip(f"{WORDS[severity]}: {count:,}. Click to show or hide them.")
        categories = sorted({entry.category for entry in entries})
        _fill(self.category, "All categories", [(category_title(name), name) for name in categories])
        layers = sorted({-1 if entry.place is None else entry.place for entry in entries})
        _fill(self.layer, "All layers", [("Whole capture" if at < 0 else f"Layer {at}", at) for at in layers])

    def set_category(self, category: str) -> None:
        """Show one category alone; empty for all."""
        self.category.setCurrentIndex(max(0, self.category.findData(category or ALL)))

    def set_grouping(self, by: str) -> None:
        """Group by something else; what is not known is left."""
        if by in GROUPINGS:
            self.group.setCurrentIndex(GROUPINGS.index(by))

    def clear(self) -> None:
        """Show everything."""
        with QSignalBlocker(self):
            self.text.clear()
            for button in self.severities.values():
                button.setChecked(True)
            self.category.setCurrentIndex(0)
            self.layer.setCurrentIndex(0)
        self.changed.emit()

    def set_theme(self, theme: Theme) -> None:
        """Redraw the icons."""
        for severity, button in self.severities.items():
            button.setIcon(icon(severity, theme, ROLES[severity]))


def _combo(name: str) -> QComboBox:
    combo = QComboBox()
    combo.setAccessibleName(name)
    combo.setToolTip(name)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(9)
    combo.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
    return combo


def _fill(combo: QComboBox, everything: str, items: list[tuple[str, object]]) -> None:
    """Offer other items without saying that something was chosen."""
    chosen = combo.currentData()
    with QSignalBlocker(combo):
        combo.clear()
        combo.addItem(everything, ALL)
        for title, data in items:
            combo.addItem(title, data)
        combo.setCurrentIndex(max(0, combo.findData(chosen)) if chosen is not None else 0)
