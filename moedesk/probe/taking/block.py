"""Groups of layers, arrived on the host: counts and flags of all their layers at once. NumPy, but for long counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from moedesk.core.batch import RouteStack
from moedesk.core.columns import RouteFlag
from moedesk.probe.adapters.adapter import ABSENT
from moedesk.probe.finding.binding import Binding
from moedesk.probe.taking.overridden import Marks
from moedesk.probe.taking.reduction import LayerGroup

MANY = 4096
"""Slots of a layer from which on layers are counted one by one: all at once, their numbers would leave the cache."""


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
        experts, slots = self.bindings[0].layer.experts, ids.reshape(len(ids), -1)
        if ids.itemsize == 1 and slots.shape[1] >= MANY:  # -1 and ABSENT count as 255 and 254
            bytewise = torch.from_numpy(slots.view(np.uint8))
            return np.stack([layer.bincount(minlength=256).numpy()[:experts] for layer in bytewise])
        numbers = slots + np.arange(len(ids)).reshape(-1, 1) * experts
        if ids.size and ids.min() < 0:
            numbers = numbers[slots >= 0]
        return np.bincount(numbers.ravel(), minlength=len(ids) * experts).reshape(len(ids), experts)

    def flags(self) -> npt.NDArray[np.uint8] | None:
        """Return (L, N) ``RouteFlag`` bits; None if none is set."""
        lowest = self.ids.min(initial=0)
        floats = [column for column in (self.weights, self.entropy) if column is not None]
        broken = [column for column in floats if not _finite(column)]
        if lowest == 0 and not broken:
            return None
        flags = np.zeros(self.ids.shape[:2], np.uint8)
        if lowest < 0:
            flags[self._lost()] |= np.uint8(RouteFlag.DROPPED)
        for column in broken:
            rows = ~np.isfinite(column)
            flags[rows.any(-1) if rows.ndim == 3 else rows] |= np.uint8(RouteFlag.NONFINITE)
        if lowest <= ABSENT:
            flags[self._absent()] = np.uint8(RouteFlag.ABSENT)
        return flags

    def _lost(self) -> npt.NDArray[np.bool_]:
        """(L, N) rows that lost an expert; where experts choose, rows that none of them chose."""
        empty = self.ids < 0
        chosen_by_expert = self.bindings[0].layer.selection == "expert choice"
        return np.logical_and.reduce(empty, axis=-1) if chosen_by_expert else np.logical_or.reduce(empty, axis=-1)

    def _absent(self) -> npt.NDArray[np.bool_]:
        """(L, N) rows that a layer did not see."""
        return np.logical_or.reduce(self.ids == ABSENT, axis=-1)

    def _seen(self) -> "Block":
        """The same, as a capture has rows that a layer did not see: -1 and NaN."""
        if not self.ids.size or self.ids.min() > ABSENT:
            return self
        absent = self._absent()
        columns = (self.weights, self.entropy, self.margin, self.logits)
        return Block(
            self.bindings,
            np.maximum(self.ids, -1),
            *(
                None if c is None else np.where(absent[..., None] if c.ndim == 3 else absent, np.float32(np.nan), c)
                for c in columns
            ),
        )

    def correct(self, marks: Mapping[nn.Module, Marks]) -> None:
        """Write what overrides say is used where hooks could not see it; in place."""
        for i, binding in enumerate(self.bindings):
            changed = marks.get(binding.candidate.experts)
            if changed is not None:
                weights, margin = (None if column is None else column[i] for column in (self.weights, self.margin))
                changed.correct(self.ids[i], weights, margin)

    def scattered(self, rows: npt.NDArray[np.bool_]) -> "Block":
        """Return the same for as many rows as ``rows`` has, of which the layers saw those where it is true."""
        ids = np.full((len(self.ids), len(rows), self.ids.shape[2]), ABSENT, self.ids.dtype)
        ids[:, rows] = self.ids
        others = []
        for column in (self.weights, self.entropy, self.margin, self.logits):
            wide = None if column is None else np.full((len(column), len(rows), *column.shape[2:]), np.nan, np.float32)
            if wide is not None:
                wide[:, rows] = column
            others.append(wide)
        return Block(self.bindings, ids, *others)

    def only(self, kept: npt.NDArray[np.bool_]) -> "Block":
        """Return the same with some of its layers, (L,)."""
        columns = (self.ids, self.weights, self.entropy, self.margin, self.logits)
        bindings = tuple(binding for binding, keep in zip(self.bindings, kept, strict=True) if keep)
        ids, *others = (None if column is None else column[kept] for column in columns)
        assert ids is not None
        return Block(bindings, ids, *others)

    def stack(self, places: Sequence[int], counts: npt.NDArray[np.int64]) -> RouteStack:
        """Return what the layers did; its arrays are this block's."""
        seen = self._seen()
        return RouteStack(
            tuple(places), counts, seen.ids, seen.weights, seen.entropy, seen.margin, self.flags(), seen.logits
        )


def _finite(column: np.ndarray) -> bool:
    """Whether all values are finite. Their sum is only if they are, and needs no second array; it may overflow."""
    return bool(np.isfinite(np.einsum("i->", column.reshape(-1))) or np.isfinite(column).all())


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
