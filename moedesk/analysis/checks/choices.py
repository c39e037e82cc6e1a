"""Choices that can't be the router's: the same for all tokens, or with weights that its logits do not give."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.config import tolerance
from moedesk.analysis.checks.evidence import STUCK_RUN, Evidence
from moedesk.analysis.checks.shares import collapsed_onto
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.measures.measure import Sums, sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.columns import RouteFlag

RUN = 128
"""Tokens in a row with the same experts, after which it is said, …"""
RUN_IDS = 32
"""… if they have so many different token ids."""
UNLIKE = 0.01
"""Share of tokens whose weights are not those of their logits from which on it is said."""
ESTABLISHED = 0.5
"""Share of a layer's tokens that must follow the rule; or all but ``UNLIKE`` of another layer's."""
FEWEST = 20
SMALLEST = 1e-3
"""Weights below this are too rounded to compare."""

Floats = npt.NDArray[np.float64]


class OneChoice(Check):
    """Layers that choose the same experts for different tokens in a row, though their router's scores differ."""

    one = About(
        "one-choice",
        "router",
        "layers that repeat one choice whatever the token",
        "error",
        f"the same set of experts for {RUN} tokens in a row, of at least {RUN_IDS} different ids",
        "moedesk; the healthy sample has a run of 35, in texts of one language",
    )
    abouts = (one,)
    reads_rows = True

    def partial(self, rows: Rows) -> Sums:
        """Return the tokens in such runs, and where the first begins. A run that goes on in the next piece counts in both."""
        ids = np.sort(rows.experts, axis=1)
        same = (ids[1:] == ids[:-1]).all(1) & (ids[1:, -1] >= 0)
        if np.count_nonzero(same) < RUN - 1:
            return sums(tokens=0, starts=np.zeros(0, np.int64))
        edges = np.flatnonzero(np.diff(same.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
        long = [(first, last) for first, last in edges.tolist() if last - first + 1 >= RUN]
        found = [
            (first, last - first + 1)
            for first, last in long
            if len(np.unique(rows.tokens["token_id"][first : last + 1])) >= RUN_IDS
        ]
        places = rows.i + np.flatnonzero(rows.kept)[[first for first, _ in found]]
        return sums(tokens=sum(length for _, length in found), starts=places)

    def combine(self, before: Sums, after: Sums) -> Sums:
        """Return the runs of both."""
        starts = np.concatenate((before["starts"], after["starts"]))[:1]
        return sums(tokens=before["tokens"] + after["tokens"], starts=starts)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer that has no other explanation yet."""
        for layer in evidence.layers:
            partial = partials.get(layer.layer.place)
            explained = layer.stuck_run >= STUCK_RUN or collapsed_onto(layer) is not None
            if partial is None or not partial["tokens"] or explained or layer.layer.selection != "token choice":
                continue
            yield self.one.found(
                f"Layer {layer.layer.place} repeats one choice for {int(partial['tokens']):,} tokens",
                {"tokens_affected": int(partial["tokens"]), "tokens": layer.rows},
                "Look at the first such token: a buffer of ids that is no longer filled, or a bias that outweighs the scores?",
                layer=layer.layer,
                reveal=Reveal(token=int(partial["starts"][0]), stream=layer.layer.stream),
            )


class WeightsOfLogits(Check):
    """Weights whose ratios are not those that their experts' logits give."""

    unlike = About(
        "not-of-its-logits",
        "numbers",
        "weights that are not those of their experts' logits",
        "error",
        f"more than {UNLIKE:.0%} of tokens whose weights' ratios are not those of exp(z), or of sigmoid(z), though others' are; "
        "where not softmax or logits alone rank; needs recorded logits",
        "the router's rule; a selection bias and a renormalisation leave ratios as they are",
    )
    abouts = (unlike,)
    reads_rows = True

    def partial(self, rows: Rows) -> Sums:
        """Return how many tokens could be judged, and how many are unlike their logits."""
        layer, logits = rows.layer, rows.logits
        told = layer.score in (
            "softmax",
            "logits",
        )  # there the chosen must be the largest, which Contradictions looks at
        if logits is None or told or layer.top_k < 2 or layer.selection != "token choice":
            return sums(rows=0, unlike=0)
        plain = (rows.flags & (RouteFlag.OVERRIDDEN | RouteFlag.NONFINITE)) == 0
        known = plain & (rows.experts >= 0).all(1) & (rows.weights > SMALLEST).all(1) & np.isfinite(logits).all(1)
        z = np.take_along_axis(logits[known].astype(np.float64), rows.experts[known].astype(np.int64), 1)
        score = -np.logaddexp(0, -z) if layer.score.startswith("sigmoid") else z
        gap = np.log(rows.weights[known].astype(np.float64)) - score
        allowed = tolerance(rows.store.model) * (4 + 2 * np.abs(z).max(1, initial=0))
        return sums(rows=len(gap), unlike=np.count_nonzero(np.ptp(gap, axis=1) > allowed))

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer, if that the rule is this one can be seen elsewhere."""
        shares = {
            place: float(partial["unlike"] / partial["rows"])
            for place, partial in partials.items()
            if partial["rows"] >= FEWEST
        }
        followed = {layer.layer.score for layer in evidence.layers if shares.get(layer.layer.place, 1) <= UNLIKE}
        for layer in evidence.layers:
            share = shares.get(layer.layer.place, 0)
            if share <= UNLIKE or (share > ESTABLISHED and layer.layer.score not in followed):
                continue
            partial = partials[layer.layer.place]
            yield self.unlike.found(
                f"Weights of layer {layer.layer.place} are not those of its logits",
                {"tokens_affected": int(partial["unlike"]), "tokens": int(partial["rows"])},
                "Ids and weights come from another layer, model or pass than the logits.",
                layer=layer.layer,
            )
