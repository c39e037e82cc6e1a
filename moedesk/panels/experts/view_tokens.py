"""The cards of an expert's tokens and contexts."""

from collections.abc import Callable

from PySide6.QtWidgets import QComboBox

from moedesk.analysis.expert.contexts import Choice as Which
from moedesk.panels.experts.model_copy import Copied, copied_contexts, copied_tokens
from moedesk.panels.experts.model_tokens import WHICH, TokensView, contexts_caption, token_bars, tokens_caption
from moedesk.panels.experts.view_contexts import ContextLines
from moedesk.ui.cards import Card
from moedesk.ui.ranked_bars import RankedBars
from moedesk.ui.theme import Theme


class TokenCards:
    """Top tokens, and contexts with a choice of which."""

    def __init__(self) -> None:
        self.view: TokensView | None = None
        self.top = RankedBars("Top tokens", mono=True)
        self.top_card = Card("Top tokens", self.top)
        self.lines = ContextLines()
        self.contexts_card = Card("Contexts", self.lines, span=2)
        self.box = QComboBox()
        self.box.addItems(list(WHICH.values()))
        self.box.setAccessibleName("Which contexts")
        self.contexts_card.add_control(self.box)

    @property
    def which(self) -> Which:
        """Which contexts are wanted."""
        return list(WHICH)[self.box.currentIndex()]

    def set_view(self, view: TokensView) -> None:
        """Show another expert, or more passes."""
        self.view = view
        self.top.set_bars(token_bars(view))
        self.top_card.set_caption(tokens_caption(view))
        self.lines.set_contexts(view.contexts.contexts, view.choice.expert)
        self.contexts_card.set_caption(contexts_caption(view))

    def copied(self) -> dict[Card, Callable[[], Copied]]:
        """Return what can be copied, by card."""
        view = self.view
        if view is None:
            return {}
        return {self.top_card: lambda: copied_tokens(view), self.contexts_card: lambda: copied_contexts(view)}

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.top.set_theme(theme)
        self.lines.set_theme(theme)
