"""The two hooks of an MoE layer that is known: one before its experts, one after its router. They copy and return.

They run for every layer of every pass, so they are closures, they time themselves, and they do nothing that can wait.
"""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import Any

from torch import Tensor, nn

from moedesk.core.columns import expert_dtype
from moedesk.probe.binding import Binding
from moedesk.probe.cost import Cost
from moedesk.probe.lookout import NO_NAMES
from moedesk.probe.room import Room
from moedesk.probe.routing import CallForm, read_routing
from moedesk.probe.tap import Current, Event, own, recomputing

Integers = Callable[[Tensor], Tensor]

FEW = 64
"""Rows up to which ids on the host are copied as they are; to convert them here costs the model more than it saves."""

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
        experts, router = binding.candidate.experts, binding.router
        self._handles = [experts.register_forward_pre_hook(_before_experts(binding, current, cost), with_kwargs=True)]
        if router is not None and with_logits:
            self._handles.append(router.register_forward_hook(_after_router(binding, current, cost)))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()


def _before_experts(binding: Binding, current: Current, cost: Cost) -> Callable[..., None]:
    layer, path = binding.layer, binding.candidate.path
    small = expert_dtype(layer.experts).itemsize
    ids_bytes = layer.top_k * small
    row_bytes = ids_bytes + 4 * layer.top_k + 4 * layer.experts * (binding.router is not None)
    form: CallForm | None = None

    def entered(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        nonlocal form
        tap = current.tap
        if tap is None:
            current.stray()
            return
        began = perf_counter_ns()
        if recomputing():
            return
        tap.seen = True
        if tap.room is Room.NOTHING:
            return
        found = form.read(args, kwargs) if form is not None else None
        if found is None:
            routing = read_routing(args, kwargs)
            if routing is None:
                return
            form = CallForm.of(args, kwargs, routing)
            ids = routing.ids()
            choice, weights = ids, routing.weights
            if routing.one_hot:
                weights = weights.detach().masked_fill(ids < 0, 0)
        else:
            choice, weights = found
        few = choice.shape[0] <= FEW and choice.is_cpu
        ids = choice.clone() if few or choice.itemsize == small else _SMALL[small](choice)
        if tap.room is Room.EVERYTHING:
            logits, bias = tap.logits.pop(path, (None, None))
            weights = weights.detach().clone() if weights.requires_grad else weights.clone()
            tap.add(Event(binding, ids, weights, logits, bias), choice.shape[0] * row_bytes)
        else:
            tap.add(Event(binding, ids), choice.shape[0] * ids_bytes)
        cost.hook_ns += perf_counter_ns() - began

    return entered


def _after_router(binding: Binding, current: Current, cost: Cost) -> Callable[..., None]:
    path, place = binding.candidate.path, binding.logits_at

    def routed(module: nn.Module, args: Any, output: Any) -> None:
        tap = current.tap
        if tap is None:
            return
        began = perf_counter_ns()
        if tap.room is not Room.EVERYTHING or recomputing():
            return
        logits = output[place] if place >= 0 else output
        if isinstance(logits, Tensor):
            logits = logits.detach().clone() if logits.requires_grad else logits.clone()
            tap.logits[path] = logits, None if binding.bias is None else own(getattr(*binding.bias))
        cost.hook_ns += perf_counter_ns() - began

    return routed
