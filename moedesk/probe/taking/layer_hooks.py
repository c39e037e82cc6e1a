"""The two hooks of an MoE layer that is known: one before its experts, one after its router. They hold or copy, and return.

They run for every layer of every pass, so they are closures, they time themselves, and they do nothing that can wait.
"""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.core.columns import expert_dtype
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.routing import CallForm, read_routing
from moedesk.probe.taking.compiled import in_graphs
from moedesk.probe.taking.cost import Cost
from moedesk.probe.taking.graph_tap import GraphTap
from moedesk.probe.taking.held import FEW, Source
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.tap import Current, Event, Tap, own, recomputing, small_integers

Integers = Callable[[Tensor], Tensor]

_SMALL: dict[int, Integers] = {1: Tensor.char, 2: Tensor.short, 4: Tensor.int}
"""Conversions to integers of so many bytes; twice as fast as ``Tensor.to``."""


class LayerHooks:
    """Hooks of one layer.

    Parameters
    ----------
    binding : Binding
    current : Current
        Says whether a pass is under way.
    with_logits : bool
        Whether the router is hooked too.
    cost : Cost
        Takes the time in the hooks.
    """

    def __init__(self, binding: Binding, current: Current, with_logits: bool, cost: Cost) -> None:
        experts, router, source = binding.candidate.experts, binding.router, Source(binding)
        self._graph = GraphTap(binding, current, cost)
        before = in_graphs(_before_experts(source, current, cost), self._graph.before_experts)
        self._handles = [experts.register_forward_pre_hook(before, with_kwargs=True)]
        if router is not None and with_logits:
            after = in_graphs(_after_router(source, current, cost), self._graph.after_router)
            self._handles.append(router.register_forward_hook(after))

    def remove(self) -> None:
        """Take the hooks off."""
        self._graph.remove()
        for handle in self._handles:
            handle.remove()


def _before_experts(source: Source, current: Current, cost: Cost) -> Callable[..., None]:
    path = source.binding.candidate.path
    copier = _Copier(source)
    length, ids_at, weights_at = 0, 0, 0

    def entered(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        nonlocal length, ids_at, weights_at
        tap = current.tap
        if tap is None:
            current.stray()
            return
        began = perf_counter_ns()
        if recomputing():
            return
        tap.seen = True
        held = tap.held
        if held is not None and source.trusted and len(args) == length:
            ids, weights = args[ids_at], args[weights_at]
            try:
                if ids.is_cpu:  # asked each time: a model may move
                    held.append((source, ids, ids._version, weights, weights._version, tap.logits.pop(path, None)))
                    cost.hook_ns += perf_counter_ns() - began
                    return
            except (RuntimeError, AttributeError):  # tensors made in inference mode, or other things
                pass
        if tap.room is not Room.NOTHING:
            form = copier.take(tap, args, kwargs)
            if form is not None and form.positions is not None:
                length, (ids_at, weights_at) = len(args), form.positions
        cost.hook_ns += perf_counter_ns() - began

    return entered


class _Copier:
    """Copies what a layer's experts are called with."""

    def __init__(self, source: Source) -> None:
        self._source = source
        layer = source.binding.layer
        self._small = expert_dtype(layer.experts).itemsize
        self._integers = small_integers(layer.experts)
        self._ids_bytes = layer.top_k * self._small
        self._row_bytes = self._ids_bytes + 4 * layer.top_k + 4 * layer.experts * (source.binding.router is not None)
        self._form: CallForm | None = None

    def take(self, tap: Tap, args: Sequence[Any], kwargs: Mapping[str, Any]) -> CallForm | None:
        """Put a copy into the tap; return the form of the call."""
        form, binding = self._form, self._source.binding
        found = form.read(args, kwargs) if form is not None else None
        if found is None:
            routing = read_routing(args, kwargs)
            if routing is None:
                return None
            self._form = CallForm.of(args, kwargs, routing)
            ids = routing.ids()
            choice, weights = ids, routing.weights
            if routing.one_hot:
                weights = weights.detach().masked_fill(ids < 0, 0)
        else:
            choice, weights = found
        rows, on_host = choice.shape[0], choice.is_cpu
        long = on_host and rows > FEW
        if long:
            ids = tap.shelves.copy("ids", choice, self._integers)
        elif on_host:  # to convert a few here costs the model more than it saves
            ids = choice.clone()
        else:
            ids = choice.clone() if choice.itemsize == self._small else _SMALL[self._small](choice)
        if tap.room >= Room.ROUTES:
            logits, bias = tap.owned_logits(self._source)
            weights = tap.shelves.copy("weights", weights, torch.float32) if long else own(weights)
            tap.add(Event(binding, ids, weights, logits, bias), rows * self._row_bytes)
        else:
            tap.add(Event(binding, ids), rows * self._ids_bytes)
        return self._form if on_host else None


def _after_router(source: Source, current: Current, cost: Cost) -> Callable[..., None]:
    binding = source.binding
    path, place = binding.candidate.path, binding.logits_at

    def routed(module: nn.Module, args: Any, output: Any) -> None:
        tap = current.tap
        if tap is None:
            return
        began = perf_counter_ns()
        if not tap.takes_logits():
            return
        held = tap.held is not None and source.trusted
        logits = output[place] if place >= 0 else output
        bias = None if binding.bias is None else getattr(*binding.bias)
        if held:
            try:
                if logits.is_cpu:
                    tap.logits[path] = logits, logits._version, bias, -1 if bias is None else bias._version
                    cost.hook_ns += perf_counter_ns() - began
                    return
            except (RuntimeError, AttributeError):
                pass
        if isinstance(logits, Tensor) and not recomputing():
            tap.logits[path] = tap.copy("logits", logits), -1, None if bias is None else own(bias), -1
        cost.hook_ns += perf_counter_ns() - began

    return routed
