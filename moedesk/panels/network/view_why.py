"""The page "Why": the experts as the router ranked them, and what a logit, or the difference of two, is the sum of."""

from html import escape

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from moedesk.core.attribution import Explanation, Why
from moedesk.core.selection import Kind, Selection
from moedesk.panels.network import model_why as model
from moedesk.panels.network.model_explain import sentences
from moedesk.ui.ranked_bars import RankedBars
from moedesk.ui.terms import Terms
from moedesk.ui.theme import LIGHT, Theme

NOBODY = "compared with nothing"


class WhyPage(QWidget):
    """Shows a ``Why``.

    Signals
    -------
    picked : Selection
    """

    picked = Signal(object)
    kind = Why
    title, verb = "Why", "Why these experts?"
    empty = (
        "Why did this token go to its experts? What the router ranked, by how much the next expert missed, and which parts of "
        "the residual stream made the logits: embedding, attentions, MLPs, MoE blocks."
    )

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self.shown: Why | None = None
        self.headline = _text()
        self.ranking = RankedBars("Experts as the router ranked them")
        self.legend = _text()
        self.first, self.second = QComboBox(), QComboBox()
        self.by_size = QToolButton()
        self.facts = _text()
        self.decided = _text()
        self.terms = Terms("What the logit is the sum of")
        self.verdict = _text()
        self.notes = _text()
        self._lay_out()
        self.ranking.picked.connect(self._pick)
        self.first.activated.connect(self._show_terms)
        self.second.activated.connect(self._show_terms)
        self.by_size.toggled.connect(self._show_terms)

    def _lay_out(self) -> None:
        for box, name in (
            (self.first, "Expert whose logit is split"),
            (self.second, "Expert that it is compared with"),
        ):
            box.setAccessibleName(name)
            box.setToolTip(name)
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.by_size.setText("By size")
        self.by_size.setCheckable(True)
        self.by_size.setToolTip("Largest part first, instead of in the order of the forward")
        line = QHBoxLayout()
        line.setSpacing(4)
        line.addWidget(self.second, 1)
        line.addWidget(self.by_size)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(4)
        column.addWidget(self.headline)
        column.addWidget(self.ranking)
        column.addWidget(self.legend)
        column.addWidget(self.first)
        column.addLayout(line)
        column.addWidget(self.facts)
        column.addWidget(self.decided)
        column.addWidget(self.terms)
        column.addWidget(self.verdict)
        column.addWidget(self.notes)
        column.addStretch(1)

    def options(self) -> dict[str, object]:
        """Return what a question has besides token and layer."""
        return {}

    def show_found(self, found: Explanation | None) -> None:
        """Show an explanation."""
        if not isinstance(found, Why) or found is self.shown:
            return
        self.shown = found
        self.headline.setText(model.headline(found))
        self.ranking.set_bars(model.bars(found), model.threshold(found))
        self.legend.setText(model.legend(found))
        pair = model.default_pair(found)
        offered = model.offered(found)
        for box, chosen, extra in ((self.first, pair[0], False), (self.second, pair[1], True)):
            with QSignalBlocker(box):
                box.clear()
                if extra:
                    box.addItem(NOBODY, None)
                for expert, name in offered:
                    box.addItem(f"minus {name}" if extra else name, expert)
                box.setCurrentIndex(max(box.findData(chosen), 0))
        self._show_terms()
        self.notes.setText(sentences((model.CONVENTION, *found.notes)))

    def _show_terms(self) -> None:
        why, first, second = self.shown, self.first.currentData(), self.second.currentData()
        known = why is not None and first is not None
        self.facts.setVisible(known)
        self.decided.setVisible(known)
        self.terms.setVisible(known)
        self.verdict.setVisible(known)
        if why is None or first is None:
            return
        other = None if second is None or second == first else second
        self.facts.setText(_table([model.facts(why, expert) for expert in (first, other) if expert is not None]))
        self.terms.set_terms(model.terms(why, first, other, self.by_size.isChecked()))
        self.decided.setText("" if other is None else model.decided(why, first, other))
        self.decided.setVisible(bool(self.decided.text()))
        fine, line = model.verdict(why, first, other)
        self.verdict.setText(line)
        self.verdict.setStyleSheet(f"color: {self._theme.color('muted' if fine else 'error').name()}")

    def _pick(self, expert: object) -> None:
        if self.shown is not None and isinstance(expert, int):
            place = self.first.findData(expert)
            if place >= 0:
                self.first.setCurrentIndex(place)
                self._show_terms()
            self.picked.emit(Selection(Kind.EXPERT, layer=self.shown.layer, expert=expert))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.ranking.set_theme(theme)
        self.terms.set_theme(theme)
        muted = f"color: {theme.color('muted').name()}"
        for part in (self.legend, self.notes):
            part.setStyleSheet(muted)
        self._show_terms()


def _table(columns: list[list[tuple[str, str]]]) -> str:
    """Names and values side by side, as rich text."""
    names = dict.fromkeys(name for column in columns for name, _ in column)
    values = [dict(column) for column in columns]
    rows = []
    for name in names:
        cells = "".join(f"<td align='right' style='padding-left:12px'>{escape(v.get(name, ''))}</td>" for v in values)
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _text() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
