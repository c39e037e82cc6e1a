"""The routing of one pass, as columns: what a probe hands to a capture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from moedesk.core.override import Override

COLUMNS = ("experts", "weights", "entropy", "margin", "flags", "logits")
"""What is kept of every token row."""
_columns = attrgetter(*COLUMNS)


@dataclass(frozen=True)
class LayerRoutes:
    """What one MoE layer did with the token rows of its stream in one pass.

    Attributes
    ----------
    layer : int
        Place in ``ModelInfo.layers``.
    counts : (E,) int64
        Slots each expert received, padding left out; exact, whatever else was kept.
    experts : (T, k) signed int or None
        Logical expert ids in slot order, -1 where a slot was dropped; None if only counts were kept.
    weights : (T, k) float32 or None
        Gate weights as the experts received them; 0 for a dropped slot.
    entropy : (T,) float32 or None
        Entropy of softmax(logits) over all experts, in nats; NaN without logits.
    margin : (T,) float32 or None
        Score of rank k minus score of rank k+1, in the score the router ranks by; NaN if that is unknown.
    flags : (T,) uint8 or None
        ``RouteFlag`` bits; None if none is set.
    logits : (T, E) float32 or None
        Router logits, on request.
    """

    layer: int
    counts: npt.NDArray[np.int64]
    experts: npt.NDArray[np.signedinteger] | None = None
    weights: npt.NDArray[np.float32] | None = None
    entropy: npt.NDArray[np.float32] | None = None
    margin: npt.NDArray[np.float32] | None = None
    flags: npt.NDArray[np.uint8] | None = None
    logits: npt.NDArray[np.float32] | None = None

    def filled(self) -> "LayerRoutes":
        """Return the same as a capture has it, if ids were kept: what is not known is NaN, flags that are not set are 0."""
        if self.experts is None:
            return self
        rows, slots = len(self.experts), self.experts.shape
        unknown = np.full(rows, np.nan, np.float32)
        return replace(
            self,
            weights=np.full(slots, np.nan, np.float32) if self.weights is None else self.weights,
            entropy=unknown if self.entropy is None else self.entropy,
            margin=unknown if self.margin is None else self.margin,
            flags=np.zeros(rows, np.uint8) if self.flags is None else self.flags,
        )


@dataclass(frozen=True)
class RouteStack:
    """What L MoE layers that look alike did in one pass: the columns of ``LayerRoutes`` with the layers as first axis.

    So a pass is a few arrays from the hooks to the file, however deep the model.

    Attributes
    ----------
    places : tuple of int
        Place of each in ``ModelInfo.layers``.
    counts : (L, E) int64
    experts, weights : (L, T, k) signed int, float32; or None
    entropy, margin, flags : (L, T) float32, float32, uint8; or None
    logits : (L, T, E) float32 or None
    """

    places: tuple[int, ...]
    counts: npt.NDArray[np.int64]
    experts: npt.NDArray[np.signedinteger] | None = None
    weights: npt.NDArray[np.float32] | None = None
    entropy: npt.NDArray[np.float32] | None = None
    margin: npt.NDArray[np.float32] | None = None
    flags: npt.NDArray[np.uint8] | None = None
    logits: npt.NDArray[np.float32] | None = None

    @property
    def columns(self) -> tuple[np.ndarray | None, ...]:
        """What there is of ``COLUMNS``, in their order."""
        return _columns(self)

    @property
    def nbytes(self) -> int:
        """What its arrays take."""
        return self.counts.nbytes + sum([column.nbytes for column in self.columns if column is not None])

    def layers(self) -> list[LayerRoutes]:
        """Return what each layer did; its arrays are views."""
        columns = [[None] * len(self.places) if column is None else column for column in self.columns]
        return [LayerRoutes(*values) for values in zip(self.places, self.counts, *columns, strict=True)]

    def counted(self) -> "RouteStack":
        """Return the same with counts only."""
        return RouteStack(self.places, self.counts)


class StackedLayers(Sequence[LayerRoutes]):
    """The layers of some stacks, in the order of their places; each is made when somebody asks for it.

    Parameters
    ----------
    stacks : sequence of RouteStack
    """

    def __init__(self, stacks: Sequence[RouteStack]) -> None:
        self.stacks = tuple(stacks)

    @cached_property
    def _layers(self) -> list[LayerRoutes]:
        return sorted([layer for stack in self.stacks for layer in stack.layers()], key=attrgetter("layer"))

    def __len__(self) -> int:
        return sum([len(stack.places) for stack in self.stacks])

    @overload
    def __getitem__(self, index: int) -> LayerRoutes: ...
    @overload
    def __getitem__(self, index: slice) -> list[LayerRoutes]: ...
    def __getitem__(self, index: int | slice) -> LayerRoutes | list[LayerRoutes]:
        return self._layers[index]


@dataclass(frozen=True)
class RouteBatch:
    """The routing of one pass.

    Attributes
    ----------
    header : () structured, dtype ``columns.PASS``
        ``id``, ``first_token`` and ``n_tokens`` are set by the writer.
    tokens : mapping of stream name to (T,) structured, dtype ``columns.TOKEN``
        ``pass`` is set by the writer. Empty arrays if only counts were kept.
    layers : sequence of LayerRoutes
        Layers that ran; one that is missing here is written as absent. ``StackedLayers`` spares whoever takes ``stacks`` a copy.
    label : str
        What the pass is, such as the domain of its text; empty for nothing.
    overrides : tuple of Override
        Those that acted on it, each once.
    """

    header: np.ndarray
    tokens: Mapping[str, np.ndarray]
    layers: Sequence[LayerRoutes] = field(default=())
    label: str = ""
    overrides: tuple[Override, ...] = ()

    @cached_property
    def stacks(self) -> tuple[RouteStack, ...]:
        """The layers stacked: neighbours that look alike together."""
        if isinstance(self.layers, StackedLayers):
            return self.layers.stacks
        return tuple([_stacked(list(run)) for _, run in groupby(self.layers, _look)])

    @property
    def nbytes(self) -> int:
        """What its arrays take."""
        return sum([tokens.nbytes for tokens in self.tokens.values()]) + sum([stack.nbytes for stack in self.stacks])


def _look(layer: LayerRoutes) -> tuple[Any, ...]:
    """What layers must share to lie in one array."""
    columns = (None if column is None else (column.shape, column.dtype) for column in _columns(layer))
    return (layer.counts.shape, *columns)


def _stacked(layers: Sequence[LayerRoutes]) -> RouteStack:
    columns = zip(*map(_columns, layers), strict=True)
    return RouteStack(
        tuple([layer.layer for layer in layers]),
        np.stack([layer.counts for layer in layers]).astype(np.int64, copy=False),
        *(None if column[0] is None else np.stack(column) for column in columns),
    )
