"""The page "Attribution": what each expert did to a logit or log-probability at the token, as a map and as a table."""

from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from moedesk.core.attribution import Attribution, Explanation
from moedesk.core.selection import Kind, Selection
from moedesk.panels.network import model_attribution as model
from moedesk.panels.network.model_explain import sentences
from moedesk.panels.network.view_attention import AttentionPicture
from moedesk.panels.network.view_effects import ROW_ROLE, EffectDelegate, EffectsTable
from moedesk.panels.network.view_slot_map import SlotMap
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.plain_rows import show_plain_rows
from moedesk.ui.theme import LIGHT, Theme

ATTENTION = (
    "Attention weights of the token, the mean over the heads: attentions from top to bottom, tokens from left to right"
)
SEEN = "Gradient norm ‖∂target/∂embedding‖₂ of each token up to this one, from left to right"
DARK = "Dark: 0, bright: the largest. Point at it for the numbers."
TARGET = "Token whose logit is explained: its text (a number in quotes), or its id; empty for the one that came next"
MOST_ROWS = 16
"""Rows of the table that are in view at once."""


class AttributionPage(QWidget):
    """Shows an ``Attribution``.

    Signals
    -------
    picked : Selection
    """

    picked = Signal(object)
    kind = Attribution
    title, verb = "Attribution", "Attribute"
    empty = (
        "What did each expert do to the next token? Its direct attribution, gradient × output, and the effect of leaving it out, "
        "at every layer; and how much of the target they add up to."
    )

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self.shown: Attribution | None = None
        self.texts: tuple[str, ...] = ()
        """Of the tokens that attention looks at."""
        self.target, self.quantity, self.choice = QLineEdit(), QComboBox(), QComboBox()
        self.headline, self.verdict, self.legend, self.notes = QLabel(), QLabel(), QLabel(), QLabel()
        self.map = SlotMap()
        self.table = EffectsTable(self)
        self.delegate = EffectDelegate(self)
        self.view = QTableView()
        self.attention_title, self.attention_line = QLabel(ATTENTION), ElidedLabel()
        self.attention = AttentionPicture("Attention weights of the token")
        self.seen_title, self.seen_line = QLabel(SEEN), ElidedLabel()
        self.seen = AttentionPicture("Gradient norms of the tokens up to this one")
        self._set_up()
        self._lay_out()
        self.choice.activated.connect(self._show_map)
        self.map.picked.connect(self._pick_cell)
        self.view.clicked.connect(self._pick_row)
        self.view.activated.connect(self._pick_row)
        self.attention.hovered.connect(self._hover)
        self.seen.hovered.connect(self._hover_seen)

    def _set_up(self) -> None:
        self.target.setPlaceholderText("next token")
        self.target.setAccessibleName("Target token")
        self.target.setToolTip(TARGET)
        self.quantity.setAccessibleName("Value of the target")
        self.quantity.addItem("log-probability", "log-probability")
        self.quantity.addItem("logit", "logit")
        self.quantity.setToolTip("log-probability: in nats, what the loss is made of; logit: before the softmax")
        self.choice.setAccessibleName("What the map shows")
        for box in (self.choice, self.quantity):
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        view = self.view
        view.setModel(self.table)
        show_plain_rows(view, "Effects of experts and other parts", room=8)
        view.setItemDelegate(self.delegate)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        view.setSortingEnabled(True)
        view.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.DescendingOrder)

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        line.setSpacing(4)
        line.addWidget(self.choice, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(4)
        for label in (self.headline, self.verdict, self.legend, self.attention_title, self.seen_title, self.notes):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column.addWidget(self.headline)
        column.addWidget(self.verdict)
        column.addLayout(line)
        column.addWidget(self.map)
        column.addWidget(self.legend)
        column.addWidget(self.view)
        column.addWidget(self.attention_title)
        column.addWidget(self.attention)
        column.addWidget(self.attention_line)
        column.addWidget(self.seen_title)
        column.addWidget(self.seen)
        column.addWidget(self.seen_line)
        column.addWidget(self.notes)
        column.addStretch(1)

    def options(self) -> dict[str, object]:
        """Return what a question has besides token and layer."""
        return {"target": model.target_of(self.target.text()), "value": self.quantity.currentData()}

    def show_found(self, found: Explanation | None) -> None:
        """Show an explanation."""
        if not isinstance(found, Attribution) or found is self.shown:
            return
        self.shown, self.texts = found, ()
        self.headline.setText(model.headline(found))
        fine, line = model.verdict(found)
        self.verdict.setText(line)
        self.verdict.setStyleSheet(f"color: {self._theme.color('muted' if fine else 'error').name()}")
        chosen = self.choice.currentData()
        self.choice.clear()
        for quantity in model.shown(found):
            self.choice.addItem(quantity.title, quantity.key)
            self.choice.setItemData(
                self.choice.count() - 1, model.convention(quantity, found), Qt.ItemDataRole.ToolTipRole
            )
        place = self.choice.findData(chosen or model.ABLATION)
        self.choice.setCurrentIndex(place if place >= 0 else self.choice.count() - 1)
        self._show_map()
        self.table.set_attribution(found)
        rows = min(self.table.rowCount(), MOST_ROWS)
        lines = rows * self.view.verticalHeader().defaultSectionSize()
        self.view.setFixedHeight(lines + self.view.horizontalHeader().sizeHint().height() + 20)
        means = model.attention_means(found)
        self.attention.set_values(means)
        for part in (self.attention_title, self.attention, self.attention_line):
            part.setVisible(bool(means.size))
        self._hover(None)
        gradients = model.seen_gradients(found)
        self.seen.set_values(gradients)
        for part in (self.seen_title, self.seen, self.seen_line):
            part.setVisible(bool(gradients.size))
        self._hover_seen(None)
        self.notes.setText(sentences(found.notes))
        self.notes.setVisible(bool(found.notes))

    def _show_map(self) -> None:
        found, key = self.shown, self.choice.currentData()
        if found is None or key is None:
            return
        quantity = next(each for each in model.QUANTITIES if each.key == key)
        means = model.convention(quantity, found)
        names = [f"L{layer}" for layer in found.layers.tolist()]
        hint = f"{{name}}, expert {{expert}}: {quantity.title.lower()} {{value:.4g}}"
        self.map.set_values(getattr(found, key), found.experts, names, quantity.signed, hint)
        colours = "green: above 0, red: below" if quantity.signed else "the stronger the larger"
        self.legend.setText(f"{means}. Numbers are experts, in slot order; {colours}.")

    def _hover(self, cell: tuple[int, int] | None) -> None:
        if self.shown is None or cell is None:
            self.attention_line.setText(DARK)
        else:
            self.attention_line.setText(model.attention_text(self.shown, *cell, self.texts))

    def _hover_seen(self, cell: tuple[int, int] | None) -> None:
        if self.shown is None or cell is None:
            self.seen_line.setText(DARK)
        else:
            self.seen_line.setText(model.seen_text(self.shown, cell[1], self.texts))

    def _pick_cell(self, line: int, slot: int) -> None:
        assert self.shown is not None
        self._pick(int(self.shown.layers[line]), int(self.shown.experts[line, slot]))

    def _pick_row(self, index: QModelIndex) -> None:
        row = index.data(ROW_ROLE)
        if row is not None and row.expert >= 0:
            self._pick(row.layer, row.expert)

    def _pick(self, layer: int, expert: int) -> None:
        self.picked.emit(Selection(Kind.EXPERT, layer=layer, expert=expert))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.delegate.theme = theme
        self.map.set_theme(theme)
        self.attention.set_theme(theme)
        self.seen.set_theme(theme)
        for part in (self.legend, self.notes, self.attention_title, self.seen_title):
            part.setStyleSheet(f"color: {theme.color('muted').name()}")
        self.view.viewport().update()
