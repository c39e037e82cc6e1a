"""The two hooks of an MoE layer that is known: one before its experts, one after its router. They copy and return."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from moedesk.probe.cost import Cost
from moedesk.probe.room import Room
from moedesk.probe.routing import CallForm, read_routing
from moedesk.probe.scout import NO_NAMES, Binding
from moedesk.probe.tap import Current, Event, own, recomputing, small_integers


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
    """

    def __init__(self, binding: Binding, current: Current, with_logits: bool, cost: Cost) -> None:
        self._binding = binding
        self._current = current
        self._path = binding.candidate.path
        self._form: CallForm | None = None
        layer = binding.layer
        self._small = small_integers(layer.experts)
        self._ids_bytes = layer.top_k * self._small.itemsize
        self._row_bytes = self._ids_bytes + 4 * layer.top_k + 4 * layer.experts * (binding.router is not None)
        entered, routed = cost.timed(self._entered), cost.timed(self._routed)
        self._handles = [binding.candidate.experts.register_forward_pre_hook(entered, with_kwargs=True)]
        if binding.router is not None and with_logits:
            self._handles.append(binding.router.register_forward_hook(routed))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _entered(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        tap = self._current.tap
        if tap is None:
            self._current.stray()
            return
        if recomputing():
            return
        tap.seen = True
        if tap.room is Room.NOTHING:
            return
        found = self._form.read(args, kwargs) if self._form is not None else None
        if found is None:
            found = self._look(args, kwargs)
            if found is None:
                return
        choice, weights = found
        ids = choice.type(self._small)
        if ids is choice:
            ids = choice.clone()
        if tap.room is Room.COUNTS:
            tap.add(Event(self._binding, ids), len(ids) * self._ids_bytes)
            return
        logits, bias = tap.logits.pop(self._path, (None, None))
        tap.add(Event(self._binding, ids, own(weights), logits, bias), len(ids) * self._row_bytes)

    def _routed(self, module: nn.Module, args: Any, output: Any) -> None:
        tap = self._current.tap
        if tap is None or tap.room is not Room.EVERYTHING or recomputing():
            return
        binding = self._binding
        logits = binding.logits(output)
        if logits is not None:
            bias = getattr(*binding.bias) if binding.bias is not None else None
            tap.logits[self._path] = own(logits), None if bias is None else own(bias)

    def _look(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor] | None:
        """Look at all arguments of a call that is not like the one before."""
        routing = read_routing(args, kwargs)
        if routing is None:
            return None
        self._form = CallForm.of(args, kwargs, routing)
        if not routing.one_hot:
            return routing.choice, routing.weights
        ids = routing.ids()
        return ids, routing.weights.detach().masked_fill(ids < 0, 0)
