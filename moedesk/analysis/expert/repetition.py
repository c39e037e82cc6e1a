"""Whether an expert's next token has it again."""

from collections.abc import Mapping

import numpy as np

from moedesk.analysis.measures.measure import Sums, sums
from moedesk.analysis.measures.neighbours import Line, Neighbours
from moedesk.core.model import LayerInfo


class ExpertRepetition(Neighbours):
    """For each expert: how many tokens have it of which the next is known, how many next tokens have it, and how many both."""

    def pair(self, before: Line, after: Line, layer: LayerInfo) -> Sums:
        """Return (E,) tokens with each expert before, after, and both, of n pairs of neighbours."""
        experts = layer.experts
        both = np.zeros(experts, np.int64)
        for slot in range(before.experts.shape[1]):
            mine = before.experts[:, slot]
            again = (after.experts == mine[:, None]).any(1) & (mine >= 0)
            both += np.bincount(mine[again], minlength=experts)
        had = np.bincount(before.experts[before.experts >= 0], minlength=experts)
        has = np.bincount(after.experts[after.experts >= 0], minlength=experts)
        return sums(pairs=len(before), had=had, has=has, both=both)

    def finish(self, total: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return nothing: its sums are read expert by expert."""
        return {}
