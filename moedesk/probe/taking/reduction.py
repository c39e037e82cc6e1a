"""Events to columns: layers that are alike stacked, their logits reduced to entropy and margin. On whatever device they are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moedesk.core.columns import expert_dtype
from moedesk.probe.finding.binding import Binding
from moedesk.probe.taking import small_reduction
from moedesk.probe.taking.certainty import as_logits, entropy_and_margin
from moedesk.probe.taking.event import Event, Stack, alike
from moedesk.probe.taking.host_certainty import SERIAL, entropies_and_margins
from moedesk.probe.taking.reused import MEMORY
from moedesk.probe.taking.shelves import together

_INTEGERS = {"int8": torch.int8, "int16": torch.int16, "int32": torch.int32}


@dataclass(frozen=True)
class LayerGroup:
    """The routing of layers that are alike, stacked: L layers, N rows.

    Attributes
    ----------
    bindings : tuple of Binding
    ids : (L, N, k) int tensor
    weights : (L, N, k) float32 tensor or None
    entropy, margin : (L, N) float32 tensor or None
    logits : (L, N, E) float32 tensor or None
    """

    bindings: tuple[Binding, ...]
    ids: Tensor
    weights: Tensor | None = None
    entropy: Tensor | None = None
    margin: Tensor | None = None
    logits: Tensor | None = None

    def without_logits(self) -> "LayerGroup":
        """Return the same with ids and weights only."""
        return LayerGroup(self.bindings, self.ids, self.weights)

    def on_its_way(self, take: Callable[[Tensor], Tensor]) -> "LayerGroup":
        """Return the same with each tensor replaced by what ``take`` gives for it."""
        columns = (self.weights, self.entropy, self.margin, self.logits)
        return LayerGroup(
            self.bindings, take(self.ids), *(None if column is None else take(column) for column in columns)
        )


@torch.inference_mode()
def reduce(events: Iterable[Event | Stack], keep_logits: bool) -> list[LayerGroup]:
    """Return the events in groups."""
    return [_reduce(group, keep_logits) for group in alike(events)]


def _reduce(group: Stack | Sequence[Event], keep_logits: bool) -> LayerGroup:
    if _is_small(group):
        return _reduce_small(group if isinstance(group, Stack) else Stack.of(group), keep_logits)
    events = group.events() if isinstance(group, Stack) else group
    bindings = tuple(event.binding for event in events)
    ids = _stack([event.ids for event in events], _INTEGERS[expert_dtype(bindings[0].layer.experts).name])
    weights = [event.weights for event in events if event.weights is not None]
    if not weights:
        return LayerGroup(bindings, ids)
    columns = bindings, ids, _stack(weights, torch.float32)
    rows = ids.shape[1]
    logits = [event.logits for event in events if event.logits is not None]
    if not logits:
        return LayerGroup(*columns)
    if logits[0].ndim != 2:
        logits = [layer.reshape(rows, -1) for layer in logits]
    biases = [event.bias.flatten() for event in events if event.bias is not None]
    bias = _stack(biases, torch.float32).unsqueeze(1).to(ids.device) if biases else None
    values = _stack(logits)
    if ids.is_cpu and values.numel() > SERIAL:
        entropy, margin = entropies_and_margins(bindings[0], ids, values, bias)
        values = as_logits(bindings[0], values) if keep_logits else values
    else:
        entropy, margin, values = entropy_and_margin(bindings[0], ids, values, bias)
    return LayerGroup(*columns, entropy, margin, values if keep_logits else None)


def _is_small(group: Stack | Sequence[Event]) -> bool:
    if isinstance(group, Stack):
        binding, ids, logits, layers = group.bindings[0], group.ids, group.logits, 1
    else:
        (binding, ids, _, logits, _), layers = group[0], len(group)
    largest = ids if logits is None else logits
    return ids.is_cpu and largest.is_cpu and small_reduction.is_small(layers * largest.numel(), binding.rule)


def _reduce_small(stack: Stack, keep_logits: bool) -> LayerGroup:
    """The same in NumPy; tensors around its arrays share their memory."""
    binding = stack.bindings[0]
    ids = stack.ids.numpy().astype(expert_dtype(binding.layer.experts))
    columns: list[np.ndarray | None] = [None, None, None, None]
    if stack.weights is not None:
        columns[0] = small_reduction.floats(stack.weights)
    if stack.weights is not None and stack.logits is not None:
        values = small_reduction.floats(stack.logits).reshape(*ids.shape[:2], -1)
        if binding.probabilities:
            values = small_reduction.to_logits(values)
        columns[1], shares = small_reduction.entropies(values)
        if binding.rule is not None:
            bias = None if stack.bias is None else small_reduction.floats(stack.bias)
            columns[2] = small_reduction.margins(small_reduction.scores(binding.rule, values, bias, shares), ids)
        columns[3] = values if keep_logits else None
    return LayerGroup(
        stack.bindings,
        torch.from_numpy(ids),
        *(None if column is None else torch.from_numpy(column) for column in columns),
    )


def _stack(tensors: Sequence[Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """The tensors stacked, in ``dtype`` if given; on the host without a second thread."""
    first = tensors[0]
    dtype = dtype or first.dtype
    if len(tensors) == 1 and first.dtype == dtype:
        return first.unsqueeze(0)
    if first.dtype == dtype and (stacked := together(tensors)) is not None:
        return stacked
    if not first.is_cpu or len(tensors) * first.numel() <= SERIAL:
        return torch.stack(list(tensors)).to(dtype)
    stacked = MEMORY.empty((len(tensors), *first.shape), dtype)
    if first.dtype == dtype and dtype != torch.bfloat16:  # in one call, so that the model's thread gets the lock once
        np.stack([tensor.numpy() for tensor in tensors], out=stacked.numpy())
        return stacked
    for target, source in zip(stacked, tensors, strict=True):
        if source.numel() <= SERIAL:
            target.copy_(source)
            continue
        for some, values in zip(target.view(-1).split(SERIAL), source.reshape(-1).split(SERIAL), strict=True):
            some.copy_(values)
    return stacked
