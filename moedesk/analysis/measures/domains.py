"""How differently labelled texts use the experts: d15."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from moedesk.analysis.measures.measure import Meaning, Sums, add, sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.label import Label, labelled, names_of
from moedesk.core.model import LayerInfo


class Domains:
    """Load of each label's tokens against that of the others.

    Parameters
    ----------
    labels : sequence of Label
        Without any, every number is unknown.
    """

    meanings = (
        Meaning(
            "domain_distance_max",
            "Largest distance of labels",
            "max over pairs of √JS(p_a, p_b)",
            "Jensen-Shannon distance of slot shares, base 2: 0 the same, 1 nothing in common; needs two labels",
            "standard",
        ),
        Meaning(
            "domain_distance_mean",
            "Mean distance of labels",
            "mean over pairs of √JS(p_a, p_b)",
            "Jensen-Shannon distance of slot shares, base 2; needs two labels",
            "standard",
        ),
        Meaning(
            "domain_tv_max",
            "Largest total variation of labels",
            "max over pairs of ½ Σ_e abs(p_a − p_b)",
            "of slot shares, 0 to 1; needs two labels",
            "standard",
        ),
        Meaning(
            "domain_specialization_max",
            "Strongest specialisation",
            "max over e, d of (c_{e,d}/T_d) / (k/E)",
            "share of a label's tokens that one expert gets, over an even share",
            "OLMoE, arXiv 2409.02060",
        ),
    )

    def __init__(self, labels: Sequence[Label] = ()) -> None:
        self._labels = labels
        self._names = names_of(labels)

    def partial(self, rows: Rows) -> Sums:
        """Return (D, E) slots and (D,) tokens of each label."""
        counts = np.zeros((len(self._names), rows.layer.experts), np.int64)
        tokens = np.zeros(len(self._names), np.int64)
        for place, name in enumerate(self._names):
            mask = labelled(self._labels, name, rows.layer.stream, rows.i, rows.all_tokens["pass"])[rows.kept]
            ids = rows.experts[mask]
            counts[place] = np.bincount(ids[ids >= 0].astype(np.int64), minlength=rows.layer.experts)
            tokens[place] = np.count_nonzero(mask)
        return sums(counts=counts, tokens=tokens)

    combine = staticmethod(add)

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the numbers; NaN without labels, or with one only where two are compared."""
        seen = partial["counts"].sum(1) > 0
        counts, tokens = partial["counts"][seen], partial["tokens"][seen]
        nan = float("nan")
        if not len(counts):
            return dict.fromkeys((meaning.key for meaning in self.meanings), nan)
        shares = counts / counts.sum(1, keepdims=True)
        pairs = list(combinations(shares, 2))
        distances = [js_distance(a, b) for a, b in pairs]
        strongest = (counts / tokens[:, None]).max() * layer.experts / layer.top_k
        return {
            "domain_distance_max": max(distances, default=nan),
            "domain_distance_mean": float(np.mean(distances)) if distances else nan,
            "domain_tv_max": max((float(np.abs(a - b).sum() / 2) for a, b in pairs), default=nan),
            "domain_specialization_max": float(strongest),
        }


def js_distance(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Return the Jensen-Shannon distance of two (E,) distributions, base 2: √(½ KL(a‖m) + ½ KL(b‖m)), m their mean."""
    middle = (a + b) / 2
    parts = [(p[p > 0] * np.log2(p[p > 0] / middle[p > 0])).sum() for p in (a, b)]
    return float(np.sqrt(max(0.0, (parts[0] + parts[1]) / 2)))


def risk_difference(
    with_target: npt.NDArray[np.integer], target_tokens: int, with_other: npt.NDArray[np.integer], other_tokens: int
) -> npt.NDArray[np.float64]:
    """Return (E,) how much more often each expert works on one kind of token than on the other: a1/(a1+d1) − a2/(a2+d2).

    SteerMoE, arXiv 2509.09660; counts are tokens that chose the expert, of so many.
    """
    return with_target / max(1, target_tokens) - with_other / max(1, other_tokens)
