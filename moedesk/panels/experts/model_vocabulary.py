"""How much of an expert's vocabulary is its own, and whether it repeats, in numbers."""

from math import isnan

from moedesk.analysis.expert.repetition import again
from moedesk.analysis.measures.vocabulary import FEWEST
from moedesk.core.visible import visible_text
from moedesk.panels.experts.model_survey import SurveyView
from moedesk.ui.bar import Bar


def vocabulary_bars(view: SurveyView) -> list[Bar]:
    """Return the expert's vocabulary in numbers."""
    found = view.vocabulary
    if not found.tokens:
        return []
    chance = f"a choice that ignores the token gives {100 * found.chance:.1f} %"
    return [
        Bar(
            "Specialisation",
            f"{100 * found.specialization:.1f} %  (chance {100 * found.chance:.1f} %)",
            hint=f"Σ n(x,e)·n(x,e)/n(x) ÷ Σ n(x,e): of the uses of its tokens' ids, the share that comes here; {chance}. An id "
            "that occurs once always scores 100 %",
        ),
        Bar(
            f"… ids used ≥ {FEWEST} times",
            "–" if isnan(found.specialization_often) else f"{100 * found.specialization_often:.1f} %",
            hint=f"The same over ids with n(x) ≥ {FEWEST}",
        ),
        Bar(
            "Different ids",
            f"{found.different:,}  (as even as {found.effective:,.0f})",
            hint=f"exp of the entropy of its ids; all tokens of the layer: {found.effective_all:,.0f}",
        ),
        Bar(
            "Ids that mostly come here",
            f"{found.own_ids:,} of {found.often_ids:,}",
            hint=f"Ids with n(x) ≥ {FEWEST} of which no expert has more uses",
        ),
    ]


def repetition_bars(view: SurveyView) -> tuple[list[Bar], float | None]:
    """Return the expert's repetition, and where chance lies on its bar."""
    found = again(view.survey.repetition, view.choice.expert)
    if not found.had:
        return [], None
    layer = view.survey.layer
    longest = max(found.high, found.chance) * 1.1 or 1.0
    hint = (
        f"{found.both:,} of {found.had:,} tokens, 95 % interval {100 * found.low:.1f}–{100 * found.high:.1f} % (Wilson)\n"
        f"Dashed: {100 * found.chance:.1f} % of all next tokens have it; "
        f"even draws give {100 * layer.top_k / layer.experts:.1f} %"
    )
    ends = found.low / longest, found.high / longest
    times = f"  {found.share / found.chance:.2f}× chance" if found.chance else ""
    bar = Bar(
        "Next token too",
        f"{100 * found.share:.1f} %{times}",
        found.share / longest,
        ends,
        hint,
        expert=view.choice.expert,
    )
    return [bar], found.chance / longest


def own_bars(view: SurveyView) -> list[Bar]:
    """Return the tokens that most come to this expert alone."""
    return [
        Bar(
            visible_text(text) or "⟨empty⟩",
            f"{token.count:,} of {token.seen:,}  {100 * token.share:.0f} %",
            token.share,
            hint=f"Token {token.token_id}: {text!r}\n{token.count:,} of its {token.seen:,} uses have this expert; at least "
            f"{100 * token.low:.1f} % (95 % Wilson interval)",
            expert=view.choice.expert,
        )
        for token, text in zip(view.vocabulary.own, view.own_texts, strict=True)
    ]


def vocabulary_caption(view: SurveyView) -> str:
    """Return the convention and the sample."""
    if not view.vocabulary.tokens:
        return "No token of a known id went here in the rows read. Pick another expert, or look at more passes."
    return (
        "n(x,e): uses of token id x with this expert in any slot; n(x): all its uses at this layer. Repetition: the next token "
        f"of the same sequence has the expert too; dashed: independent choices at its own load. "
        f"From {view.survey.sample}, padding left out."
    )


def own_caption(view: SurveyView) -> str:
    """Return how tokens are ranked."""
    if not view.vocabulary.own:
        return f"No token id used at least {FEWEST} times went here in the rows read."
    return (
        f"Share of the token's uses at this layer that have this expert; ids used at least {FEWEST} times, ranked by the lower "
        f"end of the 95 % Wilson interval. From {view.survey.sample}, padding left out."
    )
