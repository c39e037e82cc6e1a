"""What a ``BandChart`` draws. No Qt."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """What is drawn.

    Attributes
    ----------
    edges : (B + 1,) int64
        Block b covers passes ``edges[b]`` to ``edges[b + 1]``, end excluded.
    values, low, high : (B,) float64
        Shares with their intervals; NaN where there is nothing.
    even : float
        Where the dashed line lies.
    hints : tuple of str
        What is said of each block.
    expert : int
        Whose colour it has.
    """

    edges: npt.NDArray[np.int64]
    values: Floats
    low: Floats
    high: Floats
    even: float
    hints: tuple[str, ...]
    expert: int

    @property
    def top(self) -> float:
        """Upper end of the axis: room for every value, and for most of the intervals."""
        known = np.isfinite(self.values)
        if not known.any():
            return min(1.0, 2 * self.even)
        highest = max(float(self.values[known].max()), float(np.quantile(self.high[known], 0.9)))
        return min(1.0, 1.1 * max(highest, 1.5 * self.even))
