"""Watches the first call of a block whose experts are modules and whose routing passes through none."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapted_scout import describe
from moedesk.probe.finding.binding import Binding, FirstCall, Taken
from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.finding.lookout import NO_NAMES, Lookout
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.taking.cost import Cost
from moedesk.probe.watched.known_plans import plan_of
from moedesk.probe.watched.plan import Planned
from moedesk.probe.watched.watch import Watch, experts_of, unseen

HELP = (
    "say where it is: moedesk.adapter({name!r}, read=lambda block, args, kwargs, output: moedesk.Routing(ids, weights))"
)


class WatchedScout(Lookout):
    """Hooks around a block until one of its calls was watched from beginning to end.

    Parameters
    ----------
    candidate : Candidate
        Its ``experts`` hold one module each.
    done, refuse : function
        As for ``AdaptedScout``.
    awake : function
        Whether calls count now.
    cost : Cost
        Takes the time in these hooks.
    """

    def __init__(
        self,
        candidate: Candidate,
        done: Callable[[Lookout, FirstCall], None],
        refuse: Callable[[Lookout, str], None],
        awake: Callable[[], bool],
        cost: Cost,
    ) -> None:
        super().__init__(candidate)
        self._done, self._refuse, self._awake = done, refuse, awake
        self._watch: Watch | None = None
        block = candidate.block
        self._handles.append(block.register_forward_pre_hook(cost.timed(self._enter), with_kwargs=True))
        self._handles.append(block.register_forward_hook(cost.timed(self._leave), always_call=True, prepend=True))

    def rest(self) -> None:
        """Forget an unfinished call."""
        if self._watch is not None and self._watch.end():
            self._watch = None

    def detach(self) -> None:
        """Remove every hook; those around a call that another thread is in, when it leaves."""
        self._over = True
        if self._watch is None or self._watch.end():
            self._watch = None
            self._remove()

    def _enter(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        if self._over or not self._awake():
            return
        self.rest()
        self._watch = begin_watch(self.candidate, args, kwargs)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        watch, self._watch = self._watch, None
        if watch is None:
            return
        watch.end()
        if self._over:
            self._remove()
        if self._over or output is None or not self._awake():
            return
        try:
            planned = plan_of(watch, self.candidate, first_tensor(output))
        except Exception as error:  # the model goes on
            self.detach()
            self._refuse(self, explained(self.candidate, error))
            return
        self.detach()
        routing = planned.routing
        first = FirstCall(self._bind(planned), (Taken(routing.ids, routing.weights.float().clone(), routing.logits),))
        self._done(self, first)

    def _bind(self, planned: Planned) -> Binding:
        own = self.candidate.adapter
        assert own is not None
        adapter = planned.adapter or own
        candidate = replace(self.candidate, adapter=adapter)
        layer = describe(candidate, adapter, planned.plan.experts, planned.plan.slots, planned.rule)
        prefix = f"{candidate.block_path}." if candidate.block_path else ""
        gate = adapter.router or _gate(candidate.block, candidate.experts, planned.plan.experts)
        layer = replace(
            layer, post_scale=planned.scale, selection=planned.selection, router_path=prefix + gate if gate else ""
        )
        return Binding(
            layer,
            candidate,
            probabilities=planned.probabilities,
            rule=planned.rule,
            bias=planned.bias,
            plan=None if planned.adapter is not None else planned.plan,
        )


def begin_watch(candidate: Candidate, args: Any, kwargs: Mapping[str, Any]) -> Watch | None:
    """Begin to watch a call of a block, or return None if it is called without token rows."""
    with unseen():
        hidden = hidden_of(args, kwargs)
        if hidden is None:
            return None
        inner = set(candidate.experts.modules())
        others = {name: module for name, module in candidate.block.named_modules() if name and module not in inner}
        return Watch(candidate.block, experts_of(candidate.experts), others, hidden)


def rows_of(args: Any, kwargs: Mapping[str, Any]) -> int:
    """Return how many token rows a block is called with."""
    hidden = hidden_of(args, kwargs)
    return 0 if hidden is None else hidden.numel() // hidden.shape[-1]


def explained(candidate: Candidate, error: Exception) -> str:
    """What is wrong with a block that can't be read, and the line that helps."""
    if not isinstance(error, MoedeskError):
        error = MoedeskError(f"{type(error).__name__}: {error}")
    return f"how {type(candidate.block).__name__} routes can't be told: {error}; " + HELP.format(
        name=type(candidate.block).__name__
    )


def hidden_of(args: Any, kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return the token rows that a block is called with."""
    return next((value for value in (*args, *kwargs.values()) if _are_rows(value)), None)


def _are_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim >= 2 and value.is_floating_point() and value.numel() > 0


def _gate(block: nn.Module, experts: nn.Module, count: int) -> str:
    """The linear layer beside the experts that has a column for each of them."""
    inner = set(experts.modules())
    for name, module in block.named_modules():
        if module not in inner and isinstance(module, nn.Linear) and module.out_features == count:
            return name
    return ""
