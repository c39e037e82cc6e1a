"""The vertical axis of curves: round bounds around values. No Qt."""

from math import floor, log10

import numpy as np
import numpy.typing as npt


def nice_step(span: float, lines: int) -> float:
    """Return the smallest of 1, 2, 5 × 10^n that divides ``span`` into at most ``lines`` parts."""
    raw = max(span, 1e-9) / max(lines, 1)
    magnitude = 10.0 ** floor(log10(raw))
    return next(step * magnitude for step in (1, 2, 5, 10) if step * magnitude >= raw * 0.999999)


def bounds(values: npt.NDArray[np.floating], fixed: tuple[float | None, float | None]) -> tuple[float, float]:
    """Return the ends of an axis that holds all finite values, rounded so that they seldom change.

    Parameters
    ----------
    fixed : (float or None, float or None)
        Ends that stay whatever the values are.
    """
    finite = values[np.isfinite(values)]
    low, high = fixed
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low is not None:
        least = low
    if high is not None:
        most = high
    step = nice_step(max(most - least, 0.05), 4)
    if low is None:
        low = floor(least / step) * step
    if high is None:
        high = -floor(-most / step) * step
    return low, high if high > low else low + step


def ticks(low: float, high: float, room: int) -> list[float]:
    """Return round values from ``low`` to ``high``, at most about ``room`` of them."""
    step = nice_step(high - low, max(room - 1, 1))
    first = -floor(-low / step + 1e-9)
    return [number * step for number in range(first, floor(high / step + 1e-9) + 1)]
