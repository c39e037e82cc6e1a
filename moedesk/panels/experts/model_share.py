"""An expert's share of its layer, in numbers and over time."""

from dataclasses import dataclass

import numpy as np

from moedesk.analysis.expert.share import ShareOverTime, share_over_time
from moedesk.analysis.experts import ExpertShare, expert_share
from moedesk.core.store import Store
from moedesk.panels.experts.model_choice import Choice
from moedesk.ui.band import Band
from moedesk.ui.bar import Bar
from moedesk.ui.multiples import Multiples

BLOCKS = 80
MOST = 64
"""Experts of which the share over time is drawn side by side."""
CONVENTION = (
    "Share of the layer's slots, exact counts, padding and dropped slots left out. Band: 95 % Wilson interval, slots taken as "
    "independent draws (tokens of one text are not: read it as the least width). Dashed: 1/E."
)


@dataclass(frozen=True)
class ShareView:
    """An expert's share, over all passes in view and block by block."""

    choice: Choice
    total: ExpertShare
    over_time: ShareOverTime


def share_view(store: Store, choice: Choice) -> ShareView:
    """Count one expert's slots."""
    span = choice.first, choice.last
    return ShareView(
        choice,
        expert_share(store, choice.layer, choice.expert, *span),
        share_over_time(store, choice.layer, choice.expert, *span, BLOCKS),
    )


def share_bars(view: ShareView) -> list[Bar]:
    """Return the share in numbers."""
    total = view.total
    if not total.slots:
        return [Bar("Slots", "none in these passes")]
    interval = f"{100 * total.low:.2f}–{100 * total.high:.2f} %"
    return [
        Bar("Share of slots", f"{100 * total.share:.2f} %  ({interval})", hint=CONVENTION),
        Bar("Load ÷ uniform share", f"{total.utilization:.2f}×", hint="c·E/S: 1 is the uniform share"),
        Bar("Slots", f"{total.count:,} of {total.slots:,}", hint="Exact counts, padding left out"),
    ]


def share_band(view: ShareView) -> Band | None:
    """Return the share over time; None without passes."""
    over = view.over_time
    if not len(over.counts):
        return None
    hints = tuple(_hint(over, block) for block in range(len(over.counts)))
    return Band(over.edges, over.shares, over.low, over.high, over.uniform, hints, view.choice.expert)


def multiples(view: ShareView) -> Multiples | None:
    """Return the share of every expert of the layer over time; of more than ``MOST`` those that change most, and this one."""
    over = view.over_time
    if not len(over.counts):
        return None
    known = over.slots > 0
    shares = np.where(known[:, None], over.all_counts / np.maximum(1, over.slots)[:, None], np.nan)
    span = np.ptp(shares[known], axis=0) if known.any() else np.zeros(shares.shape[1])
    span[view.choice.expert] = np.inf
    shown = np.sort(np.argsort(-span, kind="stable")[:MOST])
    return Multiples(tuple(shown.tolist()), shares[:, shown].T, over.uniform, shares.shape[1] - len(shown))


def multiples_caption(view: ShareView) -> str:
    """Return the convention, and how many experts are left out."""
    drawn = multiples(view)
    if drawn is None:
        return "No passes in view."
    left_out = (
        f" The {len(drawn.experts)} whose share changes most; {drawn.left_out:,} left out." if drawn.left_out else ""
    )
    return (
        f"Share of the layer's slots over the passes in view, exact counts, all from 0 to {100 * drawn.top:.3g} %; dotted: 1/E."
        f"{left_out}"
    )


def share_caption(view: ShareView) -> str:
    """Return what the numbers mean, and how passes are joined."""
    over = view.over_time
    if not len(over.counts):
        return "No passes in view. Record some, brush others in Network, or move the replay cursor on."
    passes, blocks = int(over.edges[-1] - over.edges[0]), len(over.counts)
    joined = f" {passes:,} passes in {blocks} blocks." if passes > blocks else ""
    beyond = over.edges[0] < view.choice.first or over.edges[-1] > view.choice.last
    return CONVENTION + joined + (" The outer blocks reach beyond the passes in view." if beyond else "")


def _hint(over: ShareOverTime, block: int) -> str:
    first, last = int(over.edges[block]), int(over.edges[block + 1]) - 1
    passes = f"Pass {first:,}" if first == last else f"Passes {first:,}–{last:,}"
    if not over.slots[block]:
        return f"{passes}: no slot at this layer"
    return (
        f"{passes}: {100 * over.shares[block]:.2f} % (95 %: {100 * over.low[block]:.2f}–{100 * over.high[block]:.2f} %)\n"
        f"{over.counts[block]:,} of {over.slots[block]:,} slots"
    )
