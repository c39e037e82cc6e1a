"""The Experts panel: what one expert does, on cards."""

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QComboBox, QLabel, QMenu, QStackedLayout, QVBoxLayout, QWidget

from moedesk.core.selection import Kind, Selection
from moedesk.panels.experts.model_choice import Choice, followed
from moedesk.panels.experts.model_copy import Copied
from moedesk.panels.experts.model_paths import PathsView, paths_view
from moedesk.panels.experts.model_share import ShareView, share_view
from moedesk.panels.experts.model_survey import Surveys, SurveyView
from moedesk.panels.experts.model_tokens import TokensView, tokens_view
from moedesk.panels.experts.spec import SPEC
from moedesk.panels.experts.view_chooser import Chooser
from moedesk.panels.experts.view_paths import PathsCard
from moedesk.panels.experts.view_share import ShareCard
from moedesk.panels.experts.view_survey import SurveyCards
from moedesk.panels.experts.view_tokens import TokenCards
from moedesk.session.session import Session
from moedesk.ui.break_menu import add_break_actions
from moedesk.ui.cards import Card, CardColumns
from moedesk.ui.override_menu import add_override_actions
from moedesk.ui.paced_question import PacedQuestion
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.reveal import add_reveal_actions
from moedesk.ui.theme import Theme

REST = 1.0
"""Seconds between two readings of a live session: nobody reads a dashboard thirty times a second."""
WORK = 0.08
"""Part of the worker's time that each of the four questions about a live session may take."""
NO_LAYERS = "There is no MoE layer here yet. Open a capture (Ctrl+O), or attach a model in the console: moe.attach()."
NO_PASSES = (
    'No passes yet. Run the model once: in the console, moe.run("Once upon a time"); each expert\'s share shows then.'
)


