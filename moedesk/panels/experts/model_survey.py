"""What a layer's survey says of one expert: friends, twins, labels."""

from dataclasses import dataclass
from typing import Literal

from moedesk.analysis.expert.friends import FORMULAS, Friend, Friendship, alike, friends
from moedesk.analysis.expert.survey import Survey, survey
from moedesk.analysis.expert.vocabulary import ExpertVocabulary, expert_vocabulary
from moedesk.analysis.experts import share_interval
from moedesk.core.store import Store
from moedesk.panels.experts.model_choice import Choice
from moedesk.session.jobs import Ticket
from moedesk.ui.bar import Bar

FRIENDS = 10
CONVENTIONS: dict[Friendship, str] = {"directed": "Share N(i,j)/N(i)", "lift": "Lift", "jaccard": "Jaccard"}
Likeness = Literal["vocabulary", "tokens"]
LIKENESSES: dict[Likeness, str] = {"vocabulary": "By vocabulary", "tokens": "By token set"}
LIKENESS_FORMULAS: dict[Likeness, str] = {
    "vocabulary": "Cosine of the two experts' token counts n(x,e)/√n(x): 1 the same vocabulary, 0 nothing in common",
    "tokens": "Jaccard index of the two experts' token sets: co-activation, not likeness of function",
}


@dataclass(frozen=True)
class SurveyView:
    """An expert in the survey of its layer.

    Attributes
    ----------
    choice : Choice
    survey : Survey
    alike : tuple of Friend
        By vocabulary.
    vocabulary : ExpertVocabulary
    own_texts : tuple of str
        A text for each of ``vocabulary.own``.
    """

    choice: Choice
    survey: Survey
    alike: tuple[Friend, ...]
    vocabulary: ExpertVocabulary
    own_texts: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """N(i): tokens of the expert among the rows read."""
        return int(self.survey.alone[self.choice.expert])


class Surveys:
    """Remembers the last survey, so that another expert of the same layer costs no reading. Used in the worker."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._last: Survey | None = None

    def view(self, store: Store, choice: Choice, ticket: Ticket) -> SurveyView:
        """Return an expert in the survey of its layer over the passes in view."""
        key = (choice.layer, choice.first, choice.last, store.labels)
        if self._last is None or key != self._key:
            self._last, self._key = survey(store, choice.layer, choice.first, choice.last, ticket), key
        ticket.check()
        vocabulary = expert_vocabulary(self._last, choice.expert)
        texts = store.token_text([token.token_id for token in vocabulary.own]) if vocabulary.own else []
        return SurveyView(choice, self._last, alike(self._last, choice.expert, FRIENDS), vocabulary, tuple(texts))


def friend_bars(view: SurveyView, convention: Friendship) -> tuple[list[Bar], float | None]:
    """Return the friends, strongest first, and where chance lies on the bars (None where it differs from friend to friend)."""
    found = friends(view.survey, view.choice.expert, convention, FRIENDS)
    longest = max((friend.value for friend in found), default=1.0) if convention == "lift" else 1.0
    bars = [_bar(view, friend, friend.value / longest, number(friend.value, convention)) for friend in found]
    return bars, (1 / longest if convention == "lift" and found else None)


def number(value: float, convention: Friendship) -> str:
    """Return a value of a convention with its unit."""
    return f"{100 * value:.1f} %" if convention == "directed" else f"{value:.2f}{'×' if convention == 'lift' else ''}"


def _bar(view: SurveyView, friend: Friend, length: float, value: str) -> Bar:
    layer, expert, tokens = view.choice.layer, view.choice.expert, view.survey.tokens
    expected = view.tokens * friend.tokens / max(1, tokens)
    hint = (
        f"Experts {layer}.{expert} and {layer}.{friend.expert}: {friend.together:,} tokens have both, independent choices would "
        f"give {expected:,.0f}\n{friend.tokens:,} of {tokens:,} tokens have {layer}.{friend.expert}. Click to go there."
    )
    return Bar(f"{layer}.{friend.expert}", value, length, hint=hint, key=(layer, friend.expert), expert=friend.expert)


def friends_caption(view: SurveyView, convention: Friendship) -> str:
    """Return the convention and the sample."""
    if view.survey.layer.top_k < 2:
        return "Each token has one expert here (top-1), so experts have no friends."
    if not view.tokens:
        return "No token went here in the rows read. Pick another expert, or look at more passes."
    return (
        f"{FORMULAS[convention]}. From {view.survey.sample}, padding left out; {view.tokens:,} tokens have this expert."
    )


def alike_bars(view: SurveyView, likeness: Likeness) -> list[Bar]:
    """Return the experts most like this one."""
    if likeness == "vocabulary":
        found = view.alike
    else:
        found = friends(view.survey, view.choice.expert, "jaccard", FRIENDS)
    return [_bar(view, friend, friend.value, f"{friend.value:.2f}") for friend in found]


def alike_caption(view: SurveyView, likeness: Likeness) -> str:
    """Return the convention and the sample."""
    if not view.tokens:
        return "No token went here in the rows read. Pick another expert, or look at more passes."
    return f"{LIKENESS_FORMULAS[likeness]}. Of this layer, from {view.survey.sample}."


def label_bars(view: SurveyView) -> tuple[list[Bar], float | None]:
    """Return the expert's share of each label's slots, and where 1/E lies on the bars."""
    found, expert = view.survey, view.choice.expert
    rows = []
    for place, name in enumerate(found.labels):
        count, slots = int(found.label_counts[place, expert]), int(found.label_counts[place].sum())
        if slots:
            rows.append((name, count, slots, int(found.label_tokens[place]), share_interval(count, slots)))
    longest = max((high for *_, (_, high) in rows), default=1.0)
    bars = [
        Bar(
            name,
            f"{100 * count / slots:.1f} %",
            count / slots / longest,
            (low / longest, high / longest),
            f"{name}: {count:,} of {slots:,} slots, 95 % interval {100 * low:.1f}–{100 * high:.1f} % (Wilson)\n"
            f"{100 * count / max(1, tokens):.1f} % of its {tokens:,} tokens; even would be "
            f"{100 * found.layer.top_k / found.layer.experts:.1f} %",
            expert=expert,
        )
        for name, count, slots, tokens, (low, high) in sorted(rows, key=lambda row: -row[1] / row[2])
    ]
    return bars, (1 / found.layer.experts / longest if bars else None)


def labels_caption(view: SurveyView) -> str:
    """Return the convention and the sample, or how labels come about."""
    if not view.survey.labels:
        return (
            'This capture has no labels. Name passes while recording, rec.label("python"), or in the console, '
            'moe.label("python"); then the share by label shows here.'
        )
    return (
        "Share of each label's slots, with its 95 % Wilson interval; dashed: 1/E. From "
        f"{view.survey.sample}, padding left out. Labels may overlap; a label without a row in view is left out."
    )
