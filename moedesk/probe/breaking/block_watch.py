"""The hooks of a block whose routing no module is given: it may stop once that is known, and begins anew where it is changed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapted_hooks import AdaptedHooks
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.breaking.layer_watch import Arrived, Reached, Refuse, arrange
from moedesk.probe.breaking.second_forward import Rewrite
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.modes import alone, begin_anew
from moedesk.probe.notice import notice
from moedesk.probe.overriding.detour import Detour, DeviatedError
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.watched_layer import by_watching
from moedesk.probe.overriding.watched_way import WatchedWay
from moedesk.probe.taking.compiled import as_written
from moedesk.probe.taking.cost import Cost
from moedesk.probe.taking.event import Event
from moedesk.probe.taking.overridden import Changed, say
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.tap import Current, Tap, recomputing
from moedesk.probe.watched.watched_hooks import WatchedHooks
from moedesk.probe.watched.watched_scout import hidden_of


class _Anew(BaseException):
    """The block is left in the middle, since its routing was changed there."""


class BlockWatch:
    """What may stop one block, until it is removed.

    It stops inside the block, once its routing is known. What is changed there is put where overrides change such a block (its
    ``WatchedWay``, found out then if it isn't known): it begins anew, with the same random numbers, and has that on its way.

    Parameters
    ----------
    binding : Binding
    arrived : function
    refuse : function
    overrides : function
        Gives the model's, which know how the block can be changed.

    Attributes
    ----------
    removed : bool
    """

    stops = removed = False

    def __init__(self, binding: Binding, arrived: Arrived, refuse: Refuse, overrides: Callable[[], Overrides]) -> None:
        self._binding, self._arrived, self._overrides = binding, arrived, overrides
        self._call: _Call | None = None
        current = Current(settled=False)
        current.tap = _Each(self._known)
        self._around = ForwardAround(binding.candidate.block, self._run)
        self._hooks: WatchedHooks | _ReadHooks
        if binding.plan is not None:
            self._hooks = WatchedHooks(
                binding, current, True, Cost(), lambda line: None, partial(refuse, binding), at_once=True
            )
        else:
            self._hooks = _ReadHooks(binding, current, True, Cost(), partial(refuse, binding))
        self.arrange()

    def arrange(self) -> None:
        """Come before what records an adapter's layer, and last of what watches a block's operations."""
        if isinstance(self._hooks, WatchedHooks):
            hooks: Any = self._binding.candidate.block._forward_pre_hooks
            for key in [key for key, hook in hooks.items() if getattr(hook, "__self__", None) is self._hooks]:
                hooks.move_to_end(key)
            return
        hooked = self._binding.hooked
        for hooks in (hooked._forward_pre_hooks, hooked._forward_hooks):
            arrange(hooks)

    def remove(self) -> None:
        """Take the hooks off, at the end of the call if the block stands in one."""
        self.removed = True
        if self._call is None:
            self._around.remove()
            self._hooks.remove()

    def _run(self, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = hidden_of(args, kwargs)
        if hidden is None or recomputing() or self._call is not None:
            return inner(*args, **kwargs)
        call = self._call = _Call(self._binding.candidate.block, hidden)
        try:
            return inner(*args, **kwargs)
        except _Anew:
            if call.used is None:
                raise
            return self._changed(call, inner, args, kwargs)
        finally:
            self._call = None
            if self.removed:
                self.remove()

    def _known(self, event: Event) -> None:
        """The routing of a call is known: inside the block, or behind it, where it went another way than before."""
        call = self._call
        with alone():
            if call is None or self._acted_on:
                reached = Reached.of(event, allow=self._too_late)
            else:
                assert event.weights is not None
                given = Routing(event.ids.long(), event.weights, event.logits)
                reached = Reached.of(event, given, call.hidden, partial(self._allow, call))
            used = self._arrived(reached)
        if used is not None and call is not None:
            assert reached.routing is not None
            call.given, call.used = reached.routing, used
            raise _Anew

    @property
    def _acted_on(self) -> bool:
        """Whether overrides act on it, which may come later than where its routing is read."""
        place = self._binding.layer.place
        return any(entry.override.acts_on(place) for entry in self._overrides().acting)

    def _too_late(self, ids: bool) -> None:
        if self._acted_on:
            raise MoedeskError("overrides act on it; switch them off first, or add one more")
        self._check_adapter()
        raise MoedeskError("this call took another way than those before, and was read when it was over")

    def _check_adapter(self) -> None:
        adapter = self._binding.adapter
        if not by_watching(self._binding):
            assert adapter is not None
            raise MoedeskError(f"its adapter {adapter.name!r} has no write=")

    def _allow(self, call: "_Call", ids: bool) -> None:
        """Find out how the block can be changed; raise ``MoedeskError`` if it can't."""
        self._check_adapter()
        call.check()
        with as_written():
            layer = self._overrides().layers.watched(self._binding)
        assert layer is not None
        training = self._binding.candidate.block.training
        way = layer.way if not training else layer.ways.get(True)
        if way is None:
            raise MoedeskError(
                "in training, where it can be changed was not found; model.eval(), or an override, may do"
            )
        if way.weights is None:
            raise MoedeskError("only what its experts return can be changed; moe.ablate and moe.scale do that")
        if ids and not way.moves:
            raise MoedeskError("its weights can be changed, but tokens don't go to other experts when its ids say so")
        call.way = way

    def _changed(self, call: "_Call", inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call from its beginning, with what was changed."""
        assert call.way is not None
        call.begin_anew()
        detour = Detour(call.way, call.rows, call)
        try:
            with detour:
                output = inner(*args, **kwargs)
        except DeviatedError:
            call.begin_anew()
            output = inner(*args, **kwargs)
        else:
            if detour.came:
                return output
        same = torch.zeros(call.rows, dtype=torch.bool, device=call.given.ids.device)
        unchanged = Changed(same, call.given.ids, call.given.weights)
        say(self._binding.candidate.experts, unchanged, in_place_of_last=True)
        path = self._binding.layer.path
        notice(
            f"{path}: what was changed at the stop is not used: this call took another way than the one that can be changed"
        )
        return output


class _ReadHooks(AdaptedHooks):
    """Hooks of a layer that an adapter reads, known to be those of breakpoints."""

    stops = True


class _Each(Tap):
    """A tap that passes every event on at once."""

    __slots__ = ("_known",)

    def __init__(self, known: Callable[[Event], None]) -> None:
        super().__init__(Room.EVERYTHING, False, lambda tap, piece: None)
        self._known = known

    def add(self, event: Event, nbytes: int) -> None:
        self._known(event)


class _Call:
    """One call of the block, and what is put in the place of its routing the second time.

    Parameters
    ----------
    block : Module
    hidden : (…, H) tensor
        What it was called with.

    Attributes
    ----------
    rows : int
    given, used : Routing
        What was changed, and to what; ``used`` is None before that.
    way : WatchedWay
    """

    def __init__(self, block: nn.Module, hidden: Tensor) -> None:
        self.hidden, self.rows = hidden, hidden.numel() // hidden.shape[-1]
        self.given: Routing
        self.used: Routing | None = None
        self.way: WatchedWay | None = None
        self._written = [("what it was given", hidden, _version(hidden))]
        self._written += [(f"its {name}", buffer, _version(buffer)) for name, buffer in block.named_buffers()]
        self._random = _random_states(hidden.device)
        inside = torch._C._autograd._top_saved_tensors_default_hooks(False) is not None
        self._again = (torch.is_grad_enabled() and inside) or (block.training and not torch.is_grad_enabled())

    def check(self) -> None:
        """Raise ``MoedeskError``, in a few words, if the block can't begin anew."""
        if self._again:
            raise MoedeskError("gradient checkpointing would compute it again without the change; switch that off")
        for what, tensor, version in self._written:
            if _version(tensor) != version:
                raise MoedeskError(f"it wrote into {what} before, and would do so again; use an override")

    def begin_anew(self) -> None:
        """Have everything be as at the beginning of the call."""
        torch.set_rng_state(self._random[0])
        if self._random[1] is not None:
            torch.cuda.set_rng_state(self._random[1], self.hidden.device)
        begin_anew()

    def new_ids(self, ids: Tensor) -> Tensor:
        """Return the ids that are used in place of (N, k) ids, each in the slot of the one it is in place of."""
        assert self.used is not None
        wanted = self.used.ids.gather(1, self._slots(ids)).to(ids)
        return ids if torch.equal(wanted, ids) else wanted

    def new_routing(self, routing: Routing, plain: Routing | None) -> Routing:
        """Return the routing that is used; weights that were left alone keep their gradients."""
        assert self.used is not None
        slots = self._slots(routing.ids)
        given, used = (
            Routing(one.ids.gather(1, slots), one.weights.gather(1, slots), routing.logits)
            for one in (self.given, self.used)
        )
        rewrite = Rewrite.between(given, used)
        return Rewrite(used.ids.to(routing.ids), rewrite.own, used.weights.to(routing.weights)).of(routing)

    def _slots(self, ids: Tensor) -> Tensor:
        """(N, k) in which slot, where the model stood, each of these ids was."""
        there = self.given.ids
        if torch.equal(ids, there):
            return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        same = ids.unsqueeze(-1) == there.unsqueeze(-2)
        if ids.shape != there.shape or not bool(same.any(-1).all()):
            raise DeviatedError
        return same.int().argmax(-1)


def _random_states(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; inference tensors don't count."""
    return -1 if tensor.is_inference() else int(tensor._version)
