"""Whether a token id goes to the same expert wherever it stands: vocabulary specialisation, d16."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from moedesk.analysis.measures.measure import Meaning, Sums
from moedesk.analysis.measures.neighbours import Line, Neighbours
from moedesk.analysis.measures.rows import Rows
from moedesk.core.model import LayerInfo

FEWEST = 10
"""Occurrences of a token id for the form that leaves out rare ones: a single occurrence always scores 100 %."""


class Pairs:
    """How often each (token id, expert) was seen, and each token id.

    Attributes
    ----------
    keys, counts : (n,) int64
        ``token_id · E + expert``, ascending, and how often.
    ids, seen : (m,) int64
        Token ids, ascending, and how often.
    """

    __slots__ = ("counts", "ids", "keys", "seen")

    def __init__(
        self,
        keys: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int64],
        seen: npt.NDArray[np.int64],
    ) -> None:
        self.keys, self.counts, self.ids, self.seen = keys, counts, ids, seen

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(
            *_merge(self.keys, self.counts, other.keys, other.counts),
            *_merge(self.ids, self.seen, other.ids, other.seen),
        )

    @classmethod
    def of(cls, ids: npt.NDArray[np.int64], experts: npt.NDArray[np.int64], number: int) -> "Pairs":
        """Count (n,) token ids with their (n, k) experts; unknown ids and dropped slots are left out."""
        known = ids >= 0
        ids, experts = ids[known].astype(np.int64), experts[known]
        keys = (ids[:, None] * number + experts)[experts >= 0]
        different, counts = np.unique(keys, return_counts=True)
        types, seen = np.unique(ids, return_counts=True)
        return cls(different, counts, types, seen)

    def shares(self, experts: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Return for each token id max_e n(x,e)/n(x), and n(x)."""
        most = np.zeros(len(self.ids), np.int64)
        np.maximum.at(most, np.searchsorted(self.ids, self.keys // experts), self.counts)
        return most / np.maximum(1, self.seen), self.seen


class Vocabulary:
    """Of the id that stands in the row."""

    meanings = (
        Meaning(
            "vocabulary_specialization",
            "Vocabulary specialisation",
            "Σ_x max_e n(x,e) / Σ_x n(x)",
            "input ids, weighted by how often they occur; n(x,e) over all k slots; chance k/E",
            "OLMoE, arXiv 2409.02060",
        ),
        Meaning(
            f"vocabulary_specialization_min{FEWEST}",
            f"Vocabulary specialisation (ids seen {FEWEST} times)",
            "mean_x max_e n(x,e)/n(x)",
            f"input ids with n(x) ≥ {FEWEST}, each id once; chance k/E",
            "OLMoE, arXiv 2409.02060",
        ),
    )

    def partial(self, rows: Rows) -> Sums:
        """Return the pairs of some rows."""
        return {"pairs": Pairs.of(rows.tokens["token_id"], rows.experts.astype(np.int64), rows.layer.experts)}

    def combine(self, before: Sums, after: Sums) -> Sums:
        """Return the pairs of both."""
        return {"pairs": before["pairs"] + after["pairs"]}

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return both forms; NaN without known ids."""
        return dict(zip((meaning.key for meaning in self.meanings), _both(partial["pairs"], layer), strict=True))


class NextVocabulary(Neighbours):
    """Of the id that truly comes next in the sequence."""

    meanings = (
        Meaning(
            "next_vocabulary_specialization",
            "Vocabulary specialisation (next id)",
            "Σ_x max_e n(x,e) / Σ_x n(x)",
            "true next ids, weighted by how often they occur; n(x,e) over all k slots; chance k/E",
            "OLMoE, arXiv 2409.02060",
        ),
        Meaning(
            f"next_vocabulary_specialization_min{FEWEST}",
            f"Vocabulary specialisation (next ids seen {FEWEST} times)",
            "mean_x max_e n(x,e)/n(x)",
            f"true next ids with n(x) ≥ {FEWEST}, each id once; chance k/E",
            "OLMoE, arXiv 2409.02060",
        ),
    )

    def pair(self, before: Line, after: Line, layer: LayerInfo) -> Sums:
        """Return the pairs of the next id and this token's experts."""
        return {"pairs": Pairs.of(after.token_id, before.experts, layer.experts)}

    def finish(self, total: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return both forms; NaN without known ids."""
        return dict(zip((meaning.key for meaning in self.meanings), _both(total["pairs"], layer), strict=True))


def _both(pairs: Pairs, layer: LayerInfo) -> tuple[float, float]:
    shares, seen = pairs.shares(layer.experts)
    often = seen >= FEWEST
    weighted = float((shares * seen).sum() / seen.sum()) if len(seen) else float("nan")
    return weighted, float(shares[often].mean()) if often.any() else float("nan")


def _merge(
    keys: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    more: npt.NDArray[np.int64],
    counts_more: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Both sets of keys with their counts added."""
    merged, places = np.unique(np.concatenate((keys, more)), return_inverse=True)
    total = np.bincount(places, np.concatenate((counts, counts_more)), minlength=len(merged))
    return merged, total.astype(np.int64)
