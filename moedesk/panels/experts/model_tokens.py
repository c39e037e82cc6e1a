"""The tokens an expert sees, alone and in their text."""

from dataclasses import dataclass
from math import isnan

from moedesk.analysis.chunks import Part
from moedesk.analysis.expert.contexts import Choice as Which
from moedesk.analysis.expert.contexts import Context, Contexts, contexts
from moedesk.analysis.experts import TopTokens, top_tokens
from moedesk.core.store import Store
from moedesk.core.visible import visible_text
from moedesk.panels.experts.model_choice import Choice
from moedesk.session.jobs import Ticket
from moedesk.ui.bar import Bar

TOKENS = 12
CONTEXTS = 12
WHICH: dict[Which, str] = {"strongest": "Largest weights", "spread": "Spread evenly"}


@dataclass(frozen=True)
class TokensView:
    """Top tokens and contexts of an expert."""

    choice: Choice
    top: TopTokens
    contexts: Contexts
    which: Which


def tokens_view(store: Store, choice: Choice, which: Which, ticket: Ticket) -> TokensView:
    """Read an expert's tokens."""
    whole, span = Part(ticket), (choice.first, choice.last)
    top = top_tokens(store, choice.layer, choice.expert, *span, TOKENS, whole.part(0, 0.5))
    found = contexts(store, choice.layer, choice.expert, *span, which, CONTEXTS, ticket=whole.part(0.5, 0.5))
    return TokensView(choice, top, found, which)


def token_bars(view: TokensView) -> list[Bar]:
    """Return the most frequent tokens, each bar relative to the first."""
    most = max((token.count for token in view.top.tokens), default=1)
    return [
        Bar(
            visible_text(token.text) or "⟨empty⟩",
            f"{token.count:,}  {100 * token.share:.0f} %",
            token.count / most,
            hint=f"Token {token.token_id}: {token.text!r}\n{token.count:,} times here, {100 * token.share:.1f} % of its uses at "
            f"this layer\nMean weight {'unknown' if isnan(token.mean_weight) else f'{token.mean_weight:.3f}'}",
            expert=view.choice.expert,
        )
        for token in view.top.tokens
    ]


def tokens_caption(view: TokensView) -> str:
    """Return what the table of tokens means and leaves out."""
    top = view.top
    if not top.seen:
        return empty_text(view)
    parts = [
        "How often, and which share of the token's uses at this layer came here; padding and unknown ids left out."
    ]
    if top.different > len(top.tokens):
        parts.append(f"The first {len(top.tokens)} of {top.different:,} different tokens.")
    return " ".join([*parts, *([f"{top.note}."] if top.note else [])])


def contexts_caption(view: TokensView) -> str:
    """Return what the contexts are and leave out."""
    found = view.contexts
    if not found.found:
        return empty_text(view)
    how = "those of the largest weight" if view.which == "strongest" else "spread evenly over the rows"
    text = (
        f"{len(found.contexts)} of {found.found:,} occurrences, {how}; the token that went here in its colour, with the weight "
        "that the expert received. · space, ↵ line break, ■ end of the sequence. A character split over tokens is marked as a "
        "whole."
    )
    if not found.left_out:
        return text
    return f"{text} From an even sample of {found.rows:,} of {found.rows + found.left_out:,} token rows."


def empty_text(view: TokensView) -> str:
    """Return why there is nothing to show, and what to do."""
    if not view.top.rows:
        return "No token rows in these passes (counts only, or none recorded). Record without counts_only to see tokens here."
    return "No token went here in these passes. Pick another expert, or look at more passes."


def context_hint(context: Context) -> str:
    """Return what is said of a context."""
    return (
        f"Row {context.row:,} · pass {context.pass_id:,} · sequence {context.sequence:,} · column {context.column:,}\n"
        f"Weight {context.weight:.4f}\n…{context.before}[{context.token}]{context.after}…"
    )
