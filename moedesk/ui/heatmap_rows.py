"""Where each expert's row lies in a heatmap: layer under layer, expert under expert. No Qt."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from moedesk.core.model import ModelInfo


@dataclass(frozen=True)
class HeatmapRows:
    """The rows of a heatmap.

    Attributes
    ----------
    paths : tuple of str
        Module path of each layer.
    offsets : tuple of int
        Layer l has rows ``offsets[l]`` to ``offsets[l + 1]``; one longer than ``paths``.
    """

    paths: tuple[str, ...] = ()
    offsets: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, model: ModelInfo) -> "HeatmapRows":
        """Return the rows of a model's MoE layers."""
        return cls(
            tuple(layer.path for layer in model.layers),
            tuple(accumulate((layer.experts for layer in model.layers), initial=0)),
        )

    def __len__(self) -> int:
        return self.offsets[-1]

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.paths)

    def layer_at(self, row: float) -> int:
        """Return the layer that holds ``row``, the nearest one for a row outside."""
        return min(max(bisect_right(self.offsets, row) - 1, 0), self.layers - 1)

    def span(self, layer: int) -> tuple[int, int]:
        """Return the rows of a layer."""
        return self.offsets[layer], self.offsets[layer + 1]

    def row(self, layer: int, expert: int) -> int:
        """Return the row of an expert."""
        return self.offsets[layer] + expert
