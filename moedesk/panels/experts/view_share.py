"""The cards of an expert's share, and of the shares of all experts of its layer."""

from collections.abc import Callable

from PySide6.QtWidgets import QVBoxLayout, QWidget

from moedesk.panels.experts.model_copy import Copied, copied_multiples, copied_share
from moedesk.panels.experts.model_share import (
    ShareView,
    multiples,
    multiples_caption,
    share_band,
    share_bars,
    share_caption,
)
from moedesk.ui.band_chart import BandChart
from moedesk.ui.cards import Card
from moedesk.ui.ranked_bars import RankedBars
from moedesk.ui.small_multiples import SmallMultiples
from moedesk.ui.theme import Theme


class ShareCard:
    """Numbers above, the share over time below."""

    def __init__(self) -> None:
        self.view: ShareView | None = None
        self.numbers = RankedBars("Share")
        self.chart = BandChart()
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.numbers)
        column.addWidget(self.chart)
        self.card = Card("Share over time", body)
        self.multiples = SmallMultiples("Share of every expert over time")
        self.multiples_card = Card("Every expert of the layer", self.multiples)

    def set_view(self, view: ShareView) -> None:
        """Show another expert, or more passes."""
        self.view = view
        self.numbers.set_bars(share_bars(view))
        self.chart.set_band(share_band(view))
        self.card.set_caption(share_caption(view))
        self.multiples.set_multiples(multiples(view), view.choice.expert)
        self.multiples_card.set_caption(multiples_caption(view))

    def copied(self) -> dict[Card, Callable[[], Copied]]:
        """Return what can be copied, by card."""
        view = self.view
        return (
            {}
            if view is None
            else {self.card: lambda: copied_share(view), self.multiples_card: lambda: copied_multiples(view)}
        )

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.numbers.set_theme(theme)
        self.chart.set_theme(theme)
        self.multiples.set_theme(theme)
