"""Where a watched block calculates its routing, so that later calls are read there without watching."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapter import Adapter, Routing
from moedesk.probe.adapters.dense_routing import slots_of, spread_picks
from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.finding.parts import bias_sources
from moedesk.probe.finding.probabilities import are_probabilities, to_logits
from moedesk.probe.finding.ranking import Evidence, Rule, fit_rule
from moedesk.probe.watched.operations import Place
from moedesk.probe.watched.watch import Watch
from moedesk.probe.watched.watched_routing import Explanation, explain


@dataclass(frozen=True)
class Plan:
    """Places of weights, ids and logits in the operations of a block.

    Attributes
    ----------
    names : tuple of str
        The operations up to the last place: while they are the same, the places hold the same.
    weights : Place
    ids : Place or None
        None if the weights hold one for each expert.
    logits : Place or None
    slots, experts : int
    capacity : bool
        Whether the weights hold one for each slot of an expert's capacity.
    picks : bool
        Whether ids and weights are the tokens that each expert picked.
    """

    names: tuple[str, ...]
    weights: Place
    ids: Place | None
    logits: Place | None
    slots: int
    experts: int
    capacity: bool = False
    picks: bool = False

    @property
    def places(self) -> tuple[Place, ...]:
        """All of them."""
        return tuple(place for place in (self.weights, self.ids, self.logits) if place is not None)

    def read(self, taken: Mapping[Place, Tensor], rows: int) -> Routing:
        """Return the routing in the tensors that were taken in a call with so many token rows."""
        logits = None if self.logits is None else taken[self.logits].reshape(-1, self.experts)
        weights = taken[self.weights]
        if self.ids is not None and self.picks:
            picked = slots_of(spread_picks(taken[self.ids], weights, rows, self.experts), self.slots)
            return Routing(picked.ids, picked.weights, logits)
        if self.ids is not None:
            return Routing(taken[self.ids].reshape(-1, self.slots).long(), weights.reshape(-1, self.slots), logits)
        dense = weights.reshape(rows, self.experts, -1).sum(-1) if self.capacity else weights
        found = slots_of(dense.reshape(-1, self.experts), self.slots)
        return Routing(found.ids, found.weights, logits)


@dataclass(frozen=True, eq=False)
class Planned:
    """What one watched call gave.

    Attributes
    ----------
    plan : Plan
    routing : Routing
        Of that call; ids int64, logits as they were.
    scale : float
        Factor behind the experts.
    selection : str
    rule : Rule or None
    bias : (Module, str) or None
    probabilities : bool
        Whether the logits are probabilities.
    adapter : Adapter or None
        Reads the next calls more simply: a module hands the routing out.
    """

    plan: Plan
    routing: Routing
    scale: float
    selection: str
    rule: Rule | None = None
    bias: tuple[nn.Module, str] | None = None
    probabilities: bool = False
    adapter: Adapter | None = None


@torch.no_grad()
def make_plan(watch: Watch, candidate: Candidate, output: Tensor | None) -> Planned:
    """Work out where a watched call calculated its routing.

    Raises
    ------
    MoedeskError
        If that can't be told with certainty.
    """
    if watch.failure:
        raise MoedeskError(watch.failure)
    if output is None or output.numel() != watch.hidden.numel():
        raise MoedeskError("its output has not the shape of its input")
    found = explain(watch, output)
    ids, experts = found.routing.ids.long(), len(watch.ran)
    logits, rule, bias = _logits(watch, candidate, found, ids, experts)
    names = watch.observer.names
    chosen = [found.weights.place, *([found.ids.place] if found.ids else []), *([logits.place] if logits else [])]
    plan = Plan(
        tuple(names[: 1 + max(place.step for place in chosen)]),
        found.weights.place,
        found.ids.place if found.ids else None,
        logits.place if logits else None,
        int(ids.shape[-1]),
        experts,
        found.ids is None and found.weights.value.ndim == 3,
        found.selection == "expert choice",
    )
    values = None if logits is None else logits.value
    return Planned(
        plan,
        Routing(ids, found.routing.weights, values),
        found.scale,
        found.selection,
        rule,
        bias,
        values is not None and are_probabilities(values),
        _simpler(watch, candidate, found, values is not None),
    )


def _logits(watch, candidate, found: Explanation, ids: Tensor, experts: int):  # type: ignore[no-untyped-def]
    """The first (N, E) values whose ranking gives the choice, and the rule; else the first at all."""
    wide = [
        step
        for step in watch.observer.steps
        if step.value.is_floating_point() and step.value.ndim == 2 and step.value.shape[-1] == experts
    ]
    sources = bias_sources(candidate, experts)
    biases = {name: getattr(module, attribute) for name, (module, attribute) in sources.items()}
    for step in wide if found.selection == "token choice" else ():
        values = to_logits(step.value) if are_probabilities(step.value) else step.value
        fitted = fit_rule(Evidence(values, ids, watch.observer, biases))
        if fitted is not None:
            return step, fitted[0], sources.get(fitted[1])
    return (wide[0] if wide else None), None, None


def _simpler(watch: Watch, candidate: Candidate, found: Explanation, with_logits: bool) -> Adapter | None:
    """An adapter that reads the output of a module that hands out these very ids and weights."""
    assert candidate.adapter is not None
    if found.ids is None or found.selection != "token choice":
        return None
    for path, (form, (ids, weights)) in watch.forms.items():
        if form.logits < 0 and with_logits:
            continue
        same = ids.shape == weights.shape and ids.numel() == found.routing.ids.numel()
        if (
            same
            and bool((ids.reshape(found.routing.ids.shape) == found.routing.ids).all())
            and torch.equal(weights.reshape(found.routing.weights.shape), found.routing.weights)
        ):
            return replace(candidate.adapter, read=form.read, hook=path, router=path)
    return None
