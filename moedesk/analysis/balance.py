"""How evenly layers are loaded over time: ``analysis.load``'s metrics for many columns at once."""

from math import log

import numpy as np
import numpy.typing as npt

BALANCE = ("cv", "maxvio", "entropy_normalized")
"""Keys of ``analysis.load.METRICS``, in the order of ``balance``."""

Sums = npt.NDArray[np.integer] | npt.NDArray[np.floating]


def balance(sums: Sums, offsets: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return (3, L, N) population CV, MaxVio and normalised entropy of N sets of counts; NaN without slots.

    Parameters
    ----------
    sums : (N, R)
        Slots per expert, layer after layer.
    offsets : (L + 1,)
        Layer l has the columns ``offsets[l]`` to ``offsets[l + 1]``.
    """
    layers = len(offsets) - 1
    result = np.full((3, layers, len(sums)), np.nan, np.float32)
    for layer in range(layers):
        counts = sums[:, offsets[layer] : offsets[layer + 1]].astype(np.float64)
        experts = counts.shape[1]
        total = counts.sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / experts
            result[0, layer] = counts.std(1) / mean
            result[1, layer] = counts.max(1) / mean - 1
            if experts > 1:
                logs = counts * np.log(np.maximum(counts, 1e-300))  # 0·ln 0 = 0
                result[2, layer] = (np.log(total) - logs.sum(1) / total) / log(experts)
    return result


def band(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (3, 3, N) least, median and most over the layers of (3, L, N) values; NaN where no layer has one."""
    ordered = np.sort(values, axis=1)  # NaN last
    known = np.isfinite(ordered).sum(1, keepdims=True)
    ranks = np.concatenate((known * 0, (known - 1) // 2, known // 2, known - 1), axis=1).clip(0)
    least, lower, upper, most = np.moveaxis(np.take_along_axis(ordered, ranks, axis=1), 1, 0)
    return np.stack((least, (lower + upper) / 2, most), axis=1)
