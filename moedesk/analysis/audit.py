"""Checks of a capture's routing: what is wrong, how sure that is, and what to do about it."""

from collections.abc import Callable, Iterator
from math import ceil, log

import numpy as np

from moedesk.analysis.chunks import Ticket
from moedesk.analysis.evidence import NEAR_TIE, Evidence, LayerEvidence, gather
from moedesk.analysis.experts import share_interval
from moedesk.analysis.finding import SEVERITIES, AuditReport, Finding
from moedesk.analysis.load import METRICS, slot_share
from moedesk.core.store import Store

DEAD_SHARE = 0.1
"""An expert is dead if its true share is surely below this part of the uniform share 1/E."""
HOT_RATIO = 2.0
"""An expert is hot if its share is surely above this many times the uniform share."""
COLLAPSE_TOKENS = 0.9
"""A layer has collapsed if one expert surely gets this share of its tokens."""
LOW_ENTROPY = 0.5
"""Load is concentrated below this normalised entropy of slot shares."""
UNDECIDED_ENTROPY = 0.98
"""A router is undecided if its mean token entropy ÷ ln E is at least this …"""
UNDECIDED_MARGIN = 0.2
"""… and, where it ranks by softmax, its mean margin × E is below this, …"""
UNDECIDED_TOKENS = 30
"""… over at least so many tokens."""
DROPPED_SHARE = 0.01
"""Dropping more than this share of the slots is a warning."""

OURS = "moedesk"


def audit(store: Store, ticket: Ticket | None = None) -> AuditReport:
    """Check a capture; it is read once, piece by piece."""
    return judge(gather(store, ticket))


def judge(evidence: Evidence) -> AuditReport:
    """Run every check on what was gathered."""
    findings = [finding for check in CAPTURE_CHECKS for finding in check(evidence)]
    findings += [finding for layer in evidence.layers for check in LAYER_CHECKS for finding in check(layer)]
    findings.sort(key=lambda finding: -SEVERITIES.index(finding.severity))  # stable: then in order of layers
    return AuditReport(len(evidence.layers), tuple(findings))


def zero_bound(slots: int) -> float:
    """Return the 95 % upper bound on the share of an expert that got none of ``slots`` (d11; Clopper-Pearson)."""
    return 1 - 0.05 ** (1 / slots) if slots else 1.0


def slots_needed(experts: int) -> int:
    """Return how many slots without a hit make ``zero_bound`` fall to ``DEAD_SHARE`` of the uniform share."""
    return ceil(log(0.05) / log(1 - DEAD_SHARE / experts))


def check_incomplete(evidence: Evidence) -> Iterator[Finding]:
    """Find captures that weren't closed, and passes that failed."""
    if not evidence.complete:
        yield Finding(
            "incomplete",
            "The recording was cut short",
            "warning",
            {"passes": evidence.passes, "notes": list(evidence.notes)},
            "What was saved is sound; record again if you need the rest.",
            "counted",
        )
    if evidence.failed:
        yield Finding(
            "failed-passes",
            f"{evidence.failed:,} of {evidence.passes:,} passes raised an error",
            "warning",
            {"failed_passes": evidence.failed, "passes": evidence.passes},
            "Filter Network by is:failed to see them; their later layers are missing.",
            "counted",
        )


def check_little_data(evidence: Evidence) -> Iterator[Finding]:
    """Find layers of which too little was seen to tell a dead expert from an unlucky one."""
    short = [layer for layer in evidence.layers if not _is_sampled(layer)]
    if not short:
        return
    unseen = {
        layer.layer.path: np.flatnonzero(layer.counts == 0).tolist() for layer in short if (layer.counts == 0).any()
    }
    needed = max(slots_needed(layer.layer.experts) for layer in short)
    yield Finding(
        "too-little-data",
        f"{len(short)} of {len(evidence.layers)} layers are not sampled enough to judge their experts",
        "info",
        {
            "layers": len(short),
            "slots_min": min(layer.slots for layer in short),
            "slots_needed": needed,
            "unseen_experts": unseen,
        },
        f"Record at least {needed:,} slots a layer (tokens × top-k); experts not seen so far may only be rare.",
        f"95 % Clopper-Pearson bound above {DEAD_SHARE:.0%} of 1/E",
    )


