"""The Tokens tab: the text of a pass, coloured by expert at one layer."""

from dataclasses import replace
from typing import NamedTuple

from PySide6.QtCore import QPoint, QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.model_layout import lay_out
from moedesk.panels.network.model_overview import passes_text
from moedesk.panels.network.model_tokens import ColorBy, Question, TokenPage, read_page, shares, value_range
from moedesk.panels.network.view_shares import ExpertShares
from moedesk.panels.network.view_token_text import TokenText
from moedesk.session.jobs import Ticket
from moedesk.session.session import Session
from moedesk.ui.paced_question import PacedQuestion
from moedesk.ui.theme import Theme
from moedesk.ui.token_layout import TokenLayout

COLORS: tuple[tuple[ColorBy, str], ...] = (
    ("expert", "Colour: first expert"),
    ("weight", "Colour: weight of the selected expert"),
    ("entropy", "Colour: entropy"),
    ("margin", "Colour: margin"),
)
UNITS = {"entropy": "entropy in nats", "margin": "margin, in the router's score", "weight": "weight of the expert"}


class _Asked(NamedTuple):
    """What the text depends on; ``revision`` is -1 where new passes change nothing."""

    question: Question
    filter: str
    hide: bool
    revision: int

    def grown_from(self, before: "_Asked") -> bool:
        """Return whether only passes came after those asked for before."""
        same = replace(self.question, passes=before.question.passes) == before.question
        return same and self.question.passes[0] == before.question.passes[0] and self[1:3] == before[1:3]


