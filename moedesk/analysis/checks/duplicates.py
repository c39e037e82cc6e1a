"""Things that are there twice: experts always chosen together, experts of equal norms, layers that route as another does."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.experts import share_interval
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.measures.measure import Sums, sums
from moedesk.analysis.measures.pairs import Coactivation
from moedesk.analysis.measures.rows import Rows

TOGETHER = 0.9
"""Jaccard index of two experts' tokens that is surely exceeded by such as are always chosen together."""
EVERYWHERE = 0.5
"""Experts that get more than this share of the tokens are together anyway."""
SAME_ROWS = 0.9
"""Share of tokens with the very same experts from which on two layers are one."""
COMPARED = 4096
"""Tokens of a layer that are compared with those of others, …"""
OF_A_PIECE = 512
"""… so many of each piece read."""
FEWEST_ROWS = 50
FEWEST_SETS = 8
"""Different sets of experts that both layers must use."""
STEPS = 3
"""Training steps in which norms must be equal."""


class TogetherExperts(Check):
    """Pairs of experts that are always chosen together."""

    together = About(
        "duplicate-experts",
        "router",
        "pairs of experts that are always chosen together",
        "warning",
        f"Jaccard index of their tokens surely above {TOGETHER}, by the 95 % Wilson interval; neither with more than "
        f"{EVERYWHERE:.0%} of the tokens",
        "metrics d14",
    )
    abouts = (together,)
    reads_rows = True
    _pairs = Coactivation()

    def partial(self, rows: Rows) -> Sums:
        """Return how often each pair has been chosen together."""
        return self._pairs.partial(rows)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such pair."""
        for layer in evidence.layers:
            partial = partials.get(layer.layer.place)
            if partial is None or layer.layer.top_k < 2:
                continue
            alone, both = partial["alone"], partial["together"]
            either = alone[:, None] + alone - both
            usual = alone <= EVERYWHERE * partial["tokens"]
            near = (both > TOGETHER * either) & usual[:, None] & usual
            for a, b in np.argwhere(np.triu(near, 1)).tolist():
                low, high = share_interval(int(both[a, b]), int(either[a, b]))
                if low <= TOGETHER:
                    continue
                yield self.together.found(
                    f"Experts {layer.layer.place}.{a} and {layer.layer.place}.{b} are always chosen together",
                    {
                        "experts": [a, b],
                        "tokens_of_both": int(both[a, b]),
                        "tokens_of_either": int(either[a, b]),
                        "jaccard_interval_95": [low, high],
                        "tokens": int(partial["tokens"]),
                    },
                    "Compare the router's rows and the weights of the two: are they copies? Merge or re-initialise one.",
                    layer=layer.layer,
                    expert=a,
                    confidence=0.975,
                    reveal=Reveal(filter=f"expert:{a} expert:{b}"),
                )


class EqualNorms(Check):
    """Experts whose outputs or gradients have the very same norm in every training step."""

    equal = About(
        "equal-norms",
        "training",
        "experts whose output or gradient norms are equal, bit for bit",
        "warning",
        f"in every measured training step, at least {STEPS}, and not zero",
    )
    abouts = (equal,)

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        recorded = evidence.store is not None and evidence.store.n_steps >= STEPS
        return "" if recorded else f"fewer than {STEPS} training steps in this capture"

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such group of experts."""
        store = evidence.store
        if store is None or store.n_steps < STEPS:
            return
        for layer in evidence.layers:
            for what, norms in (
                ("outputs", store.output_norms(layer.layer)),
                ("gradients", store.gradients(layer.layer)),
            ):
                measured = norms[np.isfinite(norms).all(1) & (norms > 0).all(1)]
                if len(measured) < STEPS:
                    continue
                _, places, sizes = np.unique(measured, axis=1, return_inverse=True, return_counts=True)
                for group in np.flatnonzero(sizes > 1).tolist():
                    experts = np.flatnonzero(places.ravel() == group).tolist()
                    yield self.equal.found(
                        f"{len(experts)} experts of layer {layer.layer.place} have {what} of equal norms",
                        {"experts": experts, "steps": len(measured), "norms_of": what},
                        "They are copies that nothing tells apart: re-initialise all but one, or add noise to the copies.",
                        layer=layer.layer,
                        expert=experts[0],
                        reveal=Reveal("elements"),
                    )


class CopiedLayers(Check):
    """Layers that send their tokens to the same expert numbers as another layer does."""

    copied = About(
        "copied-layer",
        "numbers",
        "layers with the very same routing as another layer",
        "error",
        f"at least {SAME_ROWS:.0%} of tokens have the same experts at both, of {FEWEST_SETS} or more different sets",
    )
    abouts = (copied,)
    reads_rows = True

    def partial(self, rows: Rows) -> Sums:
        """Return some rows' numbers and their experts in ascending order."""
        places = np.flatnonzero(rows.kept)
        some = np.unique(np.linspace(0, len(places) - 1, min(len(places), OF_A_PIECE)).astype(np.int64))
        return sums(places=rows.i + places[some], ids=np.sort(rows.experts[some], axis=1))

    def combine(self, before: Sums, after: Sums) -> Sums:
        """Return the rows of both."""
        return {name: np.concatenate((before[name], after[name]))[:COMPARED] for name in before}

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for the later layer of each such pair; where it is the same as several, for the first of them."""
        told = set()
        for one, other in combinations(evidence.layers, 2):
            a, b = partials.get(one.layer.place), partials.get(other.layer.place)
            if a is None or b is None or other.layer.place in told or one.layer.stream != other.layer.stream:
                continue
            if (one.layer.experts, one.layer.top_k) != (other.layer.experts, other.layer.top_k):
                continue
            _, at_a, at_b = np.intersect1d(a["places"], b["places"], assume_unique=True, return_indices=True)
            left, right = a["ids"][at_a], b["ids"][at_b]
            if len(left) < FEWEST_ROWS:
                continue
            share = float((left == right).all(1).mean())
            if share < SAME_ROWS or len(np.unique(right, axis=0)) < FEWEST_SETS:
                continue
            told.add(other.layer.place)
            yield self.copied.found(
                f"Layer {other.layer.place} routes {share:.1%} of its tokens as layer {one.layer.place} does",
                {"share_of_tokens": share, "other_layer": one.layer.path, "tokens_compared": len(left)},
                "One was written over the other: a wrong layer number in an engine or a converter, or shared routers.",
                layer=other.layer,
                confidence=0.99,
            )
