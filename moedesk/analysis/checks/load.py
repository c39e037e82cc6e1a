"""How the load is spread: dead and hot experts, collapse."""

from collections.abc import Iterator, Mapping
from math import log

import numpy as np

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import Evidence, LayerEvidence
from moedesk.analysis.checks.shares import (
    COLLAPSE_TOKENS,
    DEAD_SHARE,
    collapsed_onto,
    is_sampled,
    tokens_of,
    zero_bound,
)
from moedesk.analysis.experts import share_interval
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.load import METRICS, slot_share
from moedesk.analysis.measures.measure import Sums

HOT_RATIO = 2.0
"""An expert is hot if its share is surely above this many times the uniform share."""
LOW_ENTROPY = 0.5
"""Load is concentrated below this normalised entropy of slot shares."""


class LoadCheck(Check):
    """Base of checks that look at one layer's exact counts."""

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return what was found in each layer."""
        for layer in evidence.layers:
            yield from self.of_layer(layer)

    def of_layer(self, layer: LayerEvidence) -> Iterator[Finding]:
        """Return what was found in one layer."""
        raise NotImplementedError


class DeadExperts(LoadCheck):
    """Experts that got nothing although enough was seen."""

    dead = About(
        "dead-expert",
        "load",
        "experts that got no slot although enough were seen",
        "warning",
        f"no slot, and the share surely (95 %) below {DEAD_SHARE:.0%} of 1/E",
        "metrics d11; bound: Clopper and Pearson 1934",
    )
    abouts = (dead,)

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        if any(is_sampled(layer.slots, layer.layer.experts) for layer in evidence.layers):
            return ""
        return "no layer has enough slots to tell a dead expert from a rare one; record more"

    def of_layer(self, layer: LayerEvidence) -> Iterator[Finding]:
        """Return a finding for each dead expert."""
        experts = layer.layer.experts
        if not is_sampled(layer.slots, experts):
            return
        limit = DEAD_SHARE / experts
        for expert in np.flatnonzero(layer.counts == 0).tolist():
            yield self.dead.found(
                f"Expert {layer.layer.place}.{expert} got no token",
                {
                    "slots_of_expert": 0,
                    "slots_of_layer": layer.slots,
                    "share_upper_bound_95": zero_bound(layer.slots),
                    "uniform_share": 1 / experts,
                },
                "Check whether it lives on other texts. If not: raise the load-balancing loss or bias, or prune the expert.",
                layer=layer.layer,
                expert=expert,
                confidence=1 - (1 - limit) ** layer.slots,
                reveal=Reveal("elements"),
            )


class Collapse(LoadCheck):
    """Layers that send almost everything to one expert, or whose load is concentrated on few."""

    collapse = About(
        "collapse",
        "load",
        "layers that send nearly all tokens to one expert",
        "error",
        f"share of tokens surely above {COLLAPSE_TOKENS:.0%}, by the 95 % Wilson interval; where 2k ≤ E",
    )
    concentrated = About(
        "concentrated-load",
        "load",
        "layers that use few of their experts",
        "warning",
        f"normalised load entropy below {LOW_ENTROPY}, if enough slots were seen",
    )
    abouts = (collapse, concentrated)

    def of_layer(self, layer: LayerEvidence) -> Iterator[Finding]:
        """Return at most one finding."""
        expert = collapsed_onto(layer)
        normalised = METRICS["entropy_normalized"].of(layer.counts)
        numbers = {
            "normalised_load_entropy": normalised,
            "maxvio": METRICS["maxvio"].of(layer.counts),
            "slots_of_layer": layer.slots,
        }
        if expert is not None:
            tokens = int(layer.counts[expert]) / tokens_of(layer)
            yield self.collapse.found(
                f"Layer {layer.layer.place} sends {tokens:.1%} of its tokens to expert {expert}",
                {"share_of_tokens": tokens, **numbers},
                "The router ignores its input: check sign and size of the load-balancing loss, and the router's learning rate.",
                layer=layer.layer,
                expert=expert,
                confidence=0.975,
            )
        elif is_sampled(layer.slots, layer.layer.experts) and normalised < LOW_ENTROPY:
            yield self.concentrated.found(
                f"Layer {layer.layer.place} uses few of its experts",
                {**numbers, "effective_experts": float(np.exp(normalised * log(layer.layer.experts)))},
                "Look whether these texts are of one kind; if the load stays like this over all, raise the load-balancing loss.",
                layer=layer.layer,
                confidence=0.95,
            )


class HotExperts(LoadCheck):
    """Experts that get far more than an even share; a collapsed layer's one is reported as that."""

    hot = About(
        "hot-expert",
        "load",
        "experts that get far more than an even share",
        "warning",
        f"share surely above {HOT_RATIO:g}/E, by the 95 % Wilson interval",
        "metrics d11",
    )
    abouts = (hot,)

    def of_layer(self, layer: LayerEvidence) -> Iterator[Finding]:
        """Return a finding for each hot expert."""
        share = slot_share(layer.counts)
        collapsed = collapsed_onto(layer)
        for expert in np.flatnonzero(share > HOT_RATIO / layer.layer.experts).tolist():
            low, high = share_interval(int(layer.counts[expert]), layer.slots)
            if expert == collapsed or low <= HOT_RATIO / layer.layer.experts:
                continue
            ratio = float(share[expert] * layer.layer.experts)
            yield self.hot.found(
                f"Expert {layer.layer.place}.{expert} gets {ratio:.1f} times an even share",
                {"share_of_slots": float(share[expert]), "interval_95": [low, high], "load_over_uniform": ratio},
                "See its top tokens in Elements: texts of one kind explain it. Else balance the load, or replicate it.",
                layer=layer.layer,
                expert=expert,
                confidence=0.975,
                reveal=Reveal("elements"),
            )
