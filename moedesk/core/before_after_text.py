"""A ``BeforeAfter`` in words: the line above its view, and the lines that the console prints."""

from typing import TYPE_CHECKING

import numpy as np

from moedesk.core.signed import signed
from moedesk.core.visible import visible_text

if TYPE_CHECKING:
    from moedesk.core.before_after import BeforeAfter

MOST_TOKENS = 5
"""Named, of those whose log-probability changed most."""


def summary(result: "BeforeAfter") -> str:
    """Return the loss before and after, and where the texts part."""
    scored = int(np.count_nonzero(~np.isnan(result.before)))
    one, other = result.loss_before, result.loss_after
    parts = []
    if scored:
        parts.append(
            f"Loss {one:.4f} → {other:.4f} ({signed(other - one, 4)}) nats a token, over {scored:,} tokens of the text before"
        )
    parted = result.first_difference
    wrote = max(len(result.ids) - result.prompt, len(result.written_ids))
    if parted is not None:
        parts.append(f"the new texts part at token {parted + 1} of {wrote}")
    elif wrote:
        parts.append(f"both wrote the same {wrote} tokens")
    return " · ".join(parts) or "Nothing was scored: the text has a single token"


def lines(result: "BeforeAfter") -> str:
    """Return what the console prints: the overrides, both texts, the loss, and what changed most."""
    prompt = "".join(result.texts[: result.prompt])
    found = [
        "; ".join(result.overrides) or "no override is on",
        f"prompt  {visible_text(prompt)}",
        f"before  {visible_text(''.join(result.texts[result.prompt :]))}",
        f"after   {visible_text(''.join(result.written))}",
        summary(result),
        *filter(None, (_tokens(result), _layers(result))),
        *result.notes,
    ]
    return "\n".join(found)


def _tokens(result: "BeforeAfter") -> str:
    change = np.nan_to_num(result.after - result.before)
    most = [place for place in np.argsort(-np.abs(change), kind="stable")[:MOST_TOKENS].tolist() if change[place]]
    named = [f"{visible_text(result.texts[place])} (#{place}) {signed(change[place], 3)}" for place in most]
    return f"log-probability, changed most: {', '.join(named)}" if named else ""


def _layers(result: "BeforeAfter") -> str:
    moved = []
    for place, (one, other) in enumerate(zip(result.counts_before, result.counts_after, strict=True)):
        if one.sum() and other.sum():
            moved.append(f"L{place} {np.abs(one / one.sum() - other / other.sum()).sum() / 2:.1%}")
    return f"slots that went to other experts: {', '.join(moved)}" if moved else ""