class ExpertsPanel(Panel):
    """One expert: its share, tokens, contexts, friends, likes."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(session, shell, parent)
        self.shown = (0, 0)
        self.chooser = Chooser()
        self.cards = CardColumns()
        self.empty = QLabel(NO_LAYERS)
        self.share = ShareCard()
        self.tokens = TokenCards()
        self.survey = SurveyCards()
        self.paths = PathsCard()
        self._parts = (self.share, self.tokens, self.survey, self.paths)
        self.surveys = Surveys()
        self._share, self._tokens, self._survey, self._paths = (
            PacedQuestion(session, f"{SPEC.id}/{name}", self, REST, WORK)
            for name in ("share", "tokens", "survey", "paths")
        )
        self._asked: Choice | None = None
        self._lay_out()
        self._connect()
        self.set_theme(shell.theme)

    @property
    def choice(self) -> Choice:
        """The expert that is shown, and the passes in view."""
        return Choice(*self.shown, *self.session.span)

    def refresh(self, changed: frozenset[str]) -> None:
        """Ask for what changed."""
        store = self.session.store
        empty = NO_LAYERS if not store.model.layers else NO_PASSES if not store.n_passes else ""
        self.empty.setText("\n\n".join((empty, *store.notes)) if empty else "")
        self._pages.setCurrentWidget(self.empty if empty else self._content)
        if empty:
            self._asked = None
            return
        if "labels" in changed:
            self._asked = None
        self.shown = followed(self.session.selection, self.shown, store.model)
        self.chooser.set_overridden(self.session.overriding.in_view(), self.shown)
        self._ask()

    def _ask(self) -> None:
        choice, store = self.choice, self.session.store
        if choice == self._asked:
            return
        before, self._asked = self._asked, choice
        other = before is None or (before.layer, before.expert) != (choice.layer, choice.expert)
        passes = choice.last - choice.first
        whole = "all" if passes == store.n_passes else f"{choice.first:,}–{choice.last - 1:,}, {passes:,} of"
        self.chooser.show_expert(store.model, *self.shown, f"Passes: {whole} {store.n_passes:,}")
        self._share.ask(
            lambda _: share_view(store, choice), self._show_share, partial(self._failed, self.share.card), urgent=other
        )
        self._ask_tokens(other)
        self._survey.ask(
            lambda ticket: self.surveys.view(store, choice, ticket),
            self._show_survey,
            partial(self._failed, self.survey.friends_card),
            urgent=other,
        )
        self._ask_paths(other)

    def _ask_paths(self, urgent: bool = True) -> None:
        choice, store, reach = self.choice, self.session.store, self.paths.reach
        self._paths.ask(
            lambda ticket: paths_view(store, choice, reach, ticket),
            self._show_paths,
            partial(self._failed, self.paths.card),
            urgent=urgent,
        )

    def _ask_tokens(self, urgent: bool = True) -> None:
        choice, store, which = self.choice, self.session.store, self.tokens.which
        self._tokens.ask(
            lambda ticket: tokens_view(store, choice, which, ticket),
            self._show_tokens,
            partial(self._failed, self.tokens.contexts_card),
            urgent=urgent,
        )

    def _show_share(self, view: ShareView) -> None:
        self.share.set_view(view)

    def _show_tokens(self, view: TokensView) -> None:
        self.tokens.set_view(view)

    def _show_paths(self, view: PathsView) -> None:
        self.paths.set_view(view)

    def _show_survey(self, view: SurveyView) -> None:
        self.survey.set_view(view)

    def _failed(self, card: Card, error: Exception) -> None:
        card.set_caption(f"This could not be read: {error}")

    def _pick(self, layer: int, expert: int) -> None:
        self.session.select(Selection(Kind.EXPERT, layer=layer, expert=expert))

    def _pick_token(self, row: int) -> None:
        stream = self.session.store.model.layers[self.shown[0]].stream
        main = stream == self.session.store.model.streams[0]
        layer, expert = self.shown
        self.session.select(
            Selection(Kind.TOKEN, layer=layer, expert=expert, token=row, stream=None if main else stream)
        )

    def _menu(self, card: Card, position: QPoint) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.fill_menu(menu, card)
        menu.popup(position)

    def fill_menu(self, menu: QMenu, card: Card) -> None:
        """Fill a card's context menu."""
        copied: dict[Card, Callable[[], Copied]] = {}
        for part in self._parts:
            copied |= part.copied()
        if card in copied:
            menu.addAction("Copy as CSV", lambda: self._copy(card, copied[card]().csv, "CSV"))
            path = self.session.path or self.session.store.name
            menu.addAction("Copy as Python", lambda: self._copy(card, copied[card]().python(path), "Python"))
        add_override_actions(menu, self.choice.selection, self.session, self.shell)
        add_break_actions(menu, self.choice.selection, self.session, self.shell)
        add_reveal_actions(menu, self.choice.selection, self.session, self.shell, SPEC.id)

    def _copy(self, card: Card, text: str, form: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.shell.say(f"Copied {card.title.text()} as {form}.")

    def focus_find(self) -> None:
        """Put the keyboard into the field that takes an expert."""
        self.chooser.field.setFocus()
        self.chooser.field.selectAll()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.chooser.set_theme(theme)
        self.cards.set_theme(theme)
        for part in self._parts:
            part.set_theme(theme)

    def save_state(self) -> dict[str, object]:
        """Return what is chosen on the cards."""
        return {name: box.currentIndex() for name, box in self._boxes().items()}

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over what ``save_state`` returned; what doesn't fit is left as it is."""
        for name, box in self._boxes().items():
            place = state.get(name)
            if isinstance(place, int) and 0 <= place < box.count():
                box.setCurrentIndex(place)

    def _boxes(self) -> dict[str, QComboBox]:
        return {
            "which": self.tokens.box,
            "convention": self.survey.convention,
            "likeness": self.survey.likeness,
            "reach": self.paths.box,
        }

    def _lay_out(self) -> None:
        for card in (
            self.share.card,
            self.tokens.contexts_card,
            self.survey.labels_card,
            self.paths.card,
            self.tokens.top_card,
            self.survey.own_card,
            self.survey.vocabulary_card,
            self.survey.friends_card,
            self.survey.graph_card,
            self.survey.matrix_card,
            self.survey.alike_card,
            self.share.multiples_card,
        ):
            self.cards.add(card)
            card.menu_asked.connect(partial(self._menu, card))
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setWordWrap(True)
        self._content = QWidget()
        column = QVBoxLayout(self._content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.chooser)
        column.addWidget(self.cards, 1)
        self._pages = QStackedLayout(self)
        self._pages.addWidget(self._content)
        self._pages.addWidget(self.empty)

    def _connect(self) -> None:
        self.chooser.picked.connect(self._pick)
        self.share.chart.picked.connect(lambda first, last: self.session.brush((first, last)))
        self.tokens.lines.picked.connect(self._pick_token)
        self.tokens.box.currentIndexChanged.connect(lambda _: self._ask_tokens())
        self.paths.box.currentIndexChanged.connect(lambda _: self._ask_paths())
        for experts in (self.survey.matrix, self.share.multiples):
            experts.picked.connect(lambda expert: self._pick(self.shown[0], expert))
        for places in (self.survey.friends, self.survey.alike, self.survey.graph, self.paths.sankey):
            places.picked.connect(lambda key: self._pick(*key))
