"""Runs a model once on a small batch to find its MoE layers and how each of them selects. The model is left as it was."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.exactness.bits import first_difference
from moedesk.probe.exactness.kept import Kept
from moedesk.probe.exactness.sample_input import sample_input
from moedesk.probe.exactness.untouched import Untouched
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.discovery import find_candidates
from moedesk.probe.finding.known import remember_rule
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.finding.ranking import Rule
from moedesk.probe.finding.routing import read_routing
from moedesk.probe.overriding.by_adapter import adapted_way
from moedesk.probe.overriding.comparison import Comparison, comparison, kind_of
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.looked_up import reselection
from moedesk.probe.overriding.operations import OperationLog
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.score_edit import ScoreEdit
from moedesk.probe.overriding.slots import SlotsTrial, slot_counts
from moedesk.probe.overriding.way import SelectionCall, Way, find_way, named
from moedesk.probe.overriding.within import Ends, chooses_within, watch_blocks
from moedesk.probe.tracer import Tracer
from moedesk.probe.wanted import Wanted


class Study:
    """What is known of a model's layers, for overrides.

    Parameters
    ----------
    model : Module
    inputs : mapping, optional
        Arguments of its forward that reach the layers; a small batch of token ids if left out.

    Attributes
    ----------
    inputs : dict
    bindings : tuple of Binding
        The layers that ran, in the order of their places.
    ways : mapping of int to Way
        By place.
    unknown : mapping of int to str
        Why a layer's selection can't be changed, by place.

    Raises
    ------
    MoedeskError
        If the model can't be run so.
    """

    def __init__(self, model: nn.Module, inputs: Mapping[str, Any] | None = None) -> None:
        self.inputs = dict(inputs) if inputs is not None else sample_input(model)[0]
        self.ways: dict[int, Way] = {}
        self.unknown: dict[int, str] = {}
        self._comparisons: dict[Hashable, Comparison] = {}
        with Untouched(model) as untouched:
            self.bindings = self._bind(model, untouched)
            for binding in self.bindings:
                remember_rule(binding.candidate.experts, binding.rule, binding.bias)
            calls = self._watch(untouched)
            for binding in self.bindings:
                try:
                    self.ways[binding.layer.place] = self._try(binding, calls.get(binding.layer.place))
                except MoedeskError as error:
                    self.unknown[binding.layer.place] = str(error)
            self._try_within([b for b in self.bindings if b.layer.place in self.unknown], untouched)

    def _bind(self, model: nn.Module, untouched: Untouched) -> tuple[Binding, ...]:
        candidates = find_candidates(model)
        tracer = Tracer(model, candidates, candidates, None, Wanted(), Kept())
        try:
            untouched.run(self.inputs)
        except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MoedeskError(f"{type(model).__name__} can't run a small batch of token ids ({reason})") from error
        finally:
            tracer.stop()
        return tracer.bindings

    def _watch(self, untouched: Untouched) -> dict[int, SelectionCall]:
        """The first call of each layer's selection, with what the experts got."""
        watched = [_Watched(binding, module) for binding in self.bindings if (module := self._selects(binding))]
        try:
            for one in watched:
                one.attach()
            untouched.run(self.inputs)
        finally:
            for one in watched:
                one.detach()
        return {one.binding.layer.place: one.seen for one in watched if one.seen is not None}

    def alone(self, model: nn.Module, binding: Binding) -> Way:
        """Return how a layer selects that the small run doesn't reach: its block is run on random rows.

        Raises
        ------
        MoedeskError
            If that doesn't tell it.
        """
        module, rows = self._selects(binding), _random_rows(binding)
        if module is None or rows is None:
            raise MoedeskError("a small batch of token ids doesn't reach it")
        watched = _Watched(binding, module)
        with Untouched(model):
            watched.attach()
            try:
                binding.candidate.block(rows)
            except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError):
                raise MoedeskError(
                    "a small batch of token ids doesn't reach it, and its block can't be run on rows alone"
                ) from None
            finally:
                watched.detach()
            return self._try(binding, watched.seen)

    def try_slots(self, model: nn.Module, paths: Collection[str], number: int) -> None:
        """Run the model with another number of slots in layers whose experts have these paths; they have to come out.

        Raises
        ------
        MoedeskError
            If they don't, naming the layer.
        """
        tried = [binding for binding in self.bindings if binding.candidate.path in paths]
        for binding in tried:
            layer = binding.layer
            if binding.plan is not None or not slot_counts(binding):
                raise MoedeskError(
                    f"layer {layer.place} ({layer.path}) has no number of experts a token that could be set"
                )
        seen = [SlotsTrial(binding, number) for binding in tried]
        with Untouched(model) as untouched:
            try:
                for one in seen:
                    one.attach()
                untouched.run(self.inputs)
            except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise MoedeskError(f"the model can't run with k = {number} ({reason})") from error
            finally:
                for one in seen:
                    one.detach()
        for one in seen:
            if one.found != number:
                layer = one.binding.layer
                raise MoedeskError(
                    f"layer {layer.place} ({layer.path}) goes on with {one.found or layer.top_k} experts a token when it is told "
                    f"{number}"
                )

    def _selects(self, binding: Binding) -> nn.Module | None:
        """The module whose forward goes from token rows to the choice."""
        if binding.plan is not None:
            return None
        if binding.adapter is not None:
            if binding.adapter.select is not None:
                return binding.hooked
            path, block = binding.adapter.router, binding.candidate.block
            return binding.adapter.module(block, path) if path else None
        return binding.router

    def _try(self, binding: Binding, seen: SelectionCall | None) -> Way:
        layer = binding.layer
        if layer.selection not in ("token choice", "hash"):
            raise MoedeskError(f"its selection is {layer.selection!r}, which has no score of a token's own to change")
        module = self._selects(binding)
        if seen is None or module is None:
            raise MoedeskError("its selection is no module's own, so it is not known where its score can be changed")
        if binding.adapter is not None and binding.adapter.select is not None:
            return adapted_way(binding, seen)
        ids, weights, logits = routing_of(binding, module, seen)
        way = find_way(binding, module, seen, ids, logits)
        way = told(named(self._checked(binding, way, seen, Routing(ids, weights, logits)), seen), seen)
        return replace(way, compares=self._compared(way, seen))

    def _compared(self, way: Way, seen: SelectionCall) -> Comparison | None:
        """What compares calls of a layer later, one for all that are alike."""
        compares = comparison(way, seen)
        return None if compares is None else self._comparisons.setdefault(kind_of(way, compares), compares)

    def _try_within(self, bindings: Sequence[Binding], untouched: Untouched) -> None:
        """Try blocks between whose router and experts the choice may be made."""
        bindings = [binding for binding in bindings if chooses_within(binding)]
        calls = watch_blocks(bindings, lambda: untouched.run(self.inputs))
        for binding in bindings:
            place, block = binding.layer.place, binding.candidate.block
            try:
                if place in calls:
                    routing = Routing(*routing_of(binding, block, calls[place]))
                    assert routing.logits is not None
                    way = find_way(binding, block, calls[place], routing.ids, routing.logits, within=True)
                    self.ways[place] = self._checked(binding, way, calls[place], routing)
                    del self.unknown[place]
            except MoedeskError as error:
                self.unknown[place] = str(error)

    def _checked(self, binding: Binding, way: Way, seen: SelectionCall, routing: Routing) -> Way:
        """Try the way: what moedesk reads as logits follows it, and so does the choice; return it as far as that is so."""

        def again(*edits: ScoreEdit) -> tuple[Tensor, Tensor, Tensor, OperationLog]:
            log = OperationLog(way.experts)
            if way.within:
                with Ends(binding) as ends, log, reselection(way, edits):
                    way.module.forward(*seen.args, **seen.kwargs)
                return *routing_of(binding, way.module, ends.call(log, seen.args, seen.kwargs)), log
            with log, reselection(way, edits):
                output = way.module.forward(*seen.args, **seen.kwargs)
            call = SelectionCall(log, seen.args, seen.kwargs, output, seen.choice, seen.weights)
            return *read_again(binding, way, call), log

        ids, logits = routing.ids, routing.logits
        assert logits is not None
        same_ids, _, same_logits, _ = again()
        if first_difference((ids, logits), (same_ids, same_logits)):
            raise MoedeskError("its router gives another choice the second time on the same input")
        if way.in_turn or way.table is not None:
            rare = int(ids.flatten().bincount(minlength=way.experts).argmin())
            new_ids, _, _, _ = again(ScoreEdit(Override(OverrideKind.FORCE, experts=(rare,))))
            if not bool((new_ids == rare).any(-1).all()):
                way = replace(way, deciding=frozenset(), in_turn=False, table=None)
        if binding.layer.selection == "hash":
            return way
        best = int(ids[ids >= 0].mode().values)
        new_ids, _, _, _ = again(ScoreEdit(Override(OverrideKind.EXCLUDE, experts=(best,))))
        pushed = ScoreEdit(Override(OverrideKind.BIAS, experts=(best,), value=0.75))
        _, new_weights, new_logits, log = again(pushed)
        if way.experts > ids.shape[-1] and bool((new_ids == best).any()):
            if torch.equal(new_weights, routing.weights):
                raise MoedeskError("neither its choice nor its weights follow its logits")
            way = replace(way, deciding=frozenset(), in_turn=False, follows=False)
        self._check_rule(binding.rule, binding, logits, new_logits, best, log)
        return way

    def _check_rule(
        self, rule: Rule | None, binding: Binding, logits: Tensor, new: Tensor, expert: int, log: OperationLog
    ) -> None:
        """The ranking sees the score that the rule makes of the changed logits."""
        if rule is None:
            return
        expected = logits.float().clone()
        if binding.probabilities:
            expected = expected.clamp(min=torch.finfo(torch.float32).tiny).log()
        expected[:, expert] += 0.75
        bias = None if binding.bias is None else getattr(*binding.bias).detach().float().flatten()
        scores = rule.scores(expected, bias)
        tolerance = max(1e-5, 4 * torch.finfo(logits.dtype).eps)
        for ranked in log.ranked:
            given = ranked.given.float()
            if ranked.ranking.grouped or given.numel() != scores.numel():
                continue
            if torch.allclose(given.reshape(scores.shape), scores, rtol=tolerance, atol=tolerance):
                return
        raise MoedeskError(f"what its router ranks doesn't follow its logits as {rule.label!r} does")


