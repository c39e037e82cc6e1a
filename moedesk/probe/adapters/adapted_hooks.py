"""The hook of an MoE layer that an adapter reads: reads, copies, and returns; a layer that stops fitting is left out by name."""

from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.core.columns import expert_dtype
from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapted_scout import with_logits
from moedesk.probe.adapters.adapter import ABSENT, Routing
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.taking.compiled import apart
from moedesk.probe.taking.cost import Cost
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.tap import Current, Event, Tap, own, recomputing, small_integers


class AdaptedHooks:
    """The hook of one layer, until it is removed or a call can't be read.

    Parameters
    ----------
    binding : Binding
        One with an adapter.
    current : Current
        Says whether a pass is under way.
    with_logits : bool
        Whether logits are taken.
    cost : Cost
        Takes the time in the hook.
    refuse : function
        Told why a call could not be read, in one line; no more calls are read then.
    """

    def __init__(
        self, binding: Binding, current: Current, with_logits: bool, cost: Cost, refuse: Callable[[str], None]
    ) -> None:
        assert binding.adapter is not None
        self._binding, self._adapter = binding, binding.adapter
        self._current, self._cost = current, cost
        self._with_logits = with_logits
        self._refuse = refuse
        layer = binding.layer
        itemsize = expert_dtype(layer.experts).itemsize
        self._row_bytes = layer.top_k * (itemsize + 4) + 4 * layer.experts * with_logits
        hooked = binding.hooked
        self._logits: Tensor | None = None
        self._handles: list[RemovableHandle] = []
        if self._adapter.logits and with_logits:
            beside = self._adapter.module(binding.candidate.block, self._adapter.logits)
            self._handles.append(beside.register_forward_hook(self._after_logits))
        if self._adapter.when == "before":
            self._handles.append(hooked.register_forward_pre_hook(self._before, with_kwargs=True))
        else:
            self._handles.append(hooked.register_forward_hook(self._after, with_kwargs=True, prepend=True))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _after_logits(self, module: nn.Module, args: Any, output: Any) -> None:
        tap = self._current.tap
        if tap is not None and isinstance(output, Tensor) and not recomputing() and tap.takes_logits():
            self._logits = own(output)

    @apart
    def _before(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        self._take(module, args, kwargs, None)

    @apart
    def _after(self, module: nn.Module, args: Any, *rest: Any) -> None:
        self._take(module, args, rest[0] if len(rest) > 1 else NO_NAMES, rest[-1])

    def _take(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        tap = self._current.tap
        if tap is None:
            self._current.stray()
            return
        began = perf_counter_ns()
        if recomputing():
            return
        tap.seen = True
        if tap.room is Room.NOTHING:
            return
        try:
            routing = self._adapter.routing(module, args, kwargs, output)
            logits, self._logits = self._logits, None
            if routing is not None and routing.ids.numel():
                routing = with_logits(routing, logits)
                self._check(routing)
                tap.add(self._event(routing, tap), routing.ids.shape[0] * self._row_bytes)
        except MoedeskError as error:
            self.remove()
            self._refuse(f"adapter {self._adapter.name!r}: {error}")
        self._cost.hook_ns += perf_counter_ns() - began

    def _check(self, routing: Routing) -> None:
        """Whether it still has the shapes of the first call; ids out of range are found on the host."""
        layer, slots = self._binding.layer, routing.ids.shape[-1]
        if slots != layer.top_k:
            raise MoedeskError(f"its ids have {slots} slots a token, before it were {layer.top_k}")
        if routing.logits is not None and routing.logits.shape[-1] != layer.experts:
            raise MoedeskError(
                f"its logits have {routing.logits.shape[-1]} columns, but there are {layer.experts} experts"
            )

    def _event(self, routing: Routing, tap: Tap) -> Event:
        if tap.room < Room.ROUTES:
            return Event(self._binding, narrow(routing.ids, self._binding.layer.experts))
        known = self._with_logits and routing.logits is not None
        return event_of(self._binding, routing, known and tap.takes_logits())


def event_of(binding: Binding, routing: Routing, with_logits: bool = True) -> Event:
    """Return copies of a layer's routing, as an adapter read it."""
    ids = narrow(routing.ids, binding.layer.experts)
    logits = None if routing.logits is None or not with_logits else own(routing.logits)
    bias = None if logits is None or binding.bias is None else own(getattr(*binding.bias))
    return Event(binding, ids, routing.weights.clone(), logits, bias)


def narrow(ids: Tensor, experts: int) -> Tensor:
    """Return a copy in small integers; a wrong id stays one: E stands for any above, one less than ``ABSENT`` for any below."""
    return ids.clamp(ABSENT - 1, experts).to(small_integers(experts))