def check_dead(layer: LayerEvidence) -> Iterator[Finding]:
    """Find experts that got nothing although enough was seen."""
    if not _is_sampled(layer):
        return
    bound, limit = zero_bound(layer.slots), DEAD_SHARE / layer.layer.experts
    for expert in np.flatnonzero(layer.counts == 0).tolist():
        yield Finding(
            "dead-expert",
            f"Expert {layer.layer.place}.{expert} got no token",
            "warning",
            {
                "slots_of_expert": 0,
                "slots_of_layer": layer.slots,
                "share_upper_bound_95": bound,
                "uniform_share": 1 / layer.layer.experts,
            },
            "Check whether it lives on other texts. If not: raise the load-balancing loss or bias, or prune the expert.",
            f"share surely below {DEAD_SHARE:.0%} of 1/E ({OURS}; bound: Clopper-Pearson)",
            layer.layer.path,
            expert,
            1 - (1 - limit) ** layer.slots,
        )


def check_collapse(layer: LayerEvidence) -> Iterator[Finding]:
    """Find layers that send almost everything to one expert, or whose load is concentrated on few."""
    expert = _collapsed_onto(layer)
    normalised = METRICS["entropy_normalized"].of(layer.counts)
    numbers = {
        "normalised_load_entropy": normalised,
        "maxvio": METRICS["maxvio"].of(layer.counts),
        "slots_of_layer": layer.slots,
    }
    if expert is not None:
        tokens = int(layer.counts[expert]) / _tokens(layer)
        yield Finding(
            "collapse",
            f"Layer {layer.layer.place} sends {tokens:.1%} of its tokens to expert {expert}",
            "error",
            {"share_of_tokens": tokens, **numbers},
            "The router ignores its input: check the sign and size of the load-balancing loss, and the router's learning rate.",
            f"share of tokens surely above {COLLAPSE_TOKENS:.0%} ({OURS}; 95 % Wilson interval)",
            layer.layer.path,
            expert,
            0.975,
        )
    elif _is_sampled(layer) and normalised < LOW_ENTROPY:
        yield Finding(
            "concentrated-load",
            f"Layer {layer.layer.place} uses few of its experts",
            "warning",
            {**numbers, "effective_experts": float(np.exp(normalised * log(layer.layer.experts)))},
            "Look whether these texts are of one kind; if the load stays like this over all, raise the load-balancing loss.",
            f"normalised load entropy below {LOW_ENTROPY} ({OURS})",
            layer.layer.path,
            confidence=0.95,
        )


def check_hot(layer: LayerEvidence) -> Iterator[Finding]:
    """Find experts that get far more than an even share; a collapsed layer's one is reported as that."""
    share = slot_share(layer.counts)
    collapsed = _collapsed_onto(layer)
    for expert in np.flatnonzero(share > HOT_RATIO / layer.layer.experts).tolist():
        low, high = share_interval(int(layer.counts[expert]), layer.slots)
        if expert == collapsed or low <= HOT_RATIO / layer.layer.experts:
            continue
        ratio = float(share[expert] * layer.layer.experts)
        yield Finding(
            "hot-expert",
            f"Expert {layer.layer.place}.{expert} gets {ratio:.1f} times an even share",
            "warning",
            {"share_of_slots": float(share[expert]), "interval_95": [low, high], "load_over_uniform": ratio},
            "See its top tokens in Elements: texts of one kind explain it. Else balance the load, or replicate it.",
            f"share surely above {HOT_RATIO:g}/E (metrics d11; 95 % Wilson interval)",
            layer.layer.path,
            expert,
            0.975,
        )


