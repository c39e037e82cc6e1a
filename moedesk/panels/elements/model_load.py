"""The load of a layer's experts over the passes in view: the chart's bars and the numbers beside it."""

from dataclasses import dataclass
from math import isnan

import numpy as np
import numpy.typing as npt

from moedesk.analysis.balance import DEFAULT
from moedesk.analysis.conventions import Conventions, title
from moedesk.analysis.load import METRICS, LayerLoad, utilization
from moedesk.panels.elements.model_facts import Fact

SHOWN = ("cv", "maxvio", "entropy_normalized", "gini")
NAMED = 8
"""Experts without a slot that are named; of more, how many."""


@dataclass(frozen=True)
class Scope:
    """The passes that are counted.

    Attributes
    ----------
    first, last : int
        End excluded.
    passes : int
        Passes of the whole capture.
    brushed : bool
    cursor : int or None
        The pass at which the replay stands.
    """

    first: int
    last: int
    passes: int
    brushed: bool
    cursor: int | None

    @property
    def text(self) -> str:
        """One line that says which passes are counted."""
        if not self.passes:
            return "No passes recorded"
        if self.last <= self.first:
            return f"No passes: the replay cursor (pass {self.cursor}) stands before the brushed ones"
        if not self.brushed and self.cursor is None:
            return f"Whole capture, {self.passes:,} {_passes(self.passes)}"
        count = self.last - self.first
        which = f"pass {self.first:,}" if count == 1 else f"passes {self.first:,}–{self.last - 1:,}"
        why = (["brushed"] if self.brushed else []) + (["up to the replay cursor"] if self.cursor is not None else [])
        return f"{which.capitalize()} ({', '.join(why)}), {count:,} of {self.passes:,} {_passes(self.passes)}"


@dataclass(frozen=True)
class Bars:
    """The bars of the load chart, from left to right.

    Attributes
    ----------
    experts : (E,) int64
        Expert of each bar.
    ratios : (E,) float64
        Load ÷ uniform share; 1 is an even share.
    counts : (E,) int64
        Slots, padding left out.
    """

    experts: npt.NDArray[np.int64]
    ratios: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]

    @property
    def top(self) -> float:
        """Return the upper end of the axis."""
        return max(1.25, float(self.ratios.max()) * 1.05) if len(self.ratios) else 1.25

    def hint(self, bar: int) -> str:
        """Return what is said of a bar."""
        expert, count = int(self.experts[bar]), int(self.counts[bar])
        if not count:
            return f"Expert {expert}: no slot of {self.counts.sum():,}"
        return f"Expert {expert}: {self.ratios[bar]:.2f}× the uniform share, {count:,} of {self.counts.sum():,} slots"


def bars(load: LayerLoad, by_load: bool) -> Bars | None:
    """Return the chart's bars, by expert number or by falling load; None without a slot."""
    if not load.slots:
        return None
    experts = np.argsort(-load.counts, kind="stable") if by_load else np.arange(len(load.counts))
    return Bars(experts.astype(np.int64), utilization(load.counts)[experts], load.counts[experts])


def numbers(load: LayerLoad, conventions: Conventions = DEFAULT) -> list[Fact]:
    """Return the layer's load in numbers, each with its convention."""
    slots, top_k = load.slots, load.layer.top_k
    tokens = f"{slots // top_k:,}" if slots % top_k == 0 else f"≈ {slots / top_k:,.1f}"
    lines = [
        Fact("Slots", f"{slots:,}", "Choices of an expert by a token; padding and dropped slots are left out"),
        Fact("Tokens", tokens, f"Slots ÷ top-{top_k}; padding is left out, a token with a dropped slot counts in part"),
    ]
    for key in map(conventions.of, SHOWN):
        metric, value = METRICS[key], load.value(key)
        text = "–" if isnan(value) else f"{value:.3f}"
        lines.append(Fact(title(key), text, f"{metric.formula}\n{metric.convention} ({metric.source})"))
    return lines


def idle_text(load: LayerLoad) -> str:
    """Return the sentence about the experts that got no slot; empty if there is none."""
    idle = np.flatnonzero(load.counts == 0)
    if not load.slots or not len(idle):
        return ""
    named = ", ".join(map(str, idle[:NAMED])) + (", …" if len(idle) > NAMED else "")
    # With no hit in n slots the true share is below 1 − 0.05^(1/n) with 95 % confidence (Clopper-Pearson).
    bound = 1 - 0.05 ** (1 / load.slots)
    sampled = bound < 0.1 / len(load.counts)
    what = "dead" if sampled else "without a slot"
    text = f"{len(idle)} {'expert' if len(idle) == 1 else 'experts'} {what}: {named}"
    if sampled:
        return f"{text}. No slot of {load.slots:,}: true share below {100 * bound:.2g} % (95 %)"
    return f"{text}. Not sampled enough to call dead: the true share can be up to {100 * bound:.2g} %"


def ratio_text(load: LayerLoad | None, expert: int) -> str:
    """Return an expert's load ÷ uniform share for the tree; empty if unknown."""
    if load is None or not load.slots or not 0 <= expert < len(load.counts):
        return ""
    return f"{load.counts[expert] * len(load.counts) / load.slots:.2f}×" if load.counts[expert] else "no load"


def _passes(count: int) -> str:
    return "pass" if count == 1 else "passes"
