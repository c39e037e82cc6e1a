"""Whether an expert's next token has it again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moedesk.analysis.experts import share_interval
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


@dataclass(frozen=True)
class Again:
    """How often an expert's next token has it again.

    Attributes
    ----------
    had, both : int
        Tokens of the expert whose next token of the sequence is known, and those of them whose next one has it too.
    low, high : float
        95 % interval of ``share`` (Wilson score).
    chance : float
        Share of all next tokens that have the expert: what independent choices at its own load give. NaN without pairs.
    """

    had: int
    both: int
    low: float
    high: float
    chance: float

    @property
    def share(self) -> float:
        """Both / had; NaN if it had none."""
        return self.both / self.had if self.had else float("nan")


def again(total: Sums, expert: int) -> Again:
    """Return one expert's repetition from the sums of ``ExpertRepetition``."""
    had, both, pairs = int(total["had"][expert]), int(total["both"][expert]), int(total["pairs"])
    low, high = share_interval(both, had)
    return Again(had, both, low, high, int(total["has"][expert]) / pairs if pairs else float("nan"))
