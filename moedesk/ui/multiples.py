"""What ``SmallMultiples`` draws. No Qt."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Multiples:
    """Shares of some experts of a layer over time.

    Attributes
    ----------
    experts : tuple of int
    shares : (N, B) float64
        NaN where a block has no slot.
    even : float
        1/E, drawn dotted.
    left_out : int
        Experts of the layer that are not among them.
    """

    experts: tuple[int, ...]
    shares: npt.NDArray[np.float64]
    even: float
    left_out: int

    @property
    def top(self) -> float:
        """Upper end of the scale that all share."""
        known = self.shares[np.isfinite(self.shares)]
        return max(float(known.max(initial=0.0)), 2 * self.even)

    def hint(self, place: int) -> str:
        """Return what is said of one."""
        known = self.shares[place][np.isfinite(self.shares[place])]
        if not len(known):
            return f"Expert {self.experts[place]}: no slot at this layer"
        return (
            f"Expert {self.experts[place]}: {100 * known.min():.2f}–{100 * known.max():.2f} % of the layer's slots in a block; "
            f"even is {100 * self.even:.2f} %. Click to go there."
        )
