"""How sure a share of slots or tokens is, and when enough was seen to say so."""

from math import ceil, log

from moedesk.analysis.checks.evidence import LayerEvidence
from moedesk.analysis.experts import share_interval

DEAD_SHARE = 0.1
"""An expert is dead if its true share is surely below this part of the uniform share 1/E."""
COLLAPSE_TOKENS = 0.9
"""A layer has collapsed if one expert surely gets this share of its tokens."""


def zero_bound(slots: int) -> float:
    """Return the 95 % upper bound on the share of an expert that got none of ``slots`` (d11; Clopper-Pearson)."""
    return 1 - 0.05 ** (1 / slots) if slots else 1.0


def slots_needed(experts: int) -> int:
    """Return how many slots without a hit make ``zero_bound`` fall to ``DEAD_SHARE`` of the uniform share."""
    return ceil(log(0.05) / log(1 - DEAD_SHARE / experts))


def is_sampled(slots: int, experts: int) -> bool:
    """Whether enough slots were seen to call an expert without one dead."""
    return zero_bound(slots) <= DEAD_SHARE / experts


def tokens_of(layer: LayerEvidence) -> int:
    """Return the tokens routed; counts alone are kept of some passes, so it follows from the slots, dropped ones included."""
    return max(1, round((layer.slots + layer.dropped_slots) / layer.layer.top_k))


def collapsed_onto(layer: LayerEvidence) -> int | None:
    """Return the expert that surely gets nearly all tokens, if that is far above its even share k/E."""
    if not layer.slots or 2 * layer.layer.top_k > layer.layer.experts:
        return None
    expert, tokens = int(layer.counts.argmax()), tokens_of(layer)
    low, _ = share_interval(min(int(layer.counts[expert]), tokens), tokens)
    return expert if low > COLLAPSE_TOKENS else None
