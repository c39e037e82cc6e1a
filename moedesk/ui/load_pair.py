"""What a ``LoadChart`` draws: the load of a layer's experts on two sides. No Qt."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.core.signed import signed


@dataclass(frozen=True)
class LoadPair:
    """Shares of slots of each expert, from what the second side has most more of to what it has most less of.

    Attributes
    ----------
    experts : (E,) int64
    a, b : (E,) float64
        Shares of slots on the two sides; each sums to 1.
    slots_a, slots_b : (E,) int64
    sides : tuple of str
        What the two are called.
    """

    experts: npt.NDArray[np.int64]
    a: npt.NDArray[np.float64]
    b: npt.NDArray[np.float64]
    slots_a: npt.NDArray[np.int64]
    slots_b: npt.NDArray[np.int64]
    sides: tuple[str, str] = ("A", "B")

    @classmethod
    def of(
        cls, slots_a: npt.NDArray[np.int64], slots_b: npt.NDArray[np.int64], sides: tuple[str, str] = ("A", "B")
    ) -> "LoadPair | None":
        """Return the experts' loads, sorted by difference; None without a slot on either side."""
        total_a, total_b = int(slots_a.sum()), int(slots_b.sum())
        if not total_a or not total_b:
            return None
        a, b = slots_a / total_a, slots_b / total_b
        order = np.argsort(a - b, kind="stable")
        return cls(order, a[order], b[order], slots_a[order], slots_b[order], sides)

    @property
    def top(self) -> float:
        """The largest share."""
        return float(max(self.a.max(), self.b.max()))

    @property
    def moved(self) -> float:
        """Share of slots that went to other experts: half the sum of the differences of shares (total variation)."""
        return float(np.abs(self.a - self.b).sum() / 2)

    def hint(self, bar: int) -> str:
        """Return what is said of an expert."""
        change, (one, other) = self.b[bar] - self.a[bar], self.sides
        return (
            f"Expert {self.experts[bar]}: {one} {self.a[bar]:.2%} of slots ({self.slots_a[bar]:,}), "
            f"{other} {self.b[bar]:.2%} ({self.slots_b[bar]:,}), {signed(100 * change, 2)} points"
        )
