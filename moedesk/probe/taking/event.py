"""What hooks take: the routing of one layer in one call of its experts, or of alike layers together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from moedesk.probe.finding.binding import Binding

Columns = tuple[Tensor, ...] | list[Tensor]

T = TypeVar("T")


class Event(NamedTuple):
    """One layer's routing in one call of its experts: copies, on the device.

    Attributes
    ----------
    binding : Binding
    ids : (N, k) int8, int16 or int32 tensor
    weights : (N, k) float tensor or None
    logits : (…, E) float tensor of N rows, or None
    bias : tensor of E floats, or None
        What the router added to its scores, if it did.
    """

    binding: Binding
    ids: Tensor
    weights: Tensor | None = None
    logits: Tensor | None = None
    bias: Tensor | None = None

    def without_logits(self) -> "Event":
        """Return the same with ids and weights only."""
        return self._replace(logits=None, bias=None)


class Stack(NamedTuple):
    """Copies of what L alike layers did in one call each, N rows.

    Attributes
    ----------
    bindings : tuple of Binding
    ids : (L, N, k) int tensor
    weights : (L, N, k) float tensor or None
    logits : (L, N, E) float tensor or None
    bias : (L, 1, E) float tensor or None
    """

    bindings: tuple[Binding, ...]
    ids: Tensor
    weights: Tensor | None = None
    logits: Tensor | None = None
    bias: Tensor | None = None

    @classmethod
    def of(cls, events: Sequence[Event]) -> Self:
        """Return events that are alike, stacked."""
        bindings, ids, *columns = zip(*events, strict=True)
        return cls.stacked(bindings, ids, *([tensor for tensor in column if tensor is not None] for column in columns))

    @classmethod
    def stacked(
        cls,
        bindings: tuple[Binding, ...],
        ids: Columns,
        weights: Columns,
        logits: Columns,
        biases: Columns,
    ) -> Self:
        """Return columns, each with a tensor for every layer or empty, stacked."""
        all_ids = torch.stack(ids)
        all_logits = torch.stack(logits) if logits else None
        if all_logits is not None and all_logits.ndim != 3:
            all_logits = all_logits.reshape(*all_ids.shape[:2], -1)
        bias = torch.stack(biases).reshape(len(biases), 1, -1) if biases else None
        return cls(bindings, all_ids, torch.stack(weights) if weights else None, all_logits, bias)

    def without_logits(self) -> "Stack":
        """Return the same with ids and weights only."""
        return self._replace(logits=None, bias=None)

    @property
    def nbytes(self) -> int:
        """What its tensors take."""
        return sum(tensor.nbytes for tensor in self[1:] if isinstance(tensor, Tensor))

    def events(self) -> list[Event]:
        """Return the same, layer by layer."""
        columns = (
            [None] * len(self.bindings) if column is None else column.unbind()
            for column in (self.weights, self.logits, self.bias)
        )
        return [Event(*values) for values in zip(self.bindings, self.ids.unbind(), *columns, strict=True)]


def alike(events: Iterable[Event | Stack]) -> "list[Stack | list[Event]]":
    """Return events that can be stacked together, and those that are stacked; a layer's calls are in order, none in one group."""
    groups: dict[tuple[object, ...], Stack | list[Event]] = {}
    calls = Calls()
    for event in events:
        if isinstance(event, Stack):
            groups[calls.number(*(binding.candidate.path for binding in event.bindings)), id(event)] = event
            continue
        weights = None if event.weights is None else event.weights.dtype
        logits = None if event.logits is None else (event.logits.shape, event.logits.dtype)
        key = (
            calls.number(event.binding.candidate.path),
            event.binding.kind,
            event.ids.shape,
            event.ids.device,
            event.ids.dtype,
            weights,
            logits,
            event.bias is None,
        )
        group = groups.setdefault(key, [])
        assert isinstance(group, list)
        group.append(event)
    return in_order(groups)


class Calls:
    """Numbers the calls of layers in one pass: the first of each is 0, and a later one has a higher number."""

    def __init__(self) -> None:
        self._next: dict[object, int] = {}

    def number(self, *layers: object) -> int:
        """Return the number of a call of some layers together."""
        number = max(self._next.get(layer, 0) for layer in layers)
        self._next.update(dict.fromkeys(layers, number + 1))
        return number


def in_order(groups: Mapping[tuple[object, ...], T]) -> list[T]:
    """Return groups by the number that their keys begin with."""
    return [groups[key] for key in sorted(groups, key=_first)]


_first: Callable[[tuple[object, ...]], Any] = itemgetter(0)
