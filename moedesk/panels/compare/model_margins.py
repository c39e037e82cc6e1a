"""Where flips sit: margins of all tokens, and of those that flip. No Qt."""

from dataclasses import dataclass
from math import isnan

import numpy as np
import numpy.typing as npt

from moedesk.analysis.diff.layer_diff import LayerDiff
from moedesk.analysis.diff.sample import Sample
from moedesk.analysis.diff.verdict import reach

BINS = 48
DECADES = 8
"""Margins this many powers of ten below the largest, and smaller ones, share the first bin."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MarginPlot:
    """Two histograms over the same bins, even in the logarithm.

    Attributes
    ----------
    edges : (B + 1,) float64
        Margins; the first bin takes what is smaller, too.
    tokens, flips : (B,) float64
        How many tokens have such a margin in A, and how many of these flip; estimated where a sample was kept.
    reach : float
        ``verdict.reach``: how far the moves of scores seen where no expert changed can reach. Flips at larger margins are not
        explained by rounding.
    sampled : int
        Every how many-th token was looked at; 1 for all.
    """

    edges: Doubles
    tokens: Doubles
    flips: Doubles
    reach: float
    sampled: int

    def hint(self, place: int) -> str:
        """Return what is said of a bin."""
        low, high = self.edges[place : place + 2]
        tokens, flips = self.tokens[place], self.flips[place]
        about = "about " if self.sampled > 1 else ""
        share = f" ({flips / tokens:.1%})" if tokens else ""
        below = f"up to {high:.2g}" if place == 0 else f"{low:.2g} to {high:.2g}"
        where = f"{'beyond' if low > self.reach else 'within'} the reach of the moves seen without a flip"
        return f"Margin {below}: {about}{tokens:,.0f} tokens, {flips:,.0f} of them flip{share}; {where}"


def margin_plot(layer: LayerDiff, dtype: str) -> MarginPlot | None:
    """Return the histograms of a layer; None where no margin is known.

    Parameters
    ----------
    dtype : str
        A key of ``verdict.PRECISION``: what noise is measured by.
    """
    known = layer.margins.values
    if not len(known) or not known.max() > 0:
        return None
    reached = reach(layer, dtype)
    high = max(float(known.max()), reached * 1.5)
    positive = known[known > 0]
    low = max(min(float(positive.min()), reached / 2 if reached > 0 else high), high * 10.0**-DECADES)
    edges = np.geomspace(low, high, BINS + 1)
    return MarginPlot(
        edges, _counts(layer.margins, edges), _counts(layer.margins_at_flip, edges), reached, layer.margins.step
    )


def _counts(sample: Sample, edges: Doubles) -> Doubles:
    if not len(sample):
        return np.zeros(len(edges) - 1)
    inside = np.clip(sample.values, edges[0], edges[-1])
    return np.histogram(inside, edges)[0] * (sample.total / len(sample))


def margin_text(layer: LayerDiff, spared: str) -> str:
    """Return the two medians in words; ``spared`` says which passes have no margins, as ``RoutingDiff.spared``."""
    at_flip, typical = layer.median_margin_at_flip, layer.margins.median
    if isnan(typical):
        why = spared or "what its router ranks by could not be told"
        return f"The margins of this layer are unknown: {why}."
    said = f"Flips have a median margin of {at_flip:.3g}, all tokens of {typical:.3g}."
    if isnan(at_flip):
        said = f"No token flips here. Median margin {typical:.3g}."
    return f"{said} {spared}." if spared else said
