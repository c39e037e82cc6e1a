"""An even sample of numbers that come piece by piece, in bounded memory."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

LIMIT = 1 << 15
"""Numbers that a sample keeps at most."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """Every ``step``-th of the numbers that were put in; ``+`` joins two, each number counting the same.

    Attributes
    ----------
    values : (n,) float32
    step : int
        A power of two; 1 as long as all are kept.
    total : int
        How many there were.
    """

    values: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    step: int = 1
    total: int = 0

    @classmethod
    def of(cls, values: npt.NDArray[np.floating]) -> Self:
        """Return a sample of some numbers."""
        return cls(values.astype(np.float32), 1, len(values)).thinned()

    def __len__(self) -> int:
        return len(self.values)

    def __add__(self, other: "Sample") -> "Sample":
        step = max(self.step, other.step)
        values = np.concatenate((self.values[:: step // self.step], other.values[:: step // other.step]))
        return Sample(values, step, self.total + other.total).thinned()

    def thinned(self) -> Self:
        """Return it with every second number left out until no more than ``LIMIT`` are left."""
        values, step = self.values, self.step
        while len(values) > LIMIT:
            values, step = values[::2], 2 * step
        return type(self)(values.copy() if step != self.step else values, step, self.total)

    @property
    def median(self) -> float:
        """The median; NaN of nothing."""
        return float(np.median(self.values)) if len(self.values) else float("nan")

    def quantile(self, share: float) -> float:
        """Return a quantile; NaN of nothing."""
        return float(np.quantile(self.values, share)) if len(self.values) else float("nan")

    def above(self, bound: float) -> int:
        """Return how many numbers are larger, estimated if not all were kept."""
        found = int(np.count_nonzero(self.values > bound))
        return found if self.step == 1 else min(self.total, round(found / len(self.values) * self.total))
