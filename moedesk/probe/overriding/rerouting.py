"""Changes which experts a layer uses and with which weights, on its way in: the base of overrides and of self-tests."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.routing import ExpertsCall, read_routing

Change = Callable[[Routing], Routing]
"""Takes the routing that the router decided, a row for each token; returns the one that is used, or the very same to leave the
call alone."""


class Rerouting:
    """While entered, a layer uses what ``change`` makes of its routing; calls that it returns as they are stay untouched.

    Hooks that were there come after it: what records the routing sees what is used.

    Parameters
    ----------
    binding : Binding
        Of a layer that can be rerouted, see ``can_reroute``.
    change : function
        Called once for every call of the layer. It may read the device only if the caller can wait for it.
    """

    def __init__(self, binding: Binding, change: Change) -> None:
        if not can_reroute(binding):
            name = binding.layer.adapter
            raise MoedeskError(f"adapter {name!r} can't change the routing of {binding.layer.path}: it has no write=")
        self._binding = binding
        self._change = change

    def __enter__(self) -> Self:
        hooked, adapter = self._binding.hooked, self._binding.adapter
        if adapter is None or adapter.when == "before":
            self._handle = hooked.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True)
        else:
            self._handle = hooked.register_forward_hook(self._after, with_kwargs=True, prepend=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.remove()

    def _before(self, module: Any, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> Any:
        if self._binding.adapter is not None:
            return self._adapted(module, args, kwargs, None)
        call = read_routing(args, kwargs)
        return None if call is None else rewritten(args, kwargs, call, self._change)

    def _after(self, module: Any, args: Any, *rest: Any) -> Any:
        return self._adapted(module, args, rest[0] if len(rest) > 1 else NO_NAMES, rest[-1])

    def _adapted(self, module: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> Any:
        adapter = self._binding.adapter
        assert adapter is not None
        assert adapter.write is not None
        routing = adapter.routing(module, args, kwargs, output)
        if routing is None:
            return None
        changed = self._change(routing)
        return None if changed is routing else adapter.write(module, args, kwargs, output, changed)


def can_reroute(binding: Binding) -> bool:
    """Return whether the routing of a layer can be changed: the generic rule's always, an adapter's if it can write."""
    return binding.adapter is None or binding.adapter.write is not None


def rewritten(
    args: Sequence[Any], kwargs: Mapping[str, Any], call: ExpertsCall, change: Change
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the arguments of an experts module with its routing changed; None if nothing changed.

    Parameters
    ----------
    args, kwargs
        Of the module's call.
    call : ExpertsCall
        Read from them.
    change : function
    """
    routing = Routing(call.ids(), call.weights)
    return written(args, kwargs, call, routing, change(routing))


def written(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    call: ExpertsCall,
    given: Routing,
    changed: Routing,
    drops: bool = True,
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the arguments of an experts module with the routing that it is given changed; None if nothing changed.

    Parameters
    ----------
    drops : bool
        Whether a slot may have been dropped, and has the id -1.
    """
    if changed is given:
        return None
    choice, weights = call.choice, changed.weights
    if weights.dtype is not call.weights.dtype:
        weights = weights.to(call.weights)
    if changed.ids is not given.ids:
        if drops and not call.one_hot:
            weights = weights.masked_fill(changed.ids < 0, 0)
        choice = _choice(call, changed.ids, drops)
    return with_routing(args, kwargs, (call.choice, call.weights), (choice, weights))


def with_routing(
    args: Sequence[Any], kwargs: Mapping[str, Any], given: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with other tensors in the place of the choice and the weights that are among them."""
    instead = {id(one): other for one, other in zip(given, new, strict=True)}
    return tuple([instead.get(id(value), value) for value in args]), {
        name: instead.get(id(value), value) for name, value in kwargs.items()
    }


def _choice(call: ExpertsCall, ids: Tensor, drops: bool) -> Tensor:
    """Ids in the form that the call has: a dropped slot is an empty row of a mask, and else any id, which gets no weight."""
    if not call.one_hot:
        return (ids.clamp(min=0) if drops else ids).to(call.choice)
    return (ids.unsqueeze(-1) == torch.arange(call.choice.shape[-1], device=ids.device)).to(call.choice)


def unchanged(routing: Routing) -> Routing:
    """Return the routing itself: the change that changes nothing."""
    return routing


def without(expert: int | None) -> Change:
    """Return the change that switches one expert off, or none."""
    return unchanged if expert is None else switch_off([expert])


def switch_off(experts: Collection[int]) -> Change:
    """Return the change that gives some experts the weight 0 wherever they were chosen; ids and other weights stay."""
    off = sorted(experts)

    def change(routing: Routing) -> Routing:
        hit = torch.isin(routing.ids, torch.tensor(off, device=routing.ids.device))
        return replace(routing, weights=routing.weights.masked_fill(hit, 0)) if bool(hit.any()) else routing

    return change
