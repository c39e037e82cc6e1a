"""How evenly layers are loaded over time: ``analysis.load``'s metrics for many columns at once, over a sliding window."""

from math import log

import numpy as np
import numpy.typing as npt

from moedesk.core.store import Store

BALANCE = ("cv", "maxvio", "entropy_normalized")
"""Keys of ``analysis.load.METRICS``, in the order of ``balance``."""
SLOTS_AN_EXPERT = 32
"""Slots an expert that an automatic window holds on average: fewer, and chance alone looks like imbalance."""
LONGEST = 8192  # passes
_LOOKED_AT = 512  # passes from which the slots of a pass are estimated

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


def window_of_slots(store: Store, end: int) -> int:
    """Return how many passes before ``end`` hold 32 slots an expert in every layer, rounded up to a power of two."""
    first = max(0, end - _LOOKED_AT)
    needed = 1.0
    for counts in store.window_counts(first, end):
        total = int(counts.sum())
        if total:
            needed = max(needed, SLOTS_AN_EXPERT * len(counts) * (end - first) / total)
    return min(LONGEST, 1 << (int(np.ceil(needed)) - 1).bit_length())


def sliding(before: Sums, entering: Sums, leaving: Sums) -> Sums:
    """Return (N, R) counts of a window after each of N steps.

    Parameters
    ----------
    before : (R,)
        Its counts before the first step.
    entering, leaving : (N, R)
        What each step adds and takes away.
    """
    steps = entering.astype(np.result_type(entering, leaving, np.int64))
    steps -= leaving.astype(steps.dtype)
    steps[:1] += before
    return np.cumsum(steps, axis=0, out=steps)
