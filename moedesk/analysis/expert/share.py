"""The share of one expert over time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.analysis.experts import share_intervals
from moedesk.core.store import LayerLike, Store

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ShareOverTime:
    """Exact counts of one expert in consecutive blocks of passes.

    Attributes
    ----------
    edges : (B + 1,) int64
        Block b covers passes ``edges[b]`` to ``edges[b + 1]``, end excluded.
    counts, slots : (B,) int64
        Slots of the expert and of its layer; padding left out.
    low, high : (B,) float64
        95 % interval of the share (Wilson score; slots taken as independent draws).
    uniform : float
        1/E.
    all_counts : (B, E) int64
        Slots of all experts of the layer.
    """

    edges: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    low: Floats
    high: Floats
    uniform: float
    all_counts: npt.NDArray[np.int64]

    @property
    def shares(self) -> Floats:
        """(B,) counts / slots, NaN where a block has no slot."""
        known = self.slots > 0
        return np.where(known, self.counts / np.maximum(1, self.slots), np.nan)


def share_over_time(
    store: Store, layer: LayerLike, expert: int, first: int, last: int, columns: int = 60
) -> ShareOverTime:
    """Return an expert's share in about ``columns`` blocks of passes first…last (end excluded).

    The blocks are those of the stored summary, so the outer ones may reach beyond the range: ``edges`` say how far.
    """
    info = store.model.layer(layer)
    if last <= first:
        nothing, none, every = np.zeros(0, np.int64), np.zeros(0), np.zeros((0, info.experts), np.int64)
        return ShareOverTime(np.array([first], np.int64), nothing, nothing, none, none, 1 / info.experts, every)
    blocks = store.load_blocks(first, last, columns)
    start = int(blocks.offsets[info.place])
    every = blocks.counts[:, start : start + info.experts].astype(np.int64)
    counts, slots = every[:, expert], every.sum(1)
    low, high = share_intervals(counts, slots)
    return ShareOverTime(blocks.edges, counts, slots, low, high, 1 / info.experts, every)
