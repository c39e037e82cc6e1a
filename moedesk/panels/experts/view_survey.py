"""The cards of an expert's friends, of those like it, and of its labels."""

from PySide6.QtWidgets import QComboBox

from moedesk.panels.experts.model_survey import (
    CONVENTIONS,
    LIKENESSES,
    SurveyView,
    alike_bars,
    alike_caption,
    friend_bars,
    friends_caption,
    label_bars,
    labels_caption,
)
from moedesk.ui.cards import Card
from moedesk.ui.ranked_bars import RankedBars
from moedesk.ui.theme import Theme


class SurveyCards:
    """Friends, alike and labels, with a choice of convention."""

    def __init__(self) -> None:
        self.view: SurveyView | None = None
        self.friends = RankedBars("Co-activated friends")
        self.friends_card = Card("Co-activated friends", self.friends)
        self.convention = _box(list(CONVENTIONS.values()), "Convention of co-activation")
        self.friends_card.add_control(self.convention)
        self.alike = RankedBars("Similar experts")
        self.alike_card = Card("Similar experts", self.alike)
        self.likeness = _box(list(LIKENESSES.values()), "Convention of similarity")
        self.alike_card.add_control(self.likeness)
        self.labels = RankedBars("Share by label")
        self.labels_card = Card("Share by label", self.labels)
        for box in (self.convention, self.likeness):
            box.currentIndexChanged.connect(lambda _: self._draw())

    def set_view(self, view: SurveyView) -> None:
        """Show another expert, or more passes."""
        self.view = view
        self._draw()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        for bars in (self.friends, self.alike, self.labels):
            bars.set_theme(theme)

    def _draw(self) -> None:
        if self.view is None:
            return
        convention = list(CONVENTIONS)[self.convention.currentIndex()]
        likeness = list(LIKENESSES)[self.likeness.currentIndex()]
        self.friends.set_bars(*friend_bars(self.view, convention))
        self.friends_card.set_caption(friends_caption(self.view, convention))
        self.alike.set_bars(alike_bars(self.view, likeness))
        self.alike_card.set_caption(alike_caption(self.view, likeness))
        self.labels.set_bars(*label_bars(self.view))
        self.labels_card.set_caption(labels_caption(self.view))


def _box(names: list[str], what: str) -> QComboBox:
    box = QComboBox()
    box.addItems(names)
    box.setAccessibleName(what)
    return box
