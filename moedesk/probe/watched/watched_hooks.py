"""The hooks of a watched block: take its routing at the places that were found, while it calculates in the same way."""

from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapted_hooks import narrow
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.modes import alone
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.taking.compiled import apart
from moedesk.probe.taking.cost import Cost
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.tap import Current, Event, Tap, own, recomputing
from moedesk.probe.watched.known_plans import plan_of, remember_way, ways_of
from moedesk.probe.watched.operations import Taker, unseen
from moedesk.probe.watched.watch import Watch, experts_of
from moedesk.probe.watched.watched_scout import begin_watch, explained, rows_of


class WatchedHooks:
    """Hooks around one block, until they are removed or a call can't be understood.

    The first call in training, or in evaluation, is watched from beginning to end, and so is the one after a call that took
    another way than those known; a block may know several, such as one for a single token.

    Parameters
    ----------
    binding : Binding
        One with a plan.
    current : Current
    with_logits : bool
    cost : Cost
    note, refuse : function
        Told, in one line, that a call could not be read; ``refuse``: nor will the next ones.
    at_once : bool
        Whether a call's routing is handed on as soon as it is known, in the middle of the call, before its experts run; where it
        is found out by watching the whole call, and else, when the call is over.
    """

    def __init__(
        self,
        binding: Binding,
        current: Current,
        with_logits: bool,
        cost: Cost,
        note: Callable[[str], None],
        refuse: Callable[[str], None],
        at_once: bool = False,
    ) -> None:
        assert binding.plan is not None
        block = binding.candidate.block
        self._binding, self._current, self._cost = binding, current, cost
        self._with_logits = with_logits
        self._note, self._refuse, self._at_once = note, refuse, at_once
        experts = binding.candidate.experts
        known = ways_of(experts, binding.layer.top_k)
        if not known:  # its first call was just now
            remember_way(experts, block.training, binding.plan)
        self._plans = known if at_once and known else {block.training: [binding.plan]}
        self._unsure: set[bool] = set()
        self._taker: Taker | Watch | None = None
        self._rows, self._handed_on = 0, False
        self._handles = [
            block.register_forward_pre_hook(self._enter, with_kwargs=True),
            block.register_forward_hook(self._leave, always_call=True, prepend=True),
            # operations cost less once nothing has to see them any more
            *(
                expert.register_forward_pre_hook(self._before_expert)
                for expert in experts_of(binding.candidate.experts)
            ),
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        self.rest()
        for handle in self._handles:
            handle.remove()

    def rest(self) -> None:
        """Forget an unfinished call: an interrupt passes the block's own hook by."""
        taker, self._taker = self._taker, None
        if taker is not None:
            _end(taker)

    @apart
    def _enter(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        tap = self._current.tap
        if tap is None:
            self._current.stray()
            return
        if recomputing():
            return
        began = perf_counter_ns()
        self.rest()
        tap.seen = True
        if tap.room is not Room.NOTHING:
            plans = self._plans.get(module.training)
            self._rows, self._handed_on = rows_of(args, kwargs), False
            if plans is None or module.training in self._unsure:
                with unseen():
                    self._taker = begin_watch(self._binding.candidate, args, kwargs)
            else:
                ways = [(plan.names, plan.places) for plan in plans]
                self._taker = Taker(ways, self._known if self._at_once else None)
                self._taker.start()
        self._cost.hook_ns += perf_counter_ns() - began

    @apart
    def _before_expert(self, module: nn.Module, args: Any) -> None:
        taker = self._taker
        if isinstance(taker, Taker) and taker.over:
            taker.stop()

    def _known(self) -> None:
        """The routing of a call that is under way came by."""
        taker, tap = self._taker, self._current.tap
        if not isinstance(taker, Taker) or taker.came < 0 or tap is None:
            return
        with alone():
            try:
                routing = self._taken(taker, self._binding.candidate.block.training)
            except Exception:  # said when the call is over
                return
            self._handed_on = True
            self._add(routing, tap)

    @apart
    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        taker, self._taker = self._taker, None
        if taker is None:
            return
        began = perf_counter_ns()
        _end(taker)
        tap = self._current.tap
        if output is None or tap is None or recomputing() or self._handed_on:
            return
        self._hand_on(taker, output, tap)
        self._cost.hook_ns += perf_counter_ns() - began

    def _hand_on(self, taker: Taker | Watch, output: Any, tap: Tap) -> None:
        module = self._binding.candidate.block
        try:
            routing = self._taken(taker, module.training) if isinstance(taker, Taker) else self._seen(taker, output)
        except Exception as error:  # the model goes on
            self.remove()
            self._refuse(explained(self._binding.candidate, error))
            return
        self._add(routing, tap)

    def _add(self, routing: Routing | None, tap: Tap) -> None:
        if routing is not None and routing.ids.numel():
            event = self._event(routing, tap)
            held = (event.ids, event.weights, event.logits)
            tap.add(event, sum(value.nbytes for value in held if value is not None))

    def _taken(self, taker: Taker, training: bool) -> Routing | None:
        if taker.came < 0:
            self._unsure.add(training)
            self._note("one call took another way than those before and is left out")
            return None
        return self._plans[training][taker.came].read(taker.taken, self._rows)

    def _seen(self, watch: Watch, output: Any) -> Routing:
        """The routing of a call that was watched; the next ones are read in the same places."""
        planned = plan_of(watch, self._binding.candidate, first_tensor(output))
        layer, plan = self._binding.layer, planned.plan
        if (plan.slots, planned.selection) != (layer.top_k, layer.selection):
            raise MoedeskError(f"it has {plan.slots} slots a token ({planned.selection}), before it were {layer.top_k}")
        training = self._binding.candidate.block.training
        self._unsure.discard(training)
        remember_way(self._binding.candidate.experts, training, plan)
        known = self._plans.setdefault(training, [])
        if plan not in known:
            self._plans[training] = [*known[-3:], plan]
        alike = planned.rule == self._binding.rule
        return Routing(planned.routing.ids, planned.routing.weights, planned.routing.logits if alike else None)

    def _event(self, routing: Routing, tap: Tap) -> Event:
        binding = self._binding
        ids = narrow(routing.ids, binding.layer.experts)
        if tap.room < Room.ROUTES:
            return Event(binding, ids)
        known = self._with_logits and routing.logits is not None
        logits = routing.logits if known and tap.takes_logits() else None
        bias = None if logits is None or binding.bias is None else own(getattr(*binding.bias))
        return Event(binding, ids, routing.weights, logits, bias)


def _end(taker: Taker | Watch) -> None:
    if isinstance(taker, Taker):
        taker.stop()
    else:
        taker.end()
