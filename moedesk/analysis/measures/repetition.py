"""Whether neighbouring tokens meet the same experts: temporal locality, d18."""

from collections.abc import Mapping
from math import comb

import numpy as np

from moedesk.analysis.measures.measure import Meaning, Sums, ratio, sums
from moedesk.analysis.measures.neighbours import Line, Neighbours
from moedesk.core.model import LayerInfo


class Repetition(Neighbours):
    """How often a token's experts are those of the token before."""

    meanings = (
        Meaning(
            "repetition_first",
            "First choice repeats",
            "mean_t 1[e1(t) = e1(t+1)]",
            "first choice is the largest weight; within sequences; chance 1/E",
            "Mixtral, arXiv 2401.04088, Table 5",
        ),
        Meaning(
            "repetition_any",
            "Any expert repeats",
            "mean_t 1[A_t ∩ A_{t+1} ≠ ∅]",
            "within sequences; chance 1 − C(E−k,k)/C(E,k)",
            "Mixtral, arXiv 2401.04088, Table 5",
        ),
        Meaning(
            "repetition_overlap",
            "Mean overlap",
            "mean_t #(A_t ∩ A_{t+1})",
            "experts, within sequences; chance k²/E",
            "Mixtral, arXiv 2401.04088, Table 5",
        ),
        Meaning(
            "repetition_first_chance",
            "First choice repeats, by chance",
            "1/E",
            "independent even draws",
            "Mixtral, arXiv 2401.04088, Table 5",
        ),
        Meaning(
            "repetition_any_chance",
            "Any expert repeats, by chance",
            "1 − C(E−k,k)/C(E,k)",
            "independent even draws without replacement",
            "Mixtral, arXiv 2401.04088, Table 5",
        ),
    )

    def pair(self, before: Line, after: Line, layer: LayerInfo) -> Sums:
        """Return how many pairs there are, and in how many what repeats."""
        shared = np.zeros(len(before), np.int64)
        for slot in range(after.experts.shape[1]):
            mine = after.experts[:, slot : slot + 1]
            shared += ((before.experts == mine) & (mine >= 0)).any(1)
        same = (before.first == after.first) & (after.first >= 0)
        return sums(pairs=len(before), same=np.count_nonzero(same), any=np.count_nonzero(shared), overlap=shared.sum())

    def finish(self, total: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the shares, and what they would be by chance."""
        return {
            "repetition_first": ratio(total["same"], total["pairs"]),
            "repetition_any": ratio(total["any"], total["pairs"]),
            "repetition_overlap": ratio(total["overlap"], total["pairs"]),
            "repetition_first_chance": 1 / layer.experts,
            "repetition_any_chance": chance_of_any(layer.experts, layer.top_k),
        }


def chance_of_any(experts: int, top_k: int) -> float:
    """Return 1 − C(E−k, k)/C(E, k): two even draws of k of E have an expert in common."""
    return 1 - comb(experts - top_k, top_k) / comb(experts, top_k) if top_k <= experts else float("nan")
