"""The load of a layer's experts in A and in B. No Qt."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.analysis.diff.layer_diff import LayerDiff


@dataclass(frozen=True)
class LoadPair:
    """Shares of slots of each expert, from what B has most more of to what it has most less of.

    Attributes
    ----------
    experts : (E,) int64
    a, b : (E,) float64
        Shares of slots over the aligned tokens; each sums to 1.
    slots_a, slots_b : (E,) int64
    """

    experts: npt.NDArray[np.int64]
    a: npt.NDArray[np.float64]
    b: npt.NDArray[np.float64]
    slots_a: npt.NDArray[np.int64]
    slots_b: npt.NDArray[np.int64]

    @property
    def top(self) -> float:
        """The largest share."""
        return float(max(self.a.max(), self.b.max()))

    def hint(self, bar: int) -> str:
        """Return what is said of an expert."""
        change = self.b[bar] - self.a[bar]
        return (
            f"Expert {self.experts[bar]}: {self.a[bar]:.2%} of slots in A ({self.slots_a[bar]:,}), "
            f"{self.b[bar]:.2%} in B ({self.slots_b[bar]:,}), {100 * change:+.2f} points"
        )


def load_pair(layer: LayerDiff) -> LoadPair | None:
    """Return the experts' loads, sorted by difference; None without a slot on either side."""
    total_a, total_b = int(layer.counts_a.sum()), int(layer.counts_b.sum())
    if not total_a or not total_b:
        return None
    a, b = layer.counts_a / total_a, layer.counts_b / total_b
    order = np.argsort(a - b, kind="stable")
    return LoadPair(order, a[order], b[order], layer.counts_a[order], layer.counts_b[order])
