"""Everything that acts on one watched block: put on its modules, and taken off again."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from moedesk.core.override import OverrideKind
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.act import Act
from moedesk.probe.overriding.detour import Detour, DeviatedError
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.layer_override import LayerOverride, differing, edit_of
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.score_edit import ScoreEdit
from moedesk.probe.overriding.watched_layer import WatchedLayer
from moedesk.probe.taking.compiled import apart
from moedesk.probe.watched.operations import unseen
from moedesk.probe.watched.watch import experts_of
from moedesk.probe.watched.watched_scout import hidden_of

_MOVING = frozenset({OverrideKind.SWAP, OverrideKind.FORCE, OverrideKind.REPLAY})
"""Kinds that send tokens to other experts."""


class WatchedOverride(LayerOverride):
    """What acts on a watched block, until it is removed: in one call of its own forward, without a second one.

    Parameters
    ----------
    binding : Binding
    layer : WatchedLayer
    acts : sequence of Act
    """

    def __init__(self, binding: Binding, layer: WatchedLayer, acts: Sequence[Act]) -> None:
        super().__init__(binding, layer.way.score, acts)
        self._ways = {mode: way.with_slots(self._slots) for mode, way in layer.ways.items()}
        self._set_slots = layer.set_slots
        self._factors: dict[int, float] = {}
        self._scored: list[tuple[Act, ScoreEdit]] = []
        self._detour: Detour | None = None

    def put_on(self) -> None:
        """Hook the block and its experts."""
        block, experts = self._binding.candidate.block, experts_of(self._binding.candidate.experts)
        self._arounds.append(ForwardAround(block, self._run))
        self._handles += [expert.register_forward_pre_hook(self._before_expert, prepend=True) for expert in experts]
        if any(way.weights is None for way in self._ways.values()):
            for number in sorted({expert for act in self._routing for expert in act.override.experts}):
                self._arounds.append(ForwardAround(experts[number], partial(self._expert, number)))

    def _run(self, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._pending = None  # of a call that failed
        hidden = hidden_of(args, kwargs)
        if hidden is None:
            return inner(*args, **kwargs)
        rows = hidden.numel() // hidden.shape[-1]
        edits = [(act, edit) for act in self._scoring if (edit := edit_of(act, rows, hidden.device)) is not None]
        routing = [act for act in self._routing if act.rows(rows, hidden.device) is not False]
        if not edits and not routing:
            return inner(*args, **kwargs)
        acts = [*(act for act, _ in edits), *routing]
        way = self._ways.get(self._binding.candidate.block.training)
        if way is None or (edits and way.score is None):
            return self._missed(acts, inner, args, kwargs)
        self._scored = edits
        selection = Reselection(way.score, [edit for _, edit in edits]) if edits and way.score is not None else None
        self._factors = _factors(routing) if way.weights is None else {}
        detour = self._detour = Detour(way, rows, self, selection)
        try:
            with detour, self._other_slots():
                output = inner(*args, **kwargs)
        except DeviatedError:
            return self._missed(acts, inner, args, kwargs)
        finally:
            self._detour, self._factors = None, {}
        if detour.came and (selection is None or selection.reached):
            return output
        if detour.touched:
            return self._missed(acts, inner, args, kwargs)
        self._miss(acts)
        return output

    @apart
    def _before_expert(self, module: Any, args: Any) -> None:
        if self._detour is not None:
            self._detour.leave()

    def _missed(
        self, acts: Sequence[Act], inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The call as it is, but for its number of slots."""
        self._miss([act for act in acts if act.override.kind is not OverrideKind.TOP_K])
        with self._other_slots():
            return inner(*args, **kwargs)

    def _other_slots(self) -> AbstractContextManager[Any]:
        return self._set_slots(self._slots) if self._slots and self._set_slots is not None else nullcontext()

    def new_ids(self, ids: Tensor) -> Tensor:
        """Return (N, k) ids with all that sends tokens elsewhere; a slot is dropped by its weight alone."""
        new = ids
        for act in self._routing:
            if act.override.kind not in _MOVING:
                continue
            rows = act.rows(len(ids), ids.device)
            if rows is False:
                continue
            nothing = torch.zeros(ids.shape, device=ids.device)
            new = self._changed(act, Routing(new, nothing), rows if isinstance(rows, Tensor) else None).ids
        return new

    def new_routing(self, routing: Routing, plain: Routing | None) -> Routing:
        """Return the routing with all that acts on it; counts and tells which rows differ."""
        if plain is None and not self._factors and self._spared(routing.ids):
            return routing
        if plain is not None:
            self._pending = differing(plain, routing)
            for act, edit in self._scored:
                act.count(self._pending, edit.rows)
        return self._change(routing)

    def _expert(self, number: int, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output, factor = inner(*args, **kwargs), self._factors.get(number)
        if factor is None:
            return output
        with unseen():  # an operation that the block doesn't carry out
            return _times(output, factor)


def _factors(acts: Sequence[Act]) -> dict[int, float]:
    """By how much what each expert returns is multiplied."""
    factors: dict[int, float] = {}
    for act in acts:
        factor = 0.0 if act.override.kind is OverrideKind.ABLATE else act.override.value
        assert factor is not None
        for expert in act.override.experts:
            factors[expert] = factors.get(expert, 1.0) * factor
    return factors


def _times(output: Any, factor: float) -> Any:
    if isinstance(output, Tensor):
        nothing = torch.ones((), dtype=torch.bool, device=output.device)
        return output.masked_fill(nothing, 0) if factor == 0 else output * factor  # 0 · NaN is not 0
    return type(output)(_times(part, factor) for part in output) if type(output) in (tuple, list) else output
