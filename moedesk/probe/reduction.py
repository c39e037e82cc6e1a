"""Events to columns: layers that are alike stacked, their logits reduced to entropy and margin. On whatever device they are."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moedesk.probe.ranking import entropies, margins
from moedesk.probe.scout import Binding, to_logits

if TYPE_CHECKING:
    from moedesk.probe.tap import Event

SERIAL = 32768
"""Elements up to which PyTorch works in the calling thread (``at::internal::GRAIN_SIZE``): with more, the courier would take
cores from the model, and leave the cache."""


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

    def on_its_way(self, take: Callable[[Tensor], Tensor]) -> "LayerGroup":
        """Return the same with each tensor replaced by what ``take`` gives for it."""
        columns = (self.weights, self.entropy, self.margin, self.logits)
        return LayerGroup(
            self.bindings, take(self.ids), *(None if column is None else take(column) for column in columns)
        )


@torch.inference_mode()
def reduce(events: Iterable["Event"], keep_logits: bool) -> list[LayerGroup]:
    """Return the events in groups."""
    return [_reduce(alike, keep_logits) for alike in _alike(events)]


def _alike(events: Iterable["Event"]) -> list[list["Event"]]:
    """Events that can be stacked."""
    groups: dict[tuple[object, ...], list[Event]] = {}
    for event in events:
        weights = None if event.weights is None else event.weights.dtype
        logits = None if event.logits is None else (event.logits.shape, event.logits.dtype)
        key = (
            event.binding.kind,
            event.ids.shape,
            event.ids.device,
            event.ids.dtype,
            weights,
            logits,
            event.bias is None,
        )
        groups.setdefault(key, []).append(event)
    return list(groups.values())


def _reduce(events: Sequence["Event"], keep_logits: bool) -> LayerGroup:
    bindings = tuple(event.binding for event in events)
    ids = _stack([event.ids for event in events])
    weights = [event.weights for event in events if event.weights is not None]
    if not weights:
        return LayerGroup(bindings, ids)
    columns = bindings, ids, _stack(weights, torch.float32)
    logits = [event.logits.reshape(ids.shape[1], -1) for event in events if event.logits is not None]
    if not logits:
        return LayerGroup(*columns)
    biases = [event.bias.flatten() for event in events if event.bias is not None]
    bias = _stack(biases, torch.float32).unsqueeze(1).to(ids.device) if biases else None
    return LayerGroup(*columns, *_entropy_and_margin(bindings[0], ids, logits, bias, keep_logits))


def _entropy_and_margin(
    binding: Binding, ids: Tensor, logits: Sequence[Tensor], bias: Tensor | None, keep_logits: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(L, N) entropy and margin and (L, N, E) logits, worked out in parts that fit a cache where that helps."""
    rule = binding.rule
    rows, experts = logits[0].shape
    entropy = torch.empty((len(logits), rows), device=ids.device)
    margin = torch.empty_like(entropy) if rule is not None else None
    kept = torch.empty((len(logits), rows, experts), device=ids.device) if keep_logits else None
    for part in _parts(len(logits), rows, experts, whole=not ids.is_cpu):
        some_layers, some_rows = part
        values = _stack([layer[some_rows] for layer in logits[some_layers]]).float()
        if binding.probabilities:
            values = to_logits(values)
        if kept is not None:
            kept[part] = values
        entropy[part], shares = entropies(values)
        if rule is not None and margin is not None:
            scores = rule.scores(values, None if bias is None else bias[some_layers], shares)
            margin[part] = margins(scores, ids[part].long())
    return entropy, margin, kept


def _parts(layers: int, rows: int, experts: int, whole: bool) -> Iterator[tuple[slice, slice]]:
    """Ranges of layers and rows of at most ``SERIAL`` elements each."""
    if whole:
        yield slice(0, layers), slice(0, rows)
        return
    some_layers = max(1, SERIAL // max(1, rows * experts))
    some_rows = rows if some_layers > 1 else max(1, SERIAL // experts)
    for layer in range(0, layers, some_layers):
        for row in range(0, rows, some_rows):
            yield slice(layer, layer + some_layers), slice(row, row + some_rows)


def _stack(tensors: Sequence[Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """The tensors stacked, in ``dtype`` if given; on the host without a second thread."""
    first = tensors[0]
    dtype = dtype or first.dtype
    if len(tensors) == 1 and first.dtype == dtype:
        return first.unsqueeze(0)
    if not first.is_cpu or len(tensors) * first.numel() <= SERIAL:
        return torch.stack(list(tensors)).to(dtype)
    stacked = torch.empty((len(tensors), *first.shape), dtype=dtype)
    for target, source in zip(stacked.flatten(1), tensors, strict=True):
        for some, values in zip(target.split(SERIAL), source.reshape(-1).split(SERIAL), strict=True):
            some.copy_(values)
    return stacked
