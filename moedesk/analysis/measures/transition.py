"""How much a token's expert says about its expert at the next layer: d19."""

from collections.abc import Mapping
from math import log

import numpy as np
import numpy.typing as npt

from moedesk.analysis.measures.measure import Meaning, Sums, add, sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.model import LayerInfo


class Transition:
    """First choices at this layer against those at the next one of the same stream."""

    meanings = (
        Meaning(
            "transition_information",
            "Information on the next layer",
            "I(e1 at l; e1 at l+1) = Σ p(a,b) log₂ p(a,b)/(p(a)p(b))",
            "bits, plug-in estimate of first choices; see its bias",
            "standard; plug-in bias: Miller 1955",
        ),
        Meaning(
            "transition_information_normalized",
            "Share of the next choice explained",
            "I / H(e1 at l+1)",
            "0 to 1, plug-in estimate",
            "standard; plug-in bias: Miller 1955",
        ),
        Meaning(
            "transition_bias",
            "Bias of that information",
            "(E−1)(E′−1) / (2 T ln 2)",
            "bits; what independent choices would show",
            "standard; plug-in bias: Miller 1955",
        ),
    )

    def partial(self, rows: Rows) -> Sums:
        """Return the (E, E') table of first choices; empty at the last layer."""
        after = rows.next_first_choice
        if after is None or rows.next_layer is None:
            return sums(table=np.zeros((0, 0), np.int64))
        before = rows.first_choice
        both = (before >= 0) & (after >= 0)
        shape = rows.layer.experts, rows.next_layer.experts
        table = np.bincount(before[both] * shape[1] + after[both], minlength=shape[0] * shape[1])
        return sums(table=table.reshape(shape))

    combine = staticmethod(add)

    def values(self, partial: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the information in bits; NaN at the last layer or without tokens."""
        table = partial["table"]
        tokens = int(table.sum())
        if not tokens:
            return dict.fromkeys((meaning.key for meaning in self.meanings), float("nan"))
        ahead = _entropy(table.sum(0))
        information = max(0.0, _entropy(table.sum(1)) + ahead - _entropy(table.ravel()))
        return {
            "transition_information": information,
            "transition_information_normalized": information / ahead if ahead else float("nan"),
            "transition_bias": (table.shape[0] - 1) * (table.shape[1] - 1) / (2 * tokens * log(2)),
        }


def _entropy(counts: npt.NDArray[np.int64]) -> float:
    """Entropy in bits of shares of counts."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
