"""Groups of layers, arrived on the host: counts and flags of all their layers at once. NumPy only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from torch import Tensor

from moedesk.core.batch import LayerRoutes
from moedesk.core.columns import RouteFlag
from moedesk.probe.reduction import LayerGroup
from moedesk.probe.scout import Binding


@dataclass(frozen=True)
class Block:
    """The routing of L layers of one stream that are alike, N rows.

    Attributes
    ----------
    bindings : tuple of Binding
    ids : (L, N, k) signed int
    weights : (L, N, k) float32 or None
    entropy, margin : (L, N) float32 or None
    logits : (L, N, E) float32 or None
    """

    bindings: tuple[Binding, ...]
    ids: np.ndarray
    weights: np.ndarray | None = None
    entropy: np.ndarray | None = None
    margin: np.ndarray | None = None
    logits: np.ndarray | None = None

    @classmethod
    def of(cls, group: LayerGroup) -> "Block":
        """Return the same as arrays."""
        columns = (group.weights, group.entropy, group.margin, group.logits)
        return cls(
            group.bindings, numpy_of(group.ids), *(None if column is None else numpy_of(column) for column in columns)
        )

    @property
    def stream(self) -> str:
        """Token stream of its layers."""
        return self.bindings[0].layer.stream

    @property
    def rows(self) -> int:
        """Token rows that each layer saw."""
        return int(self.ids.shape[1])

    def counts(self, padding: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.int64]:
        """Return (L, E) slots each expert received, without the rows where ``padding``."""
        ids = self.ids[:, ~padding] if padding is not None and padding.any() else self.ids
        experts = self.bindings[0].layer.experts
        numbers = ids.reshape(len(ids), -1) + np.arange(len(ids)).reshape(-1, 1) * experts
        if ids.size and ids.min() < 0:
            numbers = numbers[ids.reshape(len(ids), -1) >= 0]
        return np.bincount(numbers.ravel(), minlength=len(ids) * experts).reshape(len(ids), experts)

    def flags(self) -> npt.NDArray[np.uint8]:
        """Return (L, N) ``RouteFlag`` bits."""
        flags = np.zeros(self.ids.shape[:2], np.uint8)
        if self.ids.size and self.ids.min() < 0:
            flags[(self.ids < 0).any(-1)] |= np.uint8(RouteFlag.DROPPED)
        for column in (self.weights, self.entropy):
            if column is not None and not np.isfinite(column).all():
                broken = ~np.isfinite(column)
                flags[broken.any(-1) if broken.ndim == 3 else broken] |= np.uint8(RouteFlag.NONFINITE)
        return flags

    def routes(self, places: Sequence[int], counts: npt.NDArray[np.int64]) -> Iterator[LayerRoutes]:
        """Yield what each layer did; its arrays are views."""
        flags = self.flags()
        unknown = np.full(self.rows, np.nan, np.float32)
        for i, place in enumerate(places):
            yield LayerRoutes(
                place,
                counts[i],
                self.ids[i],
                None if self.weights is None else self.weights[i],
                unknown if self.entropy is None else self.entropy[i],
                unknown if self.margin is None else self.margin[i],
                flags[i],
                None if self.logits is None else self.logits[i],
            )


def blocks_of(groups: Sequence[LayerGroup]) -> list[Block]:
    """Return blocks in which every layer is once: the parts of one that was called several times are joined in order."""
    blocks = [Block.of(group) for group in groups]
    parts: dict[str, list[tuple[Block, int]]] = {}
    for block in blocks:
        for i, binding in enumerate(block.bindings):
            parts.setdefault(binding.candidate.path, []).append((block, i))
    if all(len(layers) == 1 for layers in parts.values()):
        return blocks
    return [_joined([_layer(*part) for part in layers]) for layers in parts.values()]


def numpy_of(tensor: Tensor) -> np.ndarray:
    """Return the array behind a tensor that has arrived on the host."""
    return tensor.numpy() if tensor.is_cpu and not tensor.requires_grad else tensor.detach().cpu().numpy()


def _layer(block: Block, i: int) -> Block:
    columns = (block.weights, block.entropy, block.margin, block.logits)
    return Block((block.bindings[i],), block.ids[i : i + 1], *(None if c is None else c[i : i + 1] for c in columns))


def _joined(parts: Sequence[Block]) -> Block:
    """One layer's parts; a column that one of them lacks is left out."""
    if len(parts) == 1:
        return parts[0]
    join = partial(np.concatenate, axis=1)
    columns = zip(*((part.weights, part.entropy, part.margin, part.logits) for part in parts), strict=True)
    return Block(
        parts[0].bindings,
        join([part.ids for part in parts]),
        *(None if any(part is None for part in column) else join(column) for column in columns),
    )