def check_undecided(layer: LayerEvidence) -> Iterator[Finding]:
    """Find routers whose probabilities are nearly even, so that chance and rounding pick the experts."""
    entropy, margin = layer.token_entropy, layer.mean_margin
    is_even = layer.entropy_rows >= UNDECIDED_TOKENS and entropy >= UNDECIDED_ENTROPY
    has_margins = layer.layer.score == "softmax" and margin * layer.layer.experts >= UNDECIDED_MARGIN
    if not is_even or has_margins:
        return
    yield Finding(
        "undecided-router",
        f"The router of layer {layer.layer.place} hardly tells its experts apart",
        "warning",
        {
            "mean_token_entropy_over_ln_experts": entropy,
            "mean_margin": margin,
            "margin_score": layer.layer.score,
            f"share_of_margins_below_{NEAR_TIE:g}": layer.near_ties / layer.margin_rows if layer.margin_rows else None,
            "tokens": layer.entropy_rows,
        },
        "Check the router's scale and learning rate; expect other engines and precisions to pick other experts here.",
        f"mean token entropy at least {UNDECIDED_ENTROPY} of ln E ({OURS})",
        layer.layer.path,
        confidence=0.95,
    )


def check_dropped(layer: LayerEvidence) -> Iterator[Finding]:
    """Find slots that lost their expert to the capacity limit."""
    if not layer.dropped_slots:
        return
    share = layer.dropped_slots / (layer.rows * layer.layer.top_k)
    yield Finding(
        "dropped-tokens",
        f"Layer {layer.layer.place} dropped {share:.2%} of its slots",
        "warning" if share > DROPPED_SHARE else "info",
        {
            "dropped_slots": layer.dropped_slots,
            "dropped_tokens": layer.dropped_tokens,
            "tokens": layer.rows,
            "share_of_slots": share,
        },
        "Raise the capacity factor or balance the load; filter Network by is:dropped to see the tokens.",
        f"more than {DROPPED_SHARE:.0%} of slots is a warning ({OURS})",
        layer.layer.path,
    )


def check_nonfinite(layer: LayerEvidence) -> Iterator[Finding]:
    """Find NaN and infinite weights and logits."""
    if layer.nonfinite:
        yield Finding(
            "non-finite",
            f"Layer {layer.layer.place} has NaN or infinite router values for {layer.nonfinite:,} tokens",
            "error",
            {"tokens_affected": layer.nonfinite, "tokens": layer.rows},
            "Filter Network by is:nonfinite and look at the first such pass; run the router in float32 or clip its input.",
            "any",
            layer.layer.path,
        )


CAPTURE_CHECKS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (check_incomplete, check_little_data)
LAYER_CHECKS: tuple[Callable[[LayerEvidence], Iterator[Finding]], ...] = (
    check_nonfinite,
    check_collapse,
    check_dead,
    check_hot,
    check_undecided,
    check_dropped,
)


def _is_sampled(layer: LayerEvidence) -> bool:
    return zero_bound(layer.slots) <= DEAD_SHARE / layer.layer.experts


def _tokens(layer: LayerEvidence) -> int:
    """Return the tokens routed; counts alone are kept of some passes, so it follows from the slots, dropped ones included."""
    return max(1, round((layer.slots + layer.dropped_slots) / layer.layer.top_k))


def _collapsed_onto(layer: LayerEvidence) -> int | None:
    """Return the expert that surely gets nearly all tokens, if that is far above its even share k/E."""
    if not layer.slots or 2 * layer.layer.top_k > layer.layer.experts:
        return None
    expert, tokens = int(layer.counts.argmax()), _tokens(layer)
    low, _ = share_interval(min(int(layer.counts[expert]), tokens), tokens)
    return expert if low > COLLAPSE_TOKENS else None
