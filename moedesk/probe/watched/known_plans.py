"""What was found of watched blocks: where they calculate their routing, for whoever hooks them later or changes it."""

import weakref
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.finding.known import known_rule, remember_rule
from moedesk.probe.watched.operations import Place
from moedesk.probe.watched.plan import Plan, Planned, make_plan
from moedesk.probe.watched.watch import Watch

_found: "weakref.WeakKeyDictionary[nn.Module, dict[bool, Planned]]" = weakref.WeakKeyDictionary()

"""By experts, in training or not: found while nothing changed their routing, for calls that are watched while something does."""
_ways: "weakref.WeakKeyDictionary[nn.Module, dict[bool, list[Plan]]]" = weakref.WeakKeyDictionary()
_MOST_WAYS = 4


def remember_way(experts: nn.Module, training: bool, plan: Plan) -> None:
    """Keep one of the ways that the block of these experts takes, in training or in evaluation; of many the last ones."""
    known = _ways.setdefault(experts, {})
    if plan not in known.get(training, ()):
        known[training] = [*known.get(training, ()), plan][-_MOST_WAYS:]


def ways_of(experts: nn.Module, slots: int) -> dict[bool, list[Plan]]:
    """Return the ways that the block of these experts took so far with so many slots a token, in training and in evaluation."""
    known = {mode: [plan for plan in plans if plan.slots == slots] for mode, plans in _ways.get(experts, {}).items()}
    return {mode: plans for mode, plans in known.items() if plans}


def remember_plan(experts: nn.Module, training: bool, planned: Planned) -> None:
    """Keep where the block of these experts calculates its routing, in training or in evaluation."""
    if planned.bias is not None:  # kept apart, since what has it may hold the experts
        remember_rule(experts, planned.rule, planned.bias)
    _found.setdefault(experts, {})[training] = replace(planned, bias=None)


def _known(candidate: Candidate) -> Planned | None:
    planned = _found.get(candidate.experts, {}).get(candidate.block.training)
    if planned is None or planned.rule is None or not planned.rule.biased:
        return planned
    return replace(planned, bias=known_rule(candidate.experts)[1])


def plan_of(watch: Watch, candidate: Candidate, output: Tensor | None) -> Planned:
    """Return where a watched call calculated its routing: where it was found before, if the call took the same way.

    Raises
    ------
    MoedeskError
        If that can't be told.
    """
    known = _known(candidate)
    if (
        known is not None
        and not watch.failure
        and tuple(watch.observer.names[: len(known.plan.names)]) == known.plan.names
    ):
        observer = watch.observer
        routing = _read(known, {step.place: step.value for step in (*observer.steps, *observer.picks)}, watch.rows)
        if routing is not None:
            return replace(known, routing=routing)
    return make_plan(watch, candidate, output)


def _read(known: Planned, taken: Mapping[Place, Tensor], rows: int) -> Routing | None:
    """What is at the places now; None if it has another number of slots."""
    plan = known.plan
    if any(place not in taken for place in plan.places):
        return None
    if plan.ids is not None and not plan.picks and taken[plan.ids].numel() != rows * plan.slots:
        return None
    routing = plan.read(taken, rows)
    return None if bool((routing.ids >= plan.experts).any()) else routing
