"""Finds where the routing of a watched block can be changed, and tries it: in calls of the block alone, on a small batch."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.adapters.dense_routing import chosen_of
from moedesk.probe.exactness.bits import differing_rows, same_bits
from moedesk.probe.exactness.single_expert import silenced
from moedesk.probe.exactness.untouched import SEED
from moedesk.probe.overriding.operations import OperationLog
from moedesk.probe.overriding.score_edit import ScoreEdit
from moedesk.probe.overriding.watched_trial import BlockTrial, Fixed
from moedesk.probe.overriding.watched_way import WatchedWay
from moedesk.probe.overriding.way import SelectionCall, find_way
from moedesk.probe.watched.operations import Step
from moedesk.probe.watched.plan import Planned, make_plan
from moedesk.probe.watched.watch import Watch, experts_of
from moedesk.probe.watched.watched_routing import follows

MOST_TRIED = 24
"""Pairs of places that are tried."""


def find_watched_way(trial: BlockTrial) -> tuple[WatchedWay, Planned, str]:
    """Return how a block can be changed, what watching it showed, and why its score can't be (empty if it can).

    Raises
    ------
    MoedeskError
        If nothing about it can be changed.
    """
    binding = trial.binding
    plain = trial.run()
    if not same_bits(plain, trial.run()):
        raise MoedeskError("it gives another output the second time on the same input")
    watch, output = trial.watched()
    planned = make_plan(watch, binding.candidate, output)
    way = WatchedWay(tuple(watch.observer.names), planned.plan)
    if planned.selection == "token choice":
        way = next(_writable(trial, way, planned, watch, plain), way)
    if way.weights is None:
        way = replace(way, names=planned.plan.names)
        _check_silenced(trial, planned, plain)
    try:
        return _scored(trial, way, planned), planned, ""
    except MoedeskError as error:
        return way, planned, str(error)


def _check_silenced(trial: BlockTrial, planned: Planned, plain: Tensor) -> None:
    """Without what an expert returns, the block's output is another one for the tokens that chose it, and for no others."""
    ids, weights = planned.routing.ids, planned.routing.weights
    expert = int(ids[ids >= 0].mode().values)
    with silenced(experts_of(trial.binding.candidate.experts)[expert]):
        output = trial.run()
    chose = ((ids == expert) & (weights != 0)).any(-1)
    rows = differing_rows(plain.reshape(trial.rows, -1), output.reshape(trial.rows, -1))
    if not torch.equal(rows, chose):
        raise MoedeskError("without an expert its output changes for other tokens than those that chose it")


def _writable(
    trial: BlockTrial, way: WatchedWay, planned: Planned, watch: Watch, plain: Tensor
) -> Iterator[WatchedWay]:
    """The ways that were shown to change what the experts do, those first that can send tokens elsewhere."""
    candidates = list(_places(way, planned, watch))[:MOST_TRIED]
    other = _shuffled(planned.routing, planned.plan.experts)
    for moves in (True, False):
        for candidate in candidates:
            if _obeys(trial, candidate, planned, other, plain, moves):
                yield replace(candidate, moves=moves)


def _places(way: WatchedWay, planned: Planned, watch: Watch) -> Iterator[WatchedWay]:
    """Where ids and weights of this routing came by, the first places first, since what follows comes of them."""
    routing, experts = planned.routing, planned.plan.experts
    names, steps = way.names, watch.observer.steps
    dense = chosen_of(routing.ids, routing.weights.float(), experts)
    chosen = chosen_of(routing.ids, torch.ones_like(routing.weights, dtype=torch.float32), experts)
    ids = [step for step in steps if _holds_ids(step, chosen)]
    for step in steps:
        value = step.value
        if not value.is_floating_point() or value.ndim != 2:
            continue
        if value.shape == dense.shape and torch.equal(value.float(), dense):
            for one in ids:
                if one.place.step <= step.place.step:
                    yield way.at(names, one.place, step.place, True)
            yield way.at(names, None, step.place, True)
        for one in ids:
            fits = value.shape == one.value.shape and one.place.step <= step.place.step
            if fits and torch.equal(chosen_of(one.value.long(), value.float(), experts), dense):
                yield way.at(names, one.place, step.place, False)


def _holds_ids(step: Step, chosen: Tensor) -> bool:
    """Whether a tensor names the experts that were chosen, in any order."""
    value = step.value
    if value.is_floating_point() or value.ndim != 2 or value.shape[1] > chosen.shape[1]:
        return False
    if int(value.min()) < 0 or int(value.max()) >= chosen.shape[1]:
        return False
    return torch.equal(chosen_of(value, torch.ones_like(value, dtype=torch.float32), chosen.shape[1]), chosen)


