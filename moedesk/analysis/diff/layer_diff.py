"""How one layer routed the same tokens in two captures: sums over aligned rows that add up."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from moedesk.analysis.diff.sample import Sample
from moedesk.core.model import LayerInfo

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Wide = npt.NDArray[np.int64]
Ids = npt.NDArray[np.signedinteger]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """The same n tokens at one layer of one capture.

    Attributes
    ----------
    experts : (n, k) signed int
    weights : (n, k) float32
    margin : (n,) float32
    seen : (n,) bool
        Whether the layer saw the token.
    """

    experts: Ids
    weights: Floats
    margin: Floats
    seen: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """What differs, token by token; the n tokens that both layers saw.

    Attributes
    ----------
    seen : (m,) bool
        Which of the m aligned tokens these are.
    overlap : (n,) float64
        |A ∩ B| / k, with the larger number of experts where the two differ.
    flip : (n,) bool
        Whether the sets differ.
    tv : (n,) float64
        ½ Σ_e |w_A − w_B|.
    agreed_error : (n,) float64
        Mean of |w_A − w_B| / w_A over the agreed experts; NaN without one.
    margin_a, margin_b : (n,) float32
    """

    seen: npt.NDArray[np.bool_]
    overlap: npt.NDArray[np.float64]
    flip: npt.NDArray[np.bool_]
    tv: npt.NDArray[np.float64]
    agreed_error: npt.NDArray[np.float64]
    margin_a: Floats
    margin_b: Floats

    @classmethod
    def of(cls, a: Side, b: Side) -> Self:
        """Compare two sides."""
        seen = a.seen & b.seen
        left, right = a.experts[seen].astype(np.int64), b.experts[seen].astype(np.int64)
        w_left, w_right = a.weights[seen].astype(np.float64), b.weights[seen].astype(np.float64)
        n = len(left)
        overlap, flip, tv, error = np.ones(n), np.zeros(n, bool), np.zeros(n), np.full(n, np.nan)
        alike = (left == right).all(1) if left.shape == right.shape else np.zeros(n, bool)
        tv[alike], error[alike] = _slot_by_slot(left[alike], w_left[alike], w_right[alike])
        rest = ~alike
        overlap[rest], flip[rest], tv[rest], error[rest] = _by_sets(
            left[rest], right[rest], w_left[rest], w_right[rest]
        )
        return cls(seen, overlap, flip, tv, error, a.margin[seen], b.margin[seen])


def _slot_by_slot(ids: Wide, w_left: Doubles, w_right: Doubles) -> tuple[Doubles, Doubles]:
    """Total variation and relative error of the weights of tokens with the same experts in the same slots."""
    there = ids >= 0
    gap = np.where(there, np.abs(w_left - w_right), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return gap.sum(1) / 2, np.where(there, gap / np.abs(w_left), 0).sum(1) / there.sum(1)


def _by_sets(left: Wide, right: Wide, w_left: Doubles, w_right: Doubles) -> tuple[np.ndarray, ...]:
    """Overlap, flip, total variation and relative error of tokens whose experts are in other slots, or others."""
    there = left >= 0
    met = (left[:, :, None] == right[:, None, :]) & there[:, :, None]
    agreed = met.any(2)
    met_back = met.any(1)
    number = np.maximum(there.sum(1), (right >= 0).sum(1))
    common = agreed.sum(1)
    other = (met * w_right[:, None, :]).sum(2)
    gap = np.abs(w_left - other)
    only_b = np.where(met_back | (right < 0), 0, np.abs(w_right)).sum(1)
    tv = (np.where(there, gap, 0).sum(1) + only_b) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(agreed, gap / np.abs(w_left), 0).sum(1) / common
    overlap = np.where(number > 0, common / np.maximum(number, 1), 1.0)
    return overlap, common < number, tv, relative


@dataclass(frozen=True)
class LayerDiff:
    """Sums over the tokens of one layer, and samples of them; ``+`` joins those of more tokens.

    Attributes
    ----------
    layer : LayerInfo
        Of capture A.
    tokens, flips : int
        Tokens that both saw, and those whose sets of experts differ.
    overlap, jaccard, tv : float
        Sums over tokens.
    agreed_error, agreed : float, int
        Sum of the mean relative error of weights of agreed experts, and over how many tokens.
    counts_a, counts_b : (E,) int64
        Slots of these tokens.
    judged, judged_flips, judged_tv : int, int, float
        Tokens whose text before them is the same in both, and their flips and total variation: what a verdict rests on.
    margins_at_flip : Sample
        A's margin at flips of a known margin.
    margins : Sample
        A's margins, flips included.
    moves : Sample
        |margin_A − margin_B| of judged tokens whose sets agree.
    errors : Sample
        Relative weight errors of judged tokens.
    first_moves_at_flip : Sample
        margin_A + margin_B, how far the scores must have moved, of judged tokens that flip here and at no earlier layer.
    """

    layer: LayerInfo
    tokens: int = 0
    flips: int = 0
    overlap: float = 0.0
    jaccard: float = 0.0
    tv: float = 0.0
    agreed_error: float = 0.0
    agreed: int = 0
    counts_a: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    counts_b: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    judged: int = 0
    judged_flips: int = 0
    judged_tv: float = 0.0
    margins_at_flip: Sample = field(default_factory=Sample)
    margins: Sample = field(default_factory=Sample)
    moves: Sample = field(default_factory=Sample)
    errors: Sample = field(default_factory=Sample)
    first_moves_at_flip: Sample = field(default_factory=Sample)

    @classmethod
    def of(cls, layer: LayerInfo, a: Side, b: Side, rows: Rows, first: Mask, judged: Mask) -> Self:
        """Sum the rows; (m,) masks of the aligned tokens say which had not flipped before, and which a verdict rests on."""
        first, judged = first[rows.seen], judged[rows.seen]
        union = 2 - rows.overlap
        known = np.isfinite(rows.agreed_error)
        finite = np.isfinite(rows.margin_a) & np.isfinite(rows.margin_b)
        moved = np.where(rows.flip, rows.margin_a + rows.margin_b, np.abs(rows.margin_a - rows.margin_b))
        return cls(
            layer,
            len(rows.flip),
            int(np.count_nonzero(rows.flip)),
            float(rows.overlap.sum()),
            float((rows.overlap / union).sum()),
            float(np.nansum(rows.tv)),
            float(rows.agreed_error[known].sum()),
            int(np.count_nonzero(known)),
            _counts(a, rows.seen, layer.experts),
            _counts(b, rows.seen, layer.experts),
            int(np.count_nonzero(judged)),
            int(np.count_nonzero(rows.flip & judged)),
            float(np.nansum(rows.tv[judged])),
            Sample.of(rows.margin_a[rows.flip & finite]),
            Sample.of(rows.margin_a[finite]),
            Sample.of(moved[~rows.flip & finite & judged]),
            Sample.of(rows.agreed_error[known & judged]),
            Sample.of(moved[rows.flip & finite & first & judged]),
        )

    def __add__(self, other: "LayerDiff") -> "LayerDiff":
        joined: dict[str, Any] = {}
        for name in (*_SUMS, *_SAMPLES):
            joined[name] = getattr(self, name) + getattr(other, name)
        for name in ("counts_a", "counts_b"):
            joined[name] = _sum(getattr(self, name), getattr(other, name))
        return replace(self, **joined)

    @property
    def flip_rate(self) -> float:
        """Share of tokens whose set of experts differs; NaN without tokens."""
        return self.flips / self.tokens if self.tokens else float("nan")

    @property
    def slot_mismatch(self) -> float:
        """Mean of 1 − |A ∩ B|/k; 1 minus it is router saturation of A against B."""
        return 1 - self.overlap / self.tokens if self.tokens else float("nan")

    @property
    def weight_tv(self) -> float:
        """Mean total variation ½ Σ_e |w_A − w_B| of the dense weights."""
        return self.tv / self.tokens if self.tokens else float("nan")

    @property
    def agreed_weight_error(self) -> float:
        """Mean relative difference of the weights of agreed experts."""
        return self.agreed_error / self.agreed if self.agreed else float("nan")

    @property
    def median_margin_at_flip(self) -> float:
        """Median of A's margins at flips; NaN without a flip of known margin."""
        return self.margins_at_flip.median

    @property
    def load_tv(self) -> float:
        """½ Σ_e |p_A − p_B| of slot shares over these tokens."""
        total_a, total_b = self.counts_a.sum(), self.counts_b.sum()
        if not total_a or not total_b:
            return float("nan")
        return float(np.abs(self.counts_a / total_a - self.counts_b / total_b).sum() / 2)


_SUMS = ("tokens", "flips", "overlap", "jaccard", "tv", "agreed_error", "agreed", "judged", "judged_flips", "judged_tv")
_SAMPLES = ("margins_at_flip", "margins", "moves", "errors", "first_moves_at_flip")


def _counts(side: Side, seen: npt.NDArray[np.bool_], experts: int) -> npt.NDArray[np.int64]:
    ids = side.experts[seen].astype(np.int64).ravel()
    return np.bincount(ids[ids >= 0], minlength=experts)


def _sum(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if len(a) < len(b):
        a, b = b, a
    total = a.copy()
    total[: len(b)] += b
    return total
