"""What one expert does over the passes in view."""

from dataclasses import dataclass
from math import isnan

from moedesk.analysis.experts import ExpertShare, TopToken, TopTokens, expert_share, top_tokens
from moedesk.analysis.specialization import INTERVAL_CONVENTION, SHARE_CONVENTION, LabelShare, domain_loads
from moedesk.core.model import LayerInfo
from moedesk.core.store import Store
from moedesk.panels.elements.model_facts import Fact
from moedesk.session.jobs import Ticket

TOKENS = 50
"""Rows of the table of top tokens."""
LABELS = 12
"""Labels that are listed."""
COLUMNS = ("Token", "Here", "Of its uses", "Weight")
COLUMN_HINTS = (
    "Token as the tokenizer writes it; ␣ is a space, ↵ a line break",
    "How often this token went to the expert",
    "Share of this token's occurrences at the layer that went to the expert",
    "Mean of the gate weights that the expert received with it",
)
_SIGNS = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"})


@dataclass(frozen=True)
class ExpertView:
    """An expert's share and its top tokens.

    Attributes
    ----------
    layer : LayerInfo
    expert : int
    share : ExpertShare
    top : TopTokens
    labels : tuple of LabelShare
        What the expert gets of each label's tokens, the largest share first; empty without labels.
    """

    layer: LayerInfo
    expert: int
    share: ExpertShare
    top: TopTokens
    labels: tuple[LabelShare, ...] = ()


def expert_view(store: Store, layer: int, expert: int, first: int, last: int, ticket: Ticket) -> ExpertView:
    """Look at one expert over passes first…last (end excluded)."""
    info = store.model.layer(layer)
    share = expert_share(store, info, expert, first, last)
    ticket.check()
    labels = domain_loads(store, [info], first, last, ticket)[0].by_label(expert) if store.labels else ()
    return ExpertView(info, expert, share, top_tokens(store, info, expert, first, last, TOKENS, ticket), labels)


def share_facts(view: ExpertView) -> list[Fact]:
    """Return the expert's share as labelled lines."""
    share = view.share
    if not share.slots:
        return [Fact("Load", "no slot in these passes")]
    method = "Wilson score interval, slots taken as independent draws; tokens of one text are not, so read it as a lower bound"
    sample = " in the sample below" if view.top.left_out else ""
    uniform = f"c·E/S: 1 is the uniform share, 1/{view.layer.experts} = {100 * share.uniform:.3g} %"
    lines = [
        Fact("Load ÷ uniform", f"{share.utilization:.2f}×", uniform),
        Fact(
            "Share of slots",
            f"{100 * share.share:.2f} % (95 %: {100 * share.low:.2f}–{100 * share.high:.2f} %, Wilson)",
            method,
        ),
        Fact("Slots", f"{share.count:,} of {share.slots:,}", "Exact; padding and dropped slots are left out"),
        Fact("Different tokens", f"{view.top.different:,}{sample}", "Token ids seen by the expert"),
    ]
    if not isnan(view.top.mean_weight):
        lines.append(
            Fact("Mean weight", f"{view.top.mean_weight:.3f}", "Of the gate weights as the expert received them")
        )
    return lines


def label_facts(view: ExpertView) -> list[Fact]:
    """Return what the expert gets of each label's tokens, a line each, the largest share first."""
    lines = [
        Fact(one.name, _label_text(one), f"{SHARE_CONVENTION}\n{INTERVAL_CONVENTION}") for one in view.labels[:LABELS]
    ]
    rest = view.labels[LABELS:]
    if rest:
        highest = max(one.times_even for one in rest)
        lines.append(
            Fact(f"{len(rest)} more labels", f"at most {highest:.2f}× even each", "Those with the smallest shares")
        )
    return lines


def _label_text(one: LabelShare) -> str:
    low, high = (100 * end for end in one.interval)
    of = f"{100 * one.share:.1f} % of {one.tokens:,} tokens"
    return f"{one.times_even:.2f}× even · {of} (95 %: {low:.1f}–{high:.1f} %)"


def note(view: ExpertView) -> str:
    """Return what the table of top tokens leaves out."""
    top = view.top
    parts = [f"{len(top.tokens)} of {top.different:,} tokens shown"] if top.different > len(top.tokens) else []
    parts += [top.note] if top.note else []
    unknown = view.share.count - top.seen
    if unknown > 0 and not top.left_out:
        parts.append(f"{unknown:,} slots without a token (counts only, or unknown ids) left out")
    return ". ".join(parts)


def why_empty(view: ExpertView) -> str:
    """Return why there is no table, and what to do."""
    if not view.share.slots:
        return "No tokens were routed in these passes. Brush more passes in Network, or move the replay cursor on."
    if not view.share.count:
        return f"No token went to expert {view.expert} in these passes. Pick another expert, or look at more passes."
    return "The tokens of these passes were not kept (counts only). Record without counts_only to see them here."


def visible(text: str) -> str:
    """Return a token's text with white space made visible."""
    return text.translate(_SIGNS) or "⟨empty⟩"


def cells(token: TopToken) -> tuple[str, ...]:
    """Return one row of the table, in the order of ``COLUMNS``."""
    weight = "–" if isnan(token.mean_weight) else f"{token.mean_weight:.3f}"
    return visible(token.text), f"{token.count:,}", f"{100 * token.share:.1f} %", weight


def table_text(view: ExpertView) -> str:
    """Return the table as tab-separated lines, for the clipboard."""
    rows = ["\t".join(("token_id", "text", "count", "share", "mean_weight"))]
    for token in view.top.tokens:
        text = token.text.encode("unicode_escape").decode()
        rows.append(f"{token.token_id}\t{text}\t{token.count}\t{token.share:.6g}\t{token.mean_weight:.6g}")
    return "\n".join(rows) + "\n"
