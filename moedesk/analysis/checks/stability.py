"""What changes during the run: load that drifts, layers on their way to collapse, routers that grow surer."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import log

import numpy as np
import numpy.typing as npt

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import Evidence, LayerEvidence
from moedesk.analysis.checks.shares import is_sampled
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.load import METRICS
from moedesk.analysis.measures.measure import Sums

QUARTERS = 4
DRIFT = 0.25
"""Total variation of a quarter's load from that of the rest that is drift, if it is also …"""
BEYOND = 0.25
"""… so much more than the median of the other layers, for other texts change the load of all of them; or …"""
TIMES = 2.5
"""… so many times it."""
FEWEST_LAYERS = 2
"""With fewer, texts and routers can't be told apart."""
SIXTHS = 6
FALL = 0.15
"""How far normalised load entropy falls from the first sixth to the last of a layer on its way to collapse."""
SLACK = 0.02
"""How far it may rise from one sixth to the next."""
SURER = 0.2
"""How far mean token entropy ÷ ln E falls from the first third to the last of a router that grows surer."""


class LoadDrift(Check):
    """Load of a quarter of the run against that of the rest."""

    drift = About(
        "load-drift",
        "stability",
        "layers whose load, unlike that of the others, is another in one quarter of the run",
        "warning",
        f"total variation of slot shares against the rest at least {DRIFT}, and {BEYOND} more than, or {TIMES} times, the median "
        f"of the other layers; where the median itself is twice {DRIFT}, or with one layer, an info",
    )
    abouts = (drift,)

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        return _lacks_parts(evidence, QUARTERS, "quarter")

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer."""
        drifts = [found for layer in evidence.layers if (found := _largest(evidence, layer)) is not None]
        if not drifts:
            return
        all_distances = np.array([distance for _, distance, _, _ in drifts])
        for number, (layer, distance, quarter, (first, last)) in enumerate(drifts):
            others = np.delete(all_distances, number)
            usual = float(np.median(others)) if len(others) else distance
            lone = len(drifts) >= FEWEST_LAYERS and (distance >= usual + BEYOND or distance >= TIMES * usual)
            common = usual >= 2 * DRIFT or len(drifts) < FEWEST_LAYERS
            if distance < DRIFT or not (lone or common):
                continue
            yield self.drift.found(
                f"The load of layer {layer.layer.place} is another in quarter {quarter + 1} of the run",
                {
                    "total_variation_from_the_rest": distance,
                    "median_of_other_layers": usual,
                    "first_pass": first,
                    "last_pass": last - 1,
                },
                "Where all layers drift, look whether the texts changed (label them); where one does, its router changed.",
                layer=layer.layer,
                confidence=0.95 if lone else 0.5,
                severity="warning" if lone else "info",
                reveal=Reveal(first_pass=first, last_pass=last),
            )


class CollapseTrend(Check):
    """Layers whose load gets less even all the time."""

    trend = About(
        "collapse-trend",
        "stability",
        "layers whose load entropy keeps falling",
        "warning",
        f"normalised load entropy falls by {FALL} from the first sixth of the run to the last, and from each to the next "
        f"(but for {SLACK})",
    )
    abouts = (trend,)

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        return _lacks_parts(evidence, SIXTHS, "sixth")

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer."""
        for layer in evidence.layers:
            parts = parts_of(evidence, layer, SIXTHS)
            if parts is None:
                continue
            entropies = [METRICS["entropy_normalized"].of(counts) for counts in parts[0]]
            if not entropies[0] - entropies[-1] >= FALL or max(np.diff(entropies)) > SLACK:
                continue
            yield self.trend.found(
                f"Layer {layer.layer.place} is on its way to collapse: its load gets less even all the time",
                {"normalised_load_entropy_by_sixth": entropies},
                "Raise the load-balancing loss or bias now; look at Balance over time in Network.",
                layer=layer.layer,
                confidence=0.95,
            )


class EntropyFalling(Check):
    """Routers that grow surer all the time."""

    falling = About(
        "entropy-falling",
        "stability",
        "routers whose token entropy keeps falling",
        "warning",
        f"mean token entropy ÷ ln E falls by {SURER} from the first third of the rows to the last, the middle one between them",
    )
    abouts = (falling,)

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        known = any(layer.part_rows.reshape(3, -1).sum(1).min() >= 100 for layer in evidence.layers)
        return "" if known else "a third of the run has fewer than 100 tokens with a known entropy"

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer."""
        for layer in evidence.layers:
            rows = layer.part_rows.reshape(3, -1).sum(1)
            if rows.min() < 100 or layer.layer.experts < 2:
                continue
            thirds = (layer.part_entropy.reshape(3, -1).sum(1) / rows / log(layer.layer.experts)).tolist()
            if thirds[0] - thirds[2] < SURER or not thirds[0] >= thirds[1] >= thirds[2]:
                continue
            yield self.falling.found(
                f"The router of layer {layer.layer.place} grows surer all the time",
                {"token_entropy_over_ln_experts_by_third": thirds, "tokens": int(rows.sum())},
                "Look whether the texts changed. In training: raise the z-loss or lower the router's learning rate.",
                layer=layer.layer,
                confidence=0.95,
            )


def parts_of(
    evidence: Evidence, layer: LayerEvidence, number: int
) -> tuple[npt.NDArray[np.int64], list[tuple[int, int]]] | None:
    """Return (number, E) exact slots of parts of the run with about as many slots each, and their passes.

    None if a part has too few slots to judge its experts.
    """
    blocks = evidence.blocks
    if blocks is None:
        return None
    counts = blocks.counts[:, blocks.offsets[layer.layer.place] : blocks.offsets[layer.layer.place + 1]].astype(
        np.int64
    )
    before = np.concatenate(([0], np.cumsum(counts.sum(1))))
    cuts = np.searchsorted(before, np.arange(number + 1) * before[-1] / number)
    if np.any(np.diff(cuts) < 1):
        return None
    parts = np.add.reduceat(counts, cuts[:-1], axis=0)
    if not all(is_sampled(int(slots), layer.layer.experts) for slots in parts.sum(1)):
        return None
    edges = blocks.edges[cuts].tolist()
    return parts, list(pairwise(edges))


def _lacks_parts(evidence: Evidence, parts: int, part: str) -> str:
    """Why no layer can be judged by its change from one part of the run to the next; empty if one can."""
    known = any(parts_of(evidence, layer, parts) is not None for layer in evidence.layers)
    return "" if known else f"no layer has enough slots in each {part} of the run"


def _largest(evidence: Evidence, layer: LayerEvidence) -> tuple[LayerEvidence, float, int, tuple[int, int]] | None:
    """The quarter whose load differs most from that of the rest: layer, total variation, quarter, passes."""
    found = parts_of(evidence, layer, QUARTERS)
    if found is None:
        return None
    parts, passes = found
    rest = parts.sum(0) - parts
    distances = np.abs(parts / parts.sum(1, keepdims=True) - rest / rest.sum(1, keepdims=True)).sum(1) / 2
    quarter = int(distances.argmax())
    return layer, float(distances[quarter]), quarter, passes[quarter]
