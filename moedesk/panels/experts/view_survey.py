"""The cards of what a layer's survey says of an expert."""

from collections.abc import Callable

from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from moedesk.analysis.expert.friends import Friendship
from moedesk.panels.experts.model_copy import (
    Copied,
    copied_alike,
    copied_friends,
    copied_labels,
    copied_matrix,
    copied_own,
    copied_vocabulary,
)
from moedesk.panels.experts.model_graph import graph, graph_caption, matrix, matrix_caption
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
from moedesk.panels.experts.model_vocabulary import (
    own_bars,
    own_caption,
    repetition_bars,
    vocabulary_bars,
    vocabulary_caption,
)
from moedesk.ui.cards import Card
from moedesk.ui.friend_graph import FriendGraph
from moedesk.ui.matrix import Matrix
from moedesk.ui.ranked_bars import RankedBars
from moedesk.ui.theme import Theme


class SurveyCards:
    """Friends as list, graph and matrix by one convention; experts alike; labels; vocabulary and repetition."""

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
        self.graph = FriendGraph("Friends graph")
        self.graph_card = Card("Friends graph", self.graph)
        self.matrix = Matrix("Co-activation matrix")
        self.matrix_card = Card("Co-activation of the layer", self.matrix)
        self.matrix.reduced.connect(lambda _: self._say_matrix())
        self.vocabulary = RankedBars("Vocabulary")
        self.repetition = RankedBars("Repetition")
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.vocabulary)
        column.addWidget(self.repetition)
        self.vocabulary_card = Card("Vocabulary and repetition", body)
        self.own = RankedBars("Tokens that come here most", mono=True)
        self.own_card = Card("Tokens of its own", self.own)
        self.labels = RankedBars("Share by label")
        self.labels_card = Card("Share by label", self.labels)
        for box in (self.convention, self.likeness):
            box.currentIndexChanged.connect(lambda _: self._draw())

    def set_view(self, view: SurveyView) -> None:
        """Show another expert, or more passes."""
        self.view = view
        self._draw()

    def copied(self) -> dict[Card, Callable[[], Copied]]:
        """Return what can be copied, by card."""
        view, convention = self.view, self._convention
        if view is None:
            return {}
        by_tokens = list(LIKENESSES)[self.likeness.currentIndex()] == "tokens"
        return {
            self.friends_card: lambda: copied_friends(view, convention),
            self.graph_card: lambda: copied_friends(view, convention),
            self.matrix_card: lambda: copied_matrix(view, convention),
            self.alike_card: lambda: copied_friends(view, "jaccard") if by_tokens else copied_alike(view),
            self.labels_card: lambda: copied_labels(view),
            self.vocabulary_card: lambda: copied_vocabulary(view),
            self.own_card: lambda: copied_own(view),
        }

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        for bars in (self.friends, self.alike, self.labels, self.vocabulary, self.repetition, self.own):
            bars.set_theme(theme)
        self.graph.set_theme(theme)
        self.matrix.set_theme(theme)

    def _draw(self) -> None:
        if self.view is None:
            return
        convention = self._convention
        likeness = list(LIKENESSES)[self.likeness.currentIndex()]
        self.friends.set_bars(*friend_bars(self.view, convention))
        self.friends_card.set_caption(friends_caption(self.view, convention))
        self.alike.set_bars(alike_bars(self.view, likeness))
        self.alike_card.set_caption(alike_caption(self.view, likeness))
        self.labels.set_bars(*label_bars(self.view))
        self.labels_card.set_caption(labels_caption(self.view))
        self.graph.set_graph(*graph(self.view, convention))
        self.graph_card.set_caption(graph_caption(self.view, convention))
        values, name = matrix(self.view, convention)
        self.matrix.set_values(values, self.view.choice.expert, name)
        self._say_matrix()
        self.vocabulary.set_bars(vocabulary_bars(self.view))
        self.repetition.set_bars(*repetition_bars(self.view))
        self.vocabulary_card.set_caption(vocabulary_caption(self.view))
        self.own.set_bars(own_bars(self.view))
        self.own_card.set_caption(own_caption(self.view))

    def _say_matrix(self) -> None:
        if self.view is not None:
            self.matrix_card.set_caption(matrix_caption(self.view, self._convention, self.matrix.factor))

    @property
    def _convention(self) -> Friendship:
        return list(CONVENTIONS)[self.convention.currentIndex()]


def _box(names: list[str], what: str) -> QComboBox:
    box = QComboBox()
    box.addItems(names)
    box.setAccessibleName(what)
    return box
