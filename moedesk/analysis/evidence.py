"""What the checks of an audit look at: sums over all the rows of a layer, gathered in one pass over the capture."""

from dataclasses import dataclass
from math import log, nan

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import ROWS, Chunks, Part, Ticket
from moedesk.core.columns import PassFlag, RouteFlag
from moedesk.core.model import LayerInfo
from moedesk.core.store import Store

NEAR_TIE = 1e-4
"""A margin below this can flip with another engine's rounding (metrics, reference counts)."""


@dataclass
class LayerEvidence:
    """What was counted of one layer. Rows are token rows that the layer saw, padding left out.

    Attributes
    ----------
    layer : LayerInfo
    counts : (E,) int64
        Slots per expert, exact for the whole capture.
    rows : int
        Rows with kept routing.
    dropped_slots, dropped_tokens : int
        Slots without an expert, and rows with one.
    nonfinite : int
        Rows with a NaN or infinite weight or logit.
    entropy_sum : float
        Sum of entropies in nats, over ``entropy_rows`` rows.
    margin_sum : float
        Sum of margins, over ``margin_rows`` rows; ``near_ties`` of them below ``NEAR_TIE``.
    """

    layer: LayerInfo
    counts: npt.NDArray[np.int64]
    rows: int = 0
    dropped_slots: int = 0
    dropped_tokens: int = 0
    nonfinite: int = 0
    entropy_sum: float = 0.0
    entropy_rows: int = 0
    margin_sum: float = 0.0
    margin_rows: int = 0
    near_ties: int = 0

    @property
    def slots(self) -> int:
        """Slots that went to an expert."""
        return int(self.counts.sum())

    @property
    def token_entropy(self) -> float:
        """Mean entropy of the router's softmax over all experts ÷ ln E (d12); NaN if unknown."""
        if not self.entropy_rows or self.layer.experts < 2:
            return nan
        return self.entropy_sum / self.entropy_rows / log(self.layer.experts)

    @property
    def mean_margin(self) -> float:
        """Mean margin, in the score that the router ranks by; NaN if unknown."""
        return self.margin_sum / self.margin_rows if self.margin_rows else nan

    def add(self, store: Store, padding: npt.NDArray[np.bool_], i: int, j: int) -> None:
        """Add token rows i…j."""
        flags = store.flags(self.layer, i, j)
        seen = ~padding & ((flags & RouteFlag.ABSENT) == 0)
        self.rows += int(np.count_nonzero(seen))
        self.nonfinite += int(np.count_nonzero(seen & ((flags & RouteFlag.NONFINITE) != 0)))
        dropped = seen & ((flags & RouteFlag.DROPPED) != 0)
        if dropped.any():
            self.dropped_tokens += int(np.count_nonzero(dropped))
            self.dropped_slots += int(np.count_nonzero(store.experts(self.layer, i, j)[dropped] < 0))
        entropy = _finite(store.entropy(self.layer, i, j), seen)
        self.entropy_sum += float(entropy.sum(dtype=np.float64))
        self.entropy_rows += len(entropy)
        margin = _finite(store.margin(self.layer, i, j), seen)
        self.margin_sum += float(margin.sum(dtype=np.float64))
        self.margin_rows += len(margin)
        self.near_ties += int(np.count_nonzero(margin < NEAR_TIE))


@dataclass(frozen=True)
class Evidence:
    """Everything the checks look at.

    Attributes
    ----------
    layers : tuple of LayerEvidence
    complete : bool
    notes : tuple of str
    passes, failed, counts_only : int
        All passes, those whose forward raised, and those of which only counts were kept.
    """

    layers: tuple[LayerEvidence, ...]
    complete: bool = True
    notes: tuple[str, ...] = ()
    passes: int = 0
    failed: int = 0
    counts_only: int = 0


def gather(store: Store, ticket: Ticket | None = None) -> Evidence:
    """Read a whole capture once, piece by piece."""
    counts = store.window_counts()
    layers = tuple(LayerEvidence(layer, c) for layer, c in zip(store.model.layers, counts, strict=True))
    whole = Part(ticket)
    streams = sorted({layer.stream for layer in store.model.layers})
    for number, stream in enumerate(streams):
        part = whole.part(number / len(streams), 1 / len(streams))
        for i, j in Chunks(0, store.n_tokens(stream), rows=ROWS).walk(part):
            padding = store.read_tokens(i, j, stream)["is_padding"]
            for layer in layers:
                if layer.layer.stream == stream:
                    part.check()
                    layer.add(store, padding, i, j)
    failed = counts_only = 0
    for i, j in Chunks(0, store.n_passes, rows=ROWS).walk():
        flags = store.read_passes(i, j)["flags"]
        failed += int(np.count_nonzero(flags & PassFlag.FAILED))
        counts_only += int(np.count_nonzero(flags & PassFlag.COUNTS_ONLY))
    return Evidence(layers, store.complete, store.notes, store.n_passes, failed, counts_only)


def _finite(values: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    return values[seen & np.isfinite(values)]
