"""The hooks of one layer that may stop the model: they read its routing as the recording does, and may change it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapted_hooks import event_of
from moedesk.probe.adapters.adapted_scout import with_logits
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.breaking.second_forward import Rewrite, SecondForward
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.overriding.layer_override import LayerOverride
from moedesk.probe.overriding.rerouting import Rerouting
from moedesk.probe.taking.compiled import apart
from moedesk.probe.taking.event import Event
from moedesk.probe.taking.tap import own, recomputing, small_ids


@dataclass
class Reached:
    """A call of a layer that the model is in.

    Attributes
    ----------
    binding : Binding
    ids, weights, logits : tensor; weights and logits may be None
        Its routing, not copied.
    made : function
        Copies it.
    routing : Routing or None
        What the experts will get; None where that can't be changed.
    hidden : tensor or None
        What the layer, or its experts, were given, if it is known.
    allow : function
        Raises ``MoedeskError``, in a few words, if the routing can't be changed; told whether its ids are.
    """

    binding: Binding
    ids: Tensor
    weights: Tensor | None
    logits: Tensor | None
    made: Callable[[], Event]
    routing: Routing | None = None
    hidden: Tensor | None = None
    allow: Callable[[bool], None] = lambda ids: None

    @classmethod
    def of(
        cls,
        event: Event,
        routing: Routing | None = None,
        hidden: Tensor | None = None,
        allow: Callable[[bool], None] = lambda ids: None,
    ) -> Self:
        """Return the call that was copied already."""
        return cls(event.binding, event.ids, event.weights, event.logits, lambda: event, routing, hidden, allow)

    @cached_property
    def event(self) -> Event:
        """Copies of its routing, on the device."""
        return self.made()


Arrived = Callable[[Reached], Routing | None]
"""Takes a call; returns the routing that is used, or None to leave it as it is."""

Idle = Callable[[Binding], bool]
"""Whether the calls of a layer need not be read, until the pass ends."""

Refuse = Callable[[Binding, str], None]
"""Told that a layer can't be read any more, and why."""


class LayerWatch(Rerouting):
    """The hooks of one layer whose routing can be changed. They come after those of overrides, and before all that record.

    What was changed in a call is changed again where gradient checkpointing computes it a second time; nothing else happens
    there.

    Parameters
    ----------
    binding : Binding
    arrived : function
    refuse : function
    idle : function

    Attributes
    ----------
    asleep : bool
        Whether it is on for such second times only; it removes itself when there can be none any more.
    removed : bool
    """

    stops = True

    def __init__(self, binding: Binding, arrived: Arrived, refuse: Refuse, idle: Idle) -> None:
        super().__init__(binding, self._used)
        self._arrived, self._refuse, self._idle = arrived, refuse, idle
        self._second = SecondForward(binding.layer.path)
        self.asleep = self.removed = self._busy = False
        self._logits: Tensor | None = None
        self._hidden: Tensor | None = None
        self._handles: list[RemovableHandle] = []
        beside, adapter = binding.router, binding.adapter
        if adapter is not None:
            beside = adapter.module(binding.candidate.block, adapter.logits) if adapter.logits else None
        if beside is not None:
            self._handles.append(beside.register_forward_hook(self._after_router))
        self.__enter__()
        self.arrange()

    def arrange(self) -> None:
        """Take the place after overrides and before what records, which may have been put on anew."""
        for hooks in (self._binding.hooked._forward_pre_hooks, self._binding.hooked._forward_hooks):
            arrange(hooks)

    @property
    def awaited(self) -> bool:
        """Whether a call that was changed, or may yet be, may be computed a second time."""
        return self._busy or self._second.awaited

    def remove(self) -> None:
        """Take the hooks off."""
        self.removed = True
        self.__exit__()
        for handle in self._handles:
            handle.remove()

    @apart
    def _after_router(self, module: Any, args: Any, output: Any) -> None:
        if self.asleep or recomputing() or self._rests:
            return
        logits = self._binding.logits(output)
        self._logits = None if logits is None else own(logits)

    @property
    def _rests(self) -> bool:
        """Whether nothing is to be done in a call, not even noted for a second one."""
        return not torch.is_grad_enabled() and not self._binding.hooked.training and self._idle(self._binding)

    @apart
    def _before(self, module: Any, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> Any:
        if self._rests:
            return None
        self._hidden = first_tensor((*args, *kwargs.values()))
        return super()._before(module, args, kwargs)

    @apart
    def _after(self, module: Any, args: Any, *rest: Any) -> Any:
        if self._rests:
            return None
        self._hidden = first_tensor(args)
        return super()._after(module, args, *rest)

    def _adapted(self, module: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> Any:
        adapter = self._binding.adapter
        assert adapter is not None
        assert adapter.write is not None
        try:
            routing = adapter.routing(module, args, kwargs, output)
            rewrite = None if routing is None else self._rewrite(routing)
            given = None if rewrite is None else adapter.routing(module, args, kwargs, output, graph=True)
            if rewrite is None or given is None:
                return None
            return adapter.write(module, args, kwargs, output, rewrite.of(given))
        except MoedeskError as error:
            self.remove()
            self._refuse(self._binding, str(error))
            return None

    def _used(self, routing: Routing) -> Routing:
        rewrite = self._rewrite(routing)
        return routing if rewrite is None else rewrite.of(routing)

    def _rewrite(self, routing: Routing) -> Rewrite | None:
        """What is to be made of the routing of a call."""
        logits, self._logits = self._logits, None
        hidden, self._hidden = self._hidden, None
        if not routing.ids.numel():
            return None
        if recomputing():
            return self._second.again(routing)
        self._busy = not self.asleep
        try:
            changed = None if self.asleep else self._changed(routing, logits, hidden)
        finally:
            self._busy = False
        # Reentrant checkpointing runs it without gradients.
        if torch.is_grad_enabled() or self._binding.hooked.training:
            self._second.note(routing, changed)
        if self.asleep and not self.awaited:
            self.remove()
        return changed

    def _changed(self, routing: Routing, logits: Tensor | None, hidden: Tensor | None) -> Rewrite | None:
        if self._binding.adapter is not None:
            routing = with_logits(routing, logits)
            logits = routing.logits
        copied = partial(_copied, self._binding, routing, logits)
        reached = Reached(self._binding, routing.ids, routing.weights, logits, copied, routing, hidden)
        used = self._arrived(reached)
        return None if used is None else Rewrite.between(routing, used)


def _copied(binding: Binding, routing: Routing, logits: Tensor | None) -> Event:
    """The routing of a call, as a recording copies it."""
    if binding.adapter is not None:
        return event_of(binding, routing)
    bias = None if binding.bias is None else own(getattr(*binding.bias))
    weights = own(routing.weights).masked_fill_(routing.ids < 0, 0)
    return Event(binding, small_ids(routing.ids, binding.layer.experts), weights, logits, bias)


def arrange(hooks: Any) -> None:
    """Put overrides first, which also change the routing, then what sees what they made of it, then all others."""
    ranks = [_rank(hook) for hook in hooks.values()]
    if ranks != sorted(ranks):
        for key, _ in sorted(hooks.items(), key=lambda item: _rank(item[1])):
            hooks.move_to_end(key)


def _rank(hook: Any) -> int:
    owner = getattr(hook, "__self__", None)
    return 1 if getattr(owner, "stops", False) else 0 if isinstance(owner, Rerouting | LayerOverride) else 2
