"""Which experts work on the same tokens: co-activation, d14."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt

from moedesk.analysis.measures.measure import Meaning, Sums, add, sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.model import LayerInfo

FEWEST = 20
"""Tokens that both experts of a pair must have for a figure about the strongest pair."""


class Coactivation:
    """Pairs of experts of one token: all pairs of its k slots, not only neighbours in rank."""

    meanings = (
        Meaning(
            "coactivation_max",
            "Strongest co-activation",
            "max_{i≠j} N(i,j) / N(i)",
            f"directed; experts with at least {FEWEST} tokens",
            "OLMoE, arXiv 2409.02060",
        ),
        Meaning(
            "coactivation_lift_max",
            "Strongest lift",
            "max_{i≠j} N(i,j)·T / (N(i) N(j))",
            f"1 is chance; pairs expected on at least {FEWEST} tokens",
            "OLMoE, arXiv 2409.02060",
        ),
        Meaning(
            "coactivation_jaccard_max",
            "Strongest overlap",
            "max_{i≠j} N(i,j) / (N(i) + N(j) − N(i,j))",
            f"Jaccard index of token sets; experts with at least {FEWEST} tokens",
            "OLMoE, arXiv 2409.02060",
        ),
    )

    def partial(self, rows: Rows) -> Sums:
        """Return (E,) tokens of each expert, (E, E) of each pair, and tokens in all."""
        ids, experts = rows.experts.astype(np.int64), rows.layer.experts
        together = np.zeros(experts * experts, np.int64)
        for a, b in combinations(range(ids.shape[1]), 2):
            both = (ids[:, a] >= 0) & (ids[:, b] >= 0)
            together += np.bincount(ids[both, a] * experts + ids[both, b], minlength=experts * experts)
        square = together.reshape(experts, experts)
        return sums(tokens=len(ids), alone=np.bincount(ids[ids >= 0], minlength=experts), together=square + square.T)

    combine = staticmethod(add)

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the strongest pairs; NaN if no expert has tokens enough, or a token has one expert only."""
        if layer.top_k < 2 or layer.experts < 2:
            return dict.fromkeys((meaning.key for meaning in self.meanings), float("nan"))
        alone, together = partial["alone"], partial["together"]
        enough = alone >= FEWEST
        others = ~np.eye(layer.experts, dtype=bool)
        expected = np.outer(alone, alone) / max(1, int(partial["tokens"]))
        return {
            "coactivation_max": _largest(directed(partial), enough[:, None] & others),
            "coactivation_lift_max": _largest(lift(partial), (expected >= FEWEST) & others),
            "coactivation_jaccard_max": _largest(
                together / np.maximum(1, alone[:, None] + alone - together), enough[:, None] & enough & others
            ),
        }


def directed(partial: Sums) -> npt.NDArray[np.float64]:
    """Return (E, E) N(i,j)/N(i): of the tokens of expert i, the share that expert j has as well; NaN for one without tokens."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: npt.NDArray[np.float64] = partial["together"] / partial["alone"][:, None].astype(np.float64)
    np.fill_diagonal(shares, np.nan)
    return shares


def lift(partial: Sums) -> npt.NDArray[np.float64]:
    """Return (E, E) N(i,j)·T/(N(i) N(j)): how many times more often together than by chance."""
    alone = partial["alone"].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: npt.NDArray[np.float64] = partial["together"] * float(partial["tokens"]) / np.outer(alone, alone)
    np.fill_diagonal(ratios, np.nan)
    return ratios


def _largest(values: npt.NDArray[np.float64], where: npt.NDArray[np.bool_]) -> float:
    return float(values[where].max()) if where.any() else float("nan")
