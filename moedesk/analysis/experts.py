"""What one expert gets: its share, and the tokens it sees most."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import Chunks, Ticket
from moedesk.core.columns import RouteFlag
from moedesk.core.store import LayerLike, Store

SAMPLE = 2_000_000
"""Token rows that ``top_tokens`` looks at; of more, an even sample."""

_Z = 1.959963984540054  # standard normal quantile at 0.975


@dataclass(frozen=True)
class ExpertShare:
    """The share of a layer's slots that went to one expert.

    Attributes
    ----------
    count, slots : int
        Slots of the expert, and of the layer; padding left out.
    share : float
        count / slots; NaN without slots.
    low, high : float
        95 % interval (Wilson score; slots taken as independent draws).
    uniform : float
        1/E.
    """

    count: int
    slots: int
    share: float
    low: float
    high: float
    uniform: float

    @property
    def utilization(self) -> float:
        """Load ÷ uniform share."""
        return self.share / self.uniform


@dataclass(frozen=True)
class TopToken:
    """A token id that an expert sees.

    Attributes
    ----------
    token_id : int
    text : str
    count : int
        How often it went to the expert.
    share : float
        Of its occurrences at the layer.
    mean_weight : float
        Mean of the weights the expert received with it; infinite and NaN ones left out.
    """

    token_id: int
    text: str
    count: int
    share: float
    mean_weight: float


@dataclass(frozen=True)
class TopTokens:
    """The tokens an expert sees most, most frequent first.

    Attributes
    ----------
    tokens : tuple of TopToken
    seen : int
        Tokens of known id that went to the expert, among the rows looked at.
    different : int
        How many different ids these are.
    rows, left_out : int
        Token rows looked at, and not looked at because there are too many.
    mean_weight : float
        Mean of the weights the expert received with all ``seen`` tokens; infinite and NaN ones left out.
    """

    tokens: tuple[TopToken, ...]
    seen: int
    different: int
    rows: int
    left_out: int
    mean_weight: float = float("nan")

    @property
    def note(self) -> str:
        """What was left out, in one line; empty if nothing was."""
        if not self.left_out:
            return ""
        return f"From an even sample of {self.rows:,} of {self.rows + self.left_out:,} token rows"


def expert_share(store: Store, layer: LayerLike, expert: int, first: int = 0, last: int | None = None) -> ExpertShare:
    """Return the share of an expert over passes first…last (end excluded), from exact counts."""
    info = store.model.layer(layer)
    counts = store.window_counts(first, last)[info.place]
    count, slots = int(counts[expert]), int(counts.sum())
    low, high = share_interval(count, slots)
    return ExpertShare(count, slots, count / slots if slots else np.nan, low, high, 1 / info.experts)


def share_interval(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share (E. B. Wilson 1927); 0 to 1 without data."""
    low, high = share_intervals(np.array([count]), np.array([total]))
    return float(low[0]), float(high[0])


def share_intervals(
    counts: npt.NDArray[np.integer], totals: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the lower and upper ends of the 95 % Wilson score intervals of shares; 0 and 1 where there is no data."""
    n = np.maximum(1, totals).astype(np.float64)
    share, z2 = counts / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = np.where(counts == 0, 0.0, centre - half)
    high = np.where(counts == totals, 1.0, centre + half)
    return low, high


def top_tokens(
    store: Store,
    layer: LayerLike,
    expert: int,
    first: int = 0,
    last: int | None = None,
    limit: int = 20,
    ticket: Ticket | None = None,
    sample: int = SAMPLE,
) -> TopTokens:
    """Return the tokens that most often went to an expert in passes first…last (end excluded).

    Padding, tokens of unknown id and tokens that the layer did not see are left out.

    Parameters
    ----------
    limit : int
        How many to return.
    sample : int
        Look at no more than about this many token rows.
    """
    info = store.model.layer(layer)
    span = store.token_span(first, store.n_passes if last is None else last, info.stream)
    chunks = Chunks(*span, limit=sample)
    occurrences, counts, weights, weighed = (np.zeros(0) for _ in range(4))
    for i, j in chunks.walk(ticket):
        experts = store.experts(info, i, j)
        tokens = store.read_tokens(i, j, info.stream)
        ids = tokens["token_id"]
        known = (ids >= 0) & ~tokens["is_padding"] & ((store.flags(info, i, j) & RouteFlag.ABSENT) == 0)
        chosen = (experts == expert) & known[:, None]
        rows, slots = np.nonzero(chosen)
        weight = store.weights(info, i, j)[rows, slots].astype(np.float64)
        finite = np.isfinite(weight)
        occurrences = _add(occurrences, ids[known])
        counts = _add(counts, ids[rows])
        weights = _add(weights, ids[rows[finite]], weight[finite])
        weighed = _add(weighed, ids[rows[finite]])
    different = np.flatnonzero(counts)
    top = different[np.lexsort((different, -counts[different]))][:limit]
    tokens_out = tuple(
        TopToken(
            int(token_id),
            text,
            int(counts[token_id]),
            float(counts[token_id] / occurrences[token_id]),
            float(weights[token_id] / weighed[token_id]) if weighed[token_id] else float("nan"),
        )
        for token_id, text in zip(top, store.token_text(top), strict=True)
    )
    mean_weight = float(weights.sum() / weighed.sum()) if weighed.any() else float("nan")
    return TopTokens(tokens_out, int(counts.sum()), len(different), chunks.read, chunks.left_out, mean_weight)


def _add(
    totals: npt.NDArray[np.float64], ids: npt.NDArray[np.integer], values: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Return totals per id with ``values`` (1 each if None) added; both arrays grow to the largest id."""
    more = np.bincount(ids, values, minlength=len(totals)).astype(np.float64)
    more[: len(totals)] += totals
    return more
