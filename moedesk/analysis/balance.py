"""How evenly layers are loaded over time: ``analysis.load``'s metrics for many columns at once."""

from collections.abc import Iterator
from itertools import pairwise
from math import log

import numpy as np
import numpy.typing as npt

from moedesk.analysis.conventions import Conventions

DEFAULT = Conventions()
BALANCE = ("cv", "maxvio", "entropy_normalized")
"""Keys of ``analysis.load.METRICS``, in the order of ``balance``."""
_AT_ONCE = 1 << 18  # counts: few enough for the caches

Sums = npt.NDArray[np.integer] | npt.NDArray[np.floating]


def balance(
    sums: Sums, offsets: npt.NDArray[np.integer], conventions: Conventions = DEFAULT
) -> npt.NDArray[np.float32]:
    """Return (3, L, N) CV, MaxVio and normalised entropy of N sets of counts, as chosen; NaN without slots.

    Parameters
    ----------
    sums : (N, R)
        Slots per expert, layer after layer.
    offsets : (L + 1,)
        Layer l has the columns ``offsets[l]`` to ``offsets[l + 1]``.
    conventions : Conventions
        Which member of each family to give.
    """
    experts = np.diff(offsets)
    result = np.full((3, len(experts), len(sums)), np.nan, np.float32)
    for first, last in _alike(experts, len(sums)):
        counts = sums[:, offsets[first] : offsets[last]].astype(np.float64)
        values = _evenness(counts.reshape(len(sums), last - first, int(experts[first])))
        result[:, first:last] = [
            _as(conventions.of(key), values[n], int(experts[first])) for n, key in enumerate(BALANCE)
        ]
    return result


def _as(key: str, values: npt.NDArray[np.float64], experts: int) -> npt.NDArray[np.float64]:
    """Return the values of a family's first member as another one's: each is a function of it and of E alone."""
    match key:
        case "cv_sample":
            return values * np.sqrt(experts / (experts - 1)) if experts > 1 else np.full_like(values, np.nan)
        case "load_imbalance":
            return values + 1
        case "expert_diversity":
            return np.exp((values - 1) * log(experts))
        case "kl_uniform":
            return (1 - values) * log(experts)
    return values


def _alike(experts: npt.NDArray[np.integer], columns: int) -> Iterator[tuple[int, int]]:
    """Yield layers first…last (end excluded) with as many experts each, as many layers as are worked on at once."""
    ends = np.flatnonzero(np.diff(experts)) + 1
    for start, stop in pairwise([0, *ends.tolist(), len(experts)]):
        step = max(1, _AT_ONCE // max(1, columns * int(experts[start])))
        for first in range(start, stop, step):
            yield first, min(first + step, stop)


def _evenness(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (3, L, N) of (N, L, E) counts."""
    experts, total = counts.shape[2], counts.sum(2)
    result = np.full((3, *total.shape), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / experts
        result[0] = counts.std(2) / mean
        result[1] = counts.max(2) / mean - 1
        if experts > 1:
            logs = counts * np.log(np.maximum(counts, 1e-300))  # 0·ln 0 = 0
            result[2] = (np.log(total) - logs.sum(2) / total) / log(experts)
    return result.transpose(0, 2, 1)


def band(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (3, 3, N) least, median and most over the layers of (3, L, N) values; NaN where no layer has one."""
    ordered = np.sort(values, axis=1)  # NaN last
    known = np.isfinite(ordered).sum(1, keepdims=True)
    ranks = np.concatenate((known * 0, (known - 1) // 2, known // 2, known - 1), axis=1).clip(0)
    least, lower, upper, most = np.moveaxis(np.take_along_axis(ordered, ranks, axis=1), 1, 0)
    return np.stack((least, (lower + upper) / 2, most), axis=1)