def _shuffled(routing: Routing, experts: int) -> Routing:
    """Other experts for every token, each once, with weights that don't add up to anything."""
    generator = torch.Generator().manual_seed(SEED)
    order = torch.rand(len(routing.ids), experts, generator=generator).argsort(-1)[:, : routing.ids.shape[1]]
    weights = 0.25 + torch.rand(routing.weights.shape, generator=generator)
    return Routing(order.to(routing.ids.device), weights.to(routing.weights.device, routing.weights.dtype))


def _obeys(trial: BlockTrial, way: WatchedWay, planned: Planned, other: Routing, plain: Tensor, moves: bool) -> bool:
    """Whether experts and output follow when another routing is put there, and its own one gives the same bits."""
    first = Fixed()
    if trial.detoured(way, first) is None or first.given is None:
        return False
    wanted = other if moves else replace(other, ids=first.given.ids)
    found = trial.detoured(way, Fixed(wanted))
    if found is None or not follows(*found, wanted, planned.scale):
        return False
    same = trial.detoured(way, Fixed(first.given))
    return same is not None and same_bits(same[1], plain)


def _scored(trial: BlockTrial, way: WatchedWay, planned: Planned) -> WatchedWay:
    """The way with its score, tried.

    Raises
    ------
    MoedeskError
        If it can't be changed, in a few words.
    """
    binding = replace(trial.binding, rule=planned.rule, bias=planned.bias, probabilities=planned.probabilities)
    if planned.selection != "token choice":
        raise MoedeskError(f"its selection is {planned.selection!r}, which has no score of a token's own to change")
    logits = planned.routing.logits
    if logits is None:
        raise MoedeskError("no tensor that it calculated is a score of each expert")
    first = Fixed()
    if trial.detoured(way, first) is None or first.given is None:
        raise MoedeskError("its operations are others the second time")
    log = OperationLog(planned.plan.experts)
    with log:
        output = trial.run()
    seen = SelectionCall(log, (), {}, output, torch.empty(0), torch.empty(0))
    score = find_way(binding, binding.candidate.block, seen, first.given.ids, logits)
    return _tried(trial, replace(way, score=score), planned, first.given)


def _tried(trial: BlockTrial, way: WatchedWay, planned: Planned, plain: Routing) -> WatchedWay:
    """Changes of the score reach the experts, by the block's own rule, and what would be without them is known."""
    best = int(plain.ids[plain.ids >= 0].mode().values)
    exclude = ScoreEdit(Override(OverrideKind.EXCLUDE, experts=(best,)))
    push = ScoreEdit(Override(OverrideKind.BIAS, experts=(best,), value=0.75))
    for edit in (exclude, push):
        seen = Fixed()
        found = trial.detoured(way, seen, edit)
        if found is None or seen.given is None or seen.plain is None:
            raise MoedeskError("its choice doesn't follow its logits")
        if not follows(*found, seen.given, planned.scale):
            raise MoedeskError("its experts don't follow its logits")
        if edit is exclude and bool((seen.given.ids == best).any()):
            raise MoedeskError("its choice doesn't follow its logits")
        if not same_bits(seen.plain.ids, plain.ids) or not same_bits(seen.plain.weights, plain.weights):
            raise MoedeskError("which tokens a changed score sends elsewhere can't be told")
        if (
            edit is push
            and planned.rule is not None
            and make_plan(found[0], trial.binding.candidate, found[1]).rule != planned.rule
        ):
            raise MoedeskError(f"what it ranks doesn't follow its logits as {planned.rule.label!r} does")
        if way.moves:
            again = trial.detoured(way, Fixed(seen.given))
            if again is None or not same_bits(again[1], found[1]):
                way = replace(way, moves=False)
    assert way.score is not None
    if not _forces(trial, way, best):
        way = replace(way, score=replace(way.score, deciding=frozenset()))
    return way


def _forces(trial: BlockTrial, way: WatchedWay, expert: int) -> bool:
    """Whether an expert can be forced on every token."""
    assert way.score is not None
    if not way.score.deciding:
        return False
    seen = Fixed()
    found = trial.detoured(way, seen, ScoreEdit(Override(OverrideKind.FORCE, experts=(expert,))))
    return found is not None and seen.given is not None and bool((seen.given.ids == expert).any(-1).all())