class TokensTab(QWidget):
    """Asks for the tokens of the pass in question and shows them.

    Signals
    -------
    menu_asked : Selection, QPoint
    """

    menu_asked = Signal(object, QPoint)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._layer = 0
        self._listed = -1  # layers in the box
        self._asked: _Asked | None = None
        self._shown: Question | None = None
        self._page = PacedQuestion(session, "network.tokens", self, rest=0.2)
        self.layer_box = QComboBox()
        self.color_box = QComboBox()
        self.scope_box = QComboBox()
        self.padding_box = QToolButton()
        self.text = TokenText()
        self.shares = ExpertShares()
        self.note = QLabel()
        self._fill()
        self._lay_out()
        self.layer_box.activated.connect(self._choose_layer)
        self.color_box.activated.connect(self._mark)
        self.scope_box.activated.connect(self.ask)
        self.padding_box.toggled.connect(self.ask)
        self.text.columns_changed.connect(self._relay)
        self.text.picked.connect(self._pick)
        self.text.menu_asked.connect(self._menu)
        self.shares.picked.connect(self._pick_expert)

    def _fill(self) -> None:
        for box, name in ((self.layer_box, "Layer"), (self.color_box, "Colour by"), (self.scope_box, "Tokens of")):
            box.setAccessibleName(name)
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            box.setMinimumWidth(90)
        for key, title in COLORS:
            self.color_box.addItem(title, key)
        self.scope_box.addItem("This pass", "pass")
        self.scope_box.addItem("Passes in view", "window")
        self.scope_box.setItemData(
            1,
            "All tokens of the brushed passes, up to the replay cursor, sequence by sequence",
            Qt.ItemDataRole.ToolTipRole,
        )
        self.padding_box.setText("Padding")
        self.padding_box.setCheckable(True)
        self.padding_box.setToolTip("Show padding tokens, which no number counts")
        self.note.setWordWrap(True)
        self.note.setContentsMargins(6, 0, 6, 2)
        self.note.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def _lay_out(self) -> None:
        upper, lower = QHBoxLayout(), QHBoxLayout()
        upper.addWidget(self.layer_box, 3)
        upper.addWidget(self.scope_box, 2)
        lower.addWidget(self.color_box, 3)
        lower.addWidget(self.padding_box, 2)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(3)
        for line in (upper, lower):
            line.setContentsMargins(6, 0, 6, 0)
            column.addLayout(line)
        row = QHBoxLayout()
        row.setContentsMargins(6, 0, 6, 0)
        row.addWidget(self.shares)
        column.addLayout(row)
        column.addWidget(self.note)
        column.addWidget(self.text, 1)

    @property
    def layer(self) -> int:
        """The layer whose routing colours the text."""
        return self._layer

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session."""
        session = self._session
        if "store" in changed and self._listed != len(session.store.model.layers):
            self._list_layers()
        if session.selection.layer is not None:
            self._layer = min(session.selection.layer, max(self.layer_box.count() - 1, 0))
        self.layer_box.setCurrentIndex(self._layer)
        if changed - {"store", "live"}:
            self._mark()
        self.ask()

    def _list_layers(self) -> None:
        self._listed = len(self._session.store.model.layers)
        with QSignalBlocker(self.layer_box):
            self.layer_box.clear()
            for layer in self._session.store.model.layers:
                self.layer_box.addItem(f"L{layer.place}  {layer.path}")
                self.layer_box.setItemData(
                    layer.place,
                    f"{layer.block}: {layer.experts} experts, top {layer.top_k}",
                    Qt.ItemDataRole.ToolTipRole,
                )

    def question(self) -> Question | None:
        """Return which tokens the session's state asks for; None without data."""
        session = self._session
        if not session.store.n_passes or not session.store.model.layers:
            return None
        selected = session.selection
        stream = session.store.model.layers[self._layer].stream
        token = self._selected_row(stream)
        if self.scope_box.currentData() == "window":
            follows = session.live is not None and session.live.follow and session.window is None
            return Question(self._layer, session.span, token, from_end=session.cursor is not None or follows)
        if session.live is not None and session.cursor is None and session.window is None and selected.pass_id is None:
            return self._live_question(session.live.follow, stream)
        if session.cursor is not None:
            number = session.cursor
        elif selected.pass_id is not None:
            number = min(selected.pass_id, session.store.n_passes - 1)
        else:
            number = session.span[0]
        follow = selected.kind == Kind.TOKEN and session.cursor is None
        return Question(self._layer, (number, number + 1), token, follow=follow)

    def _selected_row(self, stream: str) -> int | None:
        """The row of the selected token, if it is one of a stream: rows of another one have the same numbers."""
        selected = self._session.selection
        return selected.token if (selected.stream or self._session.store.model.streams[0]) == stream else None

    def _live_question(self, follow: bool, stream: str) -> Question:
        """Ask for the newest pass, or, not following it, for what was the newest when that was turned off."""
        page = self.text.page
        if follow or page is None:
            return Question(self._layer, (0, 1), newest=True)
        rows = (page.tokens.first, page.tokens.first + len(page)) if page.tokens.layer.stream == stream else None
        return Question(self._layer, page.passes, rows=rows)

    def ask(self) -> None:
        """Ask for the tokens in question, unless they are there: what a pass was routed to never changes."""
        question = self.question()
        if question is None:
            self._asked = None
            self.text.set_text(None, TokenLayout(8))
            return
        store, chosen = self._session.store, self._session.filter
        columns, hide = self.text.columns(), not self.padding_box.isChecked()
        asked = _Asked(question, chosen.to_text(), hide, store.revision if question.newest else -1)
        before, self._asked = self._asked, asked
        if asked == before:
            return
        grown = before is not None and asked.grown_from(before) and self._session.live is not None

        def work(_: Ticket) -> tuple[TokenPage, TokenLayout]:
            page = read_page(store, question, chosen)
            return page, lay_out(page, columns, hide)

        self._page.ask(work, lambda answer: self._show(question, *answer), self._fail, urgent=not grown)

    def _show(self, question: Question, page: TokenPage, layout: TokenLayout) -> None:
        self._shown = question
        self.text.set_text(page, layout)
        self._mark()
        self.text.show_end() if question.newest else self.text.show_selected()
        if layout.columns != self.text.columns():
            self._relay()

    def _relay(self) -> None:
        page = self.text.page
        if page is None:
            return
        columns, hide = self.text.columns(), not self.padding_box.isChecked()
        self._session.jobs.latest(
            "network.tokens.layout",
            lambda _: lay_out(page, columns, hide),
            lambda layout: self.text.set_text(page, layout) if self.text.page is page else None,
        )

    def _fail(self, error: Exception) -> None:
        self._asked = None
        self.note.setText(f"The tokens could not be read: {error}")

    def _mark(self) -> None:
        selected = self._session.selection
        expert = selected.expert if selected.layer == self._layer else None
        by = self.color_box.currentData()
        page = self.text.page
        self.text.set_marks(by, expert, None if page is None else self._selected_row(page.tokens.layer.stream))
        has_shares = by == "expert" and page is not None and bool(len(page))
        if self.shares.isHidden() == has_shares:
            self.shares.setVisible(has_shares)
        if page is not None:
            self.shares.set_shares(shares(page), expert)
        self.note.setText(self._note(page, by, expert))

    def _note(self, page: TokenPage | None, by: ColorBy, expert: int | None) -> str:
        if page is None:
            return "No passes yet. Record a model, or open a capture with Ctrl+O."
        if not len(page):
            return self._why_empty(page)
        newest = "Newest: " if self._shown is not None and self._shown.newest else ""
        parts = [f"{newest}{passes_text(page.passes)}: {len(page):,} token rows."]
        parts[0] = parts[0][0].upper() + parts[0][1:]
        if by == "weight" and expert is None:
            parts.append("Select an expert in the heatmap to colour by its weight.")
        elif by != "expert":
            low, high = value_range(self.text.values)
            parts.append(f"Colour: {UNITS[by]}, dark {low:.0f} to bright {high:.3g}; no colour: none or unknown.")
        if expert is not None:
            parts.append(f"Underlined: routed to expert {expert}.")
        overridden = int(page.overridden.sum())
        if overridden:
            parts.append(f"◥ {overridden:,} overridden here (is:overridden).")
        if self._session.filter:
            parts.append(f"{int(page.matched.sum()):,} match the filter; the others are pale.")
        hidden = 0 if self.padding_box.isChecked() else int(page.tokens.tokens["is_padding"].sum())
        if hidden:
            parts.append(f"{hidden:,} of padding hidden.")
        return " ".join([*parts, page.left_out]).strip()

    def _why_empty(self, page: TokenPage) -> str:
        where = passes_text(page.passes).capitalize()
        return (
            f"{where} has no token rows: only counts were recorded, or this layer did not run. The heatmap and the table "
            "are exact all the same. Record again without counts_only to see tokens."
        )

    def _choose_layer(self, layer: int) -> None:
        self._layer = layer
        self._session.select(Selection(Kind.LAYER, layer=layer))
        self.refresh(frozenset({"selection"}))

    def _selection(self, row: int) -> Selection:
        page = self.text.page
        assert page is not None
        token = page.tokens.tokens[row - page.tokens.first]
        stream = page.tokens.layer.stream
        main = stream == self._session.store.model.streams[0]
        return Selection(
            Kind.TOKEN, pass_id=int(token["pass"]), layer=self._layer, token=row, stream=None if main else stream
        )

    def _pick(self, row: int) -> None:
        self._session.select(self._selection(row))

    def _menu(self, row: int, position: QPoint) -> None:
        self.menu_asked.emit(self._selection(row), position)

    def _pick_expert(self, expert: int) -> None:
        self._session.select(Selection(Kind.EXPERT, layer=self._layer, expert=expert))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.text.set_theme(theme)
        self.shares.set_theme(theme)