def _random_rows(binding: Binding) -> Tensor | None:
    """(1, 32, H) numbers as wide as what a layer's router has columns for; None if that can't be seen."""
    router = binding.router if binding.router is not None else binding.candidate.block
    shaped = (p for p in router.parameters() if p.ndim == 2 and p.shape[0] == binding.layer.experts)
    found = next(shaped, None)
    if found is None or not found.is_floating_point():
        return None
    rows = torch.randn(1, 32, found.shape[1], generator=torch.Generator().manual_seed(0))
    return rows.to(found.device, found.dtype)


class _Watched:
    """One layer, until its first call is seen."""

    def __init__(self, binding: Binding, module: nn.Module) -> None:
        self.binding, self._module = binding, module
        self.seen: SelectionCall | None = None
        self._made: tuple[OperationLog, tuple[Any, ...], Mapping[str, Any], Any] | None = None

    def attach(self) -> None:
        self._around = ForwardAround(self._module, self._select)
        self._handle = self.binding.candidate.experts.register_forward_pre_hook(self._experts, with_kwargs=True)

    def detach(self) -> None:
        self._around.remove()
        self._handle.remove()
        if self.seen is None and self._made is not None and self.binding.adapter is not None:
            nothing = torch.empty(0)
            self.seen = SelectionCall(*self._made, nothing, nothing)

    def _select(self, inner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._made is not None:
            return inner(*args, **kwargs)
        log = OperationLog(self.binding.layer.experts)
        with log:
            output = inner(*args, **kwargs)
        self._made = log, args, kwargs, output
        return output

    def _experts(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        routing = read_routing(args, kwargs)
        if self.seen is None and self._made is not None and routing is not None and self.binding.adapter is None:
            self.seen = SelectionCall(*self._made, routing.choice, routing.weights)


@torch.no_grad()
def told(way: Way, seen: SelectionCall) -> Way:
    """Return the way with ``told``, if a run by name in which an expert is forced shows that."""
    choice, hidden = seen.choice, first_tensor((*seen.args, *seen.kwargs.values()))
    if way.by_name is None or not way.ranks_by_name or way.places is None or hidden is None:
        return way
    if len(seen.log.ranked) != 1 or choice.shape != seen.weights.shape or len(choice) != hidden.shape[:-1].numel():
        return way
    chosen = choice.flatten().bincount(minlength=way.experts)
    rare = int(chosen.masked_fill(chosen == 0, len(choice) + 1).argmin())  # of some rows, if any is
    selection = Reselection(way, [ScoreEdit(Override(OverrideKind.FORCE, experts=(rare,)))])
    output = way.by_name.run(way.module, selection.take, seen.args, seen.kwargs)
    ids, weights = (output[place] for place in way.places)
    if not selection.reached or selection.changed is None or ids.shape != choice.shape:
        return way
    others = (ids != choice).any(-1)
    same = torch.equal(selection.changed, others) and torch.equal(weights[~others], seen.weights[~others])
    return replace(way, told=same)


def routing_of(binding: Binding, module: nn.Module, call: SelectionCall) -> tuple[Tensor, Tensor, Tensor]:
    """Return (N, k) ids, weights and (N, E) logits of a first call.

    Raises
    ------
    MoedeskError
        If they can't be read.
    """
    if binding.adapter is not None:
        if binding.hooked is not module:
            raise MoedeskError("its adapter doesn't read its router")
        routing = binding.adapter.routing(module, call.args, call.kwargs, call.output)
        if routing is None or routing.logits is None:
            raise MoedeskError("its adapter reads no logits")
        return routing.ids.long(), routing.weights, routing.logits
    logits = binding.logits(call.output)
    if logits is None:
        raise MoedeskError("its router returns no logits")
    return ids_of(call.choice), call.weights.detach().reshape(len(logits), -1), logits[:, : binding.layer.experts]


def read_again(binding: Binding, way: Way, call: SelectionCall) -> tuple[Tensor, Tensor, Tensor]:
    """The same of a further call of the same module."""
    if way.places is None:
        return routing_of(binding, way.module, call)
    choice, weights = (call.output[place] for place in way.places)
    fresh = SelectionCall(call.log, call.args, call.kwargs, call.output, _shaped(choice, call.choice), weights)
    return routing_of(binding, way.module, fresh)


def _shaped(choice: Tensor, like: Tensor) -> Tensor:
    return choice.reshape(-1, *like.shape[1:])


def ids_of(choice: Tensor) -> Tensor:
    """Return (N, k) int64 ids of a choice: ids, or a mask in which a dropped slot is empty."""
    if choice.ndim < 3:
        return choice.detach().long()
    taken = choice.detach() != 0
    return torch.where(taken.any(-1), taken.to(torch.int8).argmax(-1), -1)
