"""Whether weights, ids, entropy, margin and logits of a token fit together and fit the model's configuration."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.config import renormalises, scaling, tolerance
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.finding import Finding
from moedesk.analysis.measures.measure import Sums, ratio, sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.columns import RouteFlag
from moedesk.core.model import LayerInfo

IMPOSSIBLE = 0.01
"""Share of tokens whose numbers contradict one another from which on it is said."""
EVEN = 0.5
"""Mean token entropy ÷ ln E above which weights that are probabilities can't all sum to one."""
FEWEST = 20

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]


class WeightSum(Check):
    """Weights that don't sum to what the configuration says."""

    wrong = About(
        "weight-sum",
        "numbers",
        "weights that don't sum as the model's configuration says",
        "error",
        "norm_topk_prob (or unsaid, and half of the layers do): more than "
        f"{IMPOSSIBLE:.0%} of tokens whose weights sum neither to 1 nor to routed_scaling_factor; "
        f"without it, of a softmax: more than {IMPOSSIBLE:.0%} above 1, or all at 1 though mean token entropy > {EVEN} ln E",
        "the model's configuration; tolerance 0.002 or the dtype's precision",
    )
    abouts = (wrong,)
    reads_rows = True

    def lacks(self, evidence: Evidence) -> str:
        """Return why nothing can be judged."""
        said = evidence.model is not None and renormalises(evidence.model) is not None
        return "" if said else "the model's configuration does not say what the weights sum to"

    def partial(self, rows: Rows) -> Sums:
        """Return how many tokens' weights sum to what."""
        model = rows.store.model
        weights, kept = _whole(rows)
        total = weights.sum(1)[kept]
        near = tolerance(model)
        fits = {1.0, scaling(model)}
        fine = np.any([np.abs(total - value) <= near * value for value in fits], axis=0)
        return sums(
            rows=len(total), fine=np.count_nonzero(fine), above=np.count_nonzero(total > max(fits) * (1 + near)),
            total=total.sum(),
        )  # fmt: skip

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding for each such layer; none if neither the configuration nor half of the layers say what they sum to."""
        norm = None if evidence.model is None else renormalises(evidence.model)
        if norm is None:
            judged = [p for p in partials.values() if p["rows"] >= FEWEST]
            whole = sum(p["fine"] >= (1 - IMPOSSIBLE) * p["rows"] for p in judged)
            norm = True if whole and 2 * whole >= len(judged) else None
        for layer in evidence.layers:
            partial = partials.get(layer.layer.place)
            if norm is None or partial is None or partial["rows"] < FEWEST or layer.layer.selection != "token choice":
                continue
            rows, fine = int(partial["rows"]), int(partial["fine"])
            if norm:
                wrong, why = rows - fine, "they should sum to 1"
            elif layer.layer.score == "softmax" and layer.layer.top_k < layer.layer.experts:
                certain = fine == rows and layer.token_entropy > EVEN
                wrong, why = (rows, "they are renormalised") if certain else (int(partial["above"]), "they exceed 1")
            else:
                continue
            if wrong <= IMPOSSIBLE * rows:
                continue
            yield self.wrong.found(
                f"The weights of layer {layer.layer.place} don't sum as the model says: {why}",
                {
                    "norm_topk_prob": norm,
                    "tokens_affected": wrong,
                    "tokens": rows,
                    "mean_sum_of_weights": ratio(partial["total"], rows),
                },
                "Compare the order of softmax and top-k, and the renormalisation, with what the model was trained with.",
                layer=layer.layer,
            )


class Contradictions(Check):
    """Tokens whose weights contradict their entropy and margin, or whose experts are not those of the largest logits."""

    contradiction = About(
        "inconsistent-routing",
        "numbers",
        "weights that contradict the router's entropy and margin",
        "error",
        f"more than {IMPOSSIBLE:.0%} of tokens for which no distribution over E experts has these largest probabilities, this "
        "margin and this entropy; of a softmax without renormalisation",
        "arithmetic: with p the next probability, p ≤ 1 − Σw ≤ (E − k) p, and the rest's entropy at most that of equal parts",
    )
    not_largest = About(
        "not-the-largest",
        "router",
        "experts that are not those of the largest logits",
        "error",
        f"more than {IMPOSSIBLE:.0%} of tokens, where softmax or logits rank without bias or groups; needs recorded logits",
        "the router's rule",
    )
    abouts = (contradiction, not_largest)
    reads_rows = True

    def partial(self, rows: Rows) -> Sums:
        """Return how many tokens could be judged, and how many can't be."""
        weights, kept = _whole(rows)
        kept = kept & ((rows.flags & RouteFlag.OVERRIDDEN) == 0)
        layer, model = rows.layer, rows.store.model
        result = sums(rows=0, impossible=0, ranked=0, unranked=0)
        if layer.selection != "token choice" or layer.top_k >= layer.experts:
            return result
        if layer.score == "softmax" and renormalises(model) is False and scaling(model) == 1:
            known = kept & np.isfinite(rows.margin) & np.isfinite(rows.entropy)
            bad = impossible(
                weights[known],
                rows.margin[known].astype(np.float64),
                rows.entropy[known].astype(np.float64),
                layer,
                tolerance(model),
            )
            result |= sums(rows=len(bad), impossible=np.count_nonzero(bad))
        if layer.score in ("softmax", "logits") and (logits := rows.logits) is not None:
            known = kept & np.isfinite(logits).all(1)
            bad = unranked(logits[known].astype(np.float64), rows.experts[known], tolerance(model))
            result |= sums(ranked=len(bad), unranked=np.count_nonzero(bad))
        return result

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return a finding of each kind for each such layer."""
        for layer in evidence.layers:
            partial = partials.get(layer.layer.place)
            if partial is None:
                continue
            if partial["rows"] >= FEWEST and partial["impossible"] > IMPOSSIBLE * partial["rows"]:
                yield self.contradiction.found(
                    f"Weights of layer {layer.layer.place} contradict what its router gave",
                    {"tokens_affected": int(partial["impossible"]), "tokens": int(partial["rows"])},
                    "Weights, ids and scores come from different layers or runs, or the order of softmax and top-k is another.",
                    layer=layer.layer,
                )
            if partial["ranked"] >= FEWEST and partial["unranked"] > IMPOSSIBLE * partial["ranked"]:
                yield self.not_largest.found(
                    f"Layer {layer.layer.place} does not take the experts of its largest logits",
                    {"tokens_affected": int(partial["unranked"]), "tokens": int(partial["ranked"])},
                    "Look for noise in the router, an override, or ids and logits of different layers.",
                    layer=layer.layer,
                )


def impossible(weights: Floats, margin: Floats, entropy: Floats, layer: LayerInfo, near: float) -> Masks:
    """Return for which tokens no softmax over E experts has these k largest probabilities, this margin and this entropy.

    Parameters
    ----------
    weights : (n, k) float64
    margin, entropy : (n,) float64
        Entropy in nats.
    near : float
        Relative error that numbers may have.
    """
    others = layer.experts - layer.top_k
    smallest = weights.min(1, initial=np.inf)
    following = np.maximum(smallest - margin, 0)
    rest = np.maximum(1 - weights.sum(1), 0)
    slack = near * (1 + others * smallest)
    bad = (rest < following - slack) | (rest > others * following + slack) | (weights < -near).any(1)
    inner = -(weights * np.log(np.where(weights > 0, weights, 1))).sum(1)
    spread = rest + near
    most = inner + spread * np.log(others / np.minimum(spread, others / np.e))
    return bad | (entropy > most + 5 * near) | (entropy < inner - 5 * near)


def unranked(logits: Floats, experts: npt.NDArray[np.signedinteger], near: float) -> Masks:
    """Return which of (n, E) logits have one above those of the (n, k) chosen experts, beyond rounding."""
    chosen = np.zeros(logits.shape, bool)
    np.put_along_axis(chosen, experts.astype(np.int64), True, axis=1)
    lowest = np.where(chosen, logits, np.inf).min(1)
    highest = np.where(chosen, -np.inf, logits).max(1)
    return highest > lowest + near * np.maximum(1, np.abs(lowest))


def _whole(rows: Rows) -> tuple[Floats, Masks]:
    """Weights, and which rows have all slots and finite weights."""
    weights = rows.weights.astype(np.float64)
    whole = np.asarray(np.isfinite(weights).all(1) & (rows.experts >= 0).all(1), bool)
    return weights, whole
