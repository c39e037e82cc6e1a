"""What hooks take from the device: small copies, reduced and sent to the host without making the device wait."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moedesk.core.columns import expert_dtype
from moedesk.probe.ranking import entropies, margins
from moedesk.probe.scout import Binding, to_logits

HELD_LOGITS = 1 << 20
"""Bytes of logits held on the device before they are reduced: all layers at once in decoding, which saves launches; one or two
in a long prefill, which stays in a processor's cache."""

_INTEGERS = {"int8": torch.int8, "int16": torch.int16, "int32": torch.int32}


class Transfer:
    """Copies of one pass on their way to the host.

    On CUDA they go to pinned memory and ``wait`` waits for an event, on the writer's thread; on other devices ``host`` copies
    there and then, on the writer's thread as well.
    """

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []
        self._devices: set[torch.device] = set()

    def take(self, tensor: Tensor) -> Tensor:
        """Start the copy of a tensor that nobody changes any more."""
        tensor = tensor.detach()
        if not tensor.is_cuda:
            return tensor
        self._devices.add(tensor.device)
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def copy(self, tensor: Tensor) -> Tensor:
        """Start the copy of a tensor that the model or the caller may change later."""
        return self.take(tensor) if tensor.is_cuda else tensor.detach().clone()

    def send(self) -> None:
        """Mark the end of the copies."""
        for device in self._devices:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(device))
            self._events.append(event)

    def wait(self) -> None:
        """Wait until the copies have arrived."""
        for event in self._events:
            event.synchronize()


@dataclass(frozen=True)
class Event:
    """One layer's routing in one call of its experts, on the device.

    Attributes
    ----------
    ids : (N, k) int8, int16 or int32 tensor
    weights : (N, k) float32 tensor or None
    logits : (N, E) float tensor or None
    """

    binding: Binding
    ids: Tensor
    weights: Tensor | None = None
    logits: Tensor | None = None


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


def small_ids(ids: Tensor, experts: int) -> Tensor:
    """Return a copy of expert ids in the smallest integers that hold them."""
    return ids.detach().to(_INTEGERS[expert_dtype(experts).name], copy=True)


@dataclass
class Collector:
    """Gathers the events of one pass into groups.

    Parameters
    ----------
    transfer : Transfer
    keep_logits : bool
        Whether logits go to the host too.
    """

    transfer: Transfer
    keep_logits: bool = False
    groups: list[LayerGroup] = field(default_factory=list)
    _held: list[Event] = field(default_factory=list)
    _bytes: int = 0

    def add(self, event: Event) -> None:
        """Take one event."""
        self._held.append(event)
        if event.logits is not None:
            self._bytes += event.logits.numel() * event.logits.element_size()
            if self._bytes > HELD_LOGITS:
                self.flush()

    def flush(self) -> None:
        """Reduce what is held and start its copies to the host."""
        with torch.no_grad():
            for events in _alike(self._held):
                self.groups.append(self._reduce(events))
        self._held.clear()
        self._bytes = 0

    def _reduce(self, events: list[Event]) -> LayerGroup:
        ids = _stack([event.ids for event in events])
        take = self.transfer.take
        bindings = tuple(event.binding for event in events)
        weights = [event.weights for event in events if event.weights is not None]
        logits = [event.logits for event in events if event.logits is not None]
        if not weights:
            return LayerGroup(bindings, take(ids))
        if not logits:
            return LayerGroup(bindings, take(ids), take(_stack(weights)))
        scores = _stack(logits).float()
        if bindings[0].probabilities:
            scores = to_logits(scores)
        entropy, shares = entropies(scores)
        return LayerGroup(
            bindings,
            take(ids),
            take(_stack(weights)),
            take(entropy),
            _margin(bindings, scores, shares, ids, self.transfer),
            take(scores) if self.keep_logits else None,
        )


def _margin(
    bindings: tuple[Binding, ...], logits: Tensor, shares: Tensor, ids: Tensor, transfer: Transfer
) -> Tensor | None:
    rule = bindings[0].rule
    if rule is None:
        return None
    bias = None
    if rule.biased:
        sources = [getattr(*binding.bias) for binding in bindings if binding.bias is not None]
        bias = torch.stack([source.detach().flatten() for source in sources]).float().unsqueeze(1).to(logits.device)
    return transfer.take(margins(rule.scores(logits, bias, shares), ids.long()))


def _stack(tensors: list[Tensor]) -> Tensor:
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(tensors)


def _alike(events: Iterable[Event]) -> list[list[Event]]:
    """Events that can be stacked."""
    groups: dict[tuple[object, ...], list[Event]] = {}
    for event in events:
        logits = None if event.logits is None else (event.logits.shape, event.logits.dtype)
        binding = event.binding
        key = (
            event.ids.shape, event.ids.device, event.ids.dtype, event.weights is None, logits,
            binding.rule, binding.probabilities, binding.layer.experts,
        )  # fmt: skip
        groups.setdefault(key, []).append(event)
    return list(groups.values())
