"""What the checks of an audit look at: sums over all the rows of a layer, gathered in one pass over the capture."""

from dataclasses import dataclass, field
from math import log, nan, sqrt

import numpy as np
import numpy.typing as npt

from moedesk.analysis.diff.verdict import GROWTH, PRECISION
from moedesk.core.acted import Acted
from moedesk.core.columns import RouteFlag
from moedesk.core.label import Label
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.core.store import LoadBlocks, Store

NEAR_TIE = 1e-4
"""A margin below this can flip with another engine's rounding (metrics, reference counts)."""
STUCK_RUN = 32
"""Tokens in a row with the very same scores, after which a router is stuck, …"""
STUCK_IDS = 8
"""… if they have so many different token ids."""
PARTS = 12
"""Parts of a capture's rows whose mean entropy is told apart."""

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]


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
        Sum of margins, over ``margin_rows`` rows; ``near_ties`` of them below ``NEAR_TIE``, ``flippable`` below ``noise``.
    noise : float
        How far rounding moves scores, in the unit of margins; 0 if the model's dtype is unknown.
    stuck_run, stuck_rows, stuck_at : int
        The most rows in a row with equal entropy and margin, rows in such runs of ``STUCK_RUN`` or more, the first one's place.
    part_entropy, part_rows : (PARTS,) float64
        Sum of entropies, and its rows, of each part of the stream's rows.
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
    noise: float = 0.0
    flippable: int = 0
    stuck_run: int = 0
    stuck_rows: int = 0
    stuck_at: int = -1
    part_entropy: Floats = field(default_factory=lambda: np.zeros(PARTS))
    part_rows: Floats = field(default_factory=lambda: np.zeros(PARTS))

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

    def add(self, store: Store, padding: Masks, ids: npt.NDArray[np.integer], i: int, j: int) -> None:
        """Add token rows i…j, of which these are padding, with these token ids."""
        flags = store.flags(self.layer, i, j)
        seen = ~padding
        if flags.any():
            seen &= (flags & RouteFlag.ABSENT) == 0
            self.nonfinite += int(np.count_nonzero(seen & ((flags & RouteFlag.NONFINITE) != 0)))
            dropped = seen & ((flags & RouteFlag.DROPPED) != 0)
            if dropped.any():
                self.dropped_tokens += int(np.count_nonzero(dropped))
                self.dropped_slots += int(np.count_nonzero(store.experts(self.layer, i, j)[dropped] < 0))
        self.rows += int(np.count_nonzero(seen))
        entropy, margin = store.entropy(self.layer, i, j), store.margin(self.layer, i, j)
        self._add_stuck(entropy, margin, seen, ids, i)
        self._add_parts(np.where(seen & np.isfinite(entropy), entropy, np.nan), store.n_tokens(self.layer.stream), i)
        known = margin[seen & np.isfinite(margin)]
        self.margin_sum += float(known.sum(dtype=np.float64))
        self.margin_rows += len(known)
        self.near_ties += int(np.count_nonzero(known < NEAR_TIE))
        self.flippable += int(np.count_nonzero(known < self.noise))

    def _add_parts(self, entropy: npt.NDArray[np.float32], total: int, i: int) -> None:
        """Add (n,) entropies of rows i…, NaN where they don't count, to the parts of ``total`` rows."""
        edges = np.clip(np.arange(PARTS + 1) * total // PARTS - i, 0, len(entropy))
        for part in np.flatnonzero(np.diff(edges)).tolist():
            piece = entropy[edges[part] : edges[part + 1]]
            known = piece[~np.isnan(piece)]
            some = float(known.sum(dtype=np.float64))
            self.entropy_sum += some
            self.entropy_rows += len(known)
            self.part_entropy[part] += some
            self.part_rows[part] += len(known)

    def _add_stuck(
        self, entropy: npt.NDArray[np.float32], margin: npt.NDArray[np.float32], seen: Masks, ids: np.ndarray, i: int
    ) -> None:
        same = (entropy[1:] == entropy[:-1]) & (margin[1:] == margin[:-1])
        if np.count_nonzero(same) < STUCK_RUN - 1:
            return
        edges = np.flatnonzero(np.diff((same & seen[1:] & seen[:-1]).astype(np.int8), prepend=0, append=0))
        for first, last in edges.reshape(-1, 2).tolist():
            length = last - first + 1
            if length >= STUCK_RUN and len(np.unique(ids[first : last + 1])) >= STUCK_IDS:
                self.stuck_at = i + first if self.stuck_at < 0 else self.stuck_at
                self.stuck_run = max(self.stuck_run, length)
                self.stuck_rows += length


@dataclass(frozen=True)
class RankTime:
    """How long the passes of one rank took.

    Attributes
    ----------
    rank, passes : int
    seconds : float
    tokens : int
        Token rows worked on.
    """

    rank: int
    passes: int
    seconds: float
    tokens: int


@dataclass(frozen=True)
class Evidence:
    """Everything the checks look at.

    Attributes
    ----------
    layers : tuple of LayerEvidence
    complete : bool
    notes : tuple of str
    passes, failed, counts_only, sampled, spared : int
        All passes, those whose forward raised, those of which only counts were kept, those with a sample of their tokens, and
        those whose entropies and margins were given up.
    model : ModelInfo or None
    blocks : LoadBlocks or None
        Exact counts of consecutive blocks of passes, over the whole capture.
    ranks : tuple of RankTime
    labels : tuple of Label
    overrides : tuple of Acted
        The overrides that acted on its passes.
    store : Store or None
        For what only one check looks at, such as training steps.
    rows_read, rows_left_out : int
        Token rows that checks with partial results saw, and those that an even sample of a long capture leaves out.
    """

    layers: tuple[LayerEvidence, ...]
    complete: bool = True
    notes: tuple[str, ...] = ()
    passes: int = 0
    failed: int = 0
    counts_only: int = 0
    sampled: int = 0
    spared: int = 0
    model: ModelInfo | None = None
    blocks: LoadBlocks | None = None
    ranks: tuple[RankTime, ...] = ()
    labels: tuple[Label, ...] = ()
    overrides: tuple[Acted, ...] = ()
    store: Store | None = None
    rows_read: int = 0
    rows_left_out: int = 0


def noise_of(layer: LayerInfo, dtype: str) -> float:
    """Return how far rounding typically moves a layer's scores: growth · precision · √(1 + place), times the score 1/E that a
    chosen expert has at least (1 where logits rank); 0 for an unknown dtype.
    """
    score = 1.0 if layer.score == "logits" else 1 / layer.experts
    return GROWTH * PRECISION.get(dtype, 0.0) * sqrt(1 + layer.place) * score
