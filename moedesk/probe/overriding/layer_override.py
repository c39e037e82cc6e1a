"""Everything that acts on one layer: put on its modules, and taken off again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from moedesk.core.override import Override, OverrideKind
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.routing import CallForm, ExpertsCall, read_routing
from moedesk.probe.overriding.act import Act
from moedesk.probe.overriding.changes import Rows, changed_routing
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.looked_up import reselection
from moedesk.probe.overriding.rerouting import rewritten
from moedesk.probe.overriding.reselection import ScoreEdit
from moedesk.probe.overriding.slots import slot_counts, with_slots
from moedesk.probe.overriding.way import Way
from moedesk.probe.taking.compiled import apart
from moedesk.probe.taking.overridden import Changed, heard, say

_ONE = torch.tensor([False]), torch.tensor([True])
"""Whether the only row differs."""


class LayerOverride:
    """What acts on one layer, until it is removed.

    Overrides of the score run the layer's selection twice, without and with them: that is how it is known which rows they
    change. Those of the routing act on what the selection gave.

    Parameters
    ----------
    binding : Binding
    way : Way or None
        Needed where an act is on the score.
    acts : sequence of Act
        In the order in which they act.
    """

    def __init__(self, binding: Binding, way: Way | None, acts: Sequence[Act]) -> None:
        self._binding, self._way = binding, way
        self._scoring = [act for act in acts if act.scores]
        self._routing = [act for act in acts if not act.scores]
        drops = any(act.override.kind in (OverrideKind.CAPACITY, OverrideKind.REPLAY) for act in self._routing)
        self._hidden = drops or binding.adapter is not None  # what is used is not all that hooks see
        slots = [act.override.value for act in acts if act.override.kind is OverrideKind.TOP_K]
        self._edits = _lasting_edits(self._scoring)
        self._slots = int(slots[-1] or 0) if slots else 0
        self._counts = slot_counts(binding) if slots else []
        self._form: CallForm | None = None
        self._pending: Tensor | None = None
        self._arounds: list[ForwardAround] = []
        self._handles: list[RemovableHandle] = []

    def put_on(self) -> None:
        """Hook the layer's modules."""
        if self._slots:
            self._arounds.append(ForwardAround(self._binding.candidate.block, self._with_slots))
        if self._scoring:
            assert self._way is not None
            self._arounds.append(ForwardAround(self._way.module, self._select))
        adapter, hooked = self._binding.adapter, self._binding.hooked
        if not self._routing:
            return
        if adapter is None or adapter.when == "before":
            self._handles.append(hooked.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
        else:
            self._arounds.append(ForwardAround(hooked, self._reroute))

    def take_off(self) -> None:
        """Leave the modules as they were."""
        for around in reversed(self._arounds):
            around.remove()
        for handle in self._handles:
            handle.remove()
        self._arounds.clear()
        self._handles.clear()

    # the score

    def _select(self, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        way = self._way
        assert way is not None
        self._pending = None  # of a call that failed
        if torch.is_grad_enabled():
            with torch.no_grad():
                plain = inner(*args, **kwargs)
        else:
            plain = inner(*args, **kwargs)
        ids, weights = self._read(way, args, kwargs, plain)
        acts, edits = self._scoring, self._edits
        if edits is None:
            acting = [(act, edit) for act in acts if (edit := edit_of(act, len(ids), ids.device)) is not None]
            acts, edits = [act for act, _ in acting], [edit for _, edit in acting]
        if not edits:
            return inner(*args, **kwargs)
        with reselection(way, edits) as selection:
            output = inner(*args, **kwargs)
        if not selection.reached:
            self._miss(acts)
            return inner(*args, **kwargs)
        changed = rows_differing((ids, weights), self._read(way, args, kwargs, output))
        for act, edit in zip(acts, edits, strict=True):
            act.count(changed, edit.rows)
        if self._routing:
            self._pending = changed
        elif heard():
            by = tuple(act.override for act in acts)
            say(self._binding.candidate.experts, Changed(changed, by=by, ranked=self._ranked(by)))
        return output

    def _read(self, way: Way, args: Any, kwargs: Mapping[str, Any], output: Any) -> tuple[Tensor, Tensor]:
        """Ids (or masks) and weights in an output of what selects, a row a token."""
        if way.places is None:
            adapter = self._binding.adapter
            assert adapter is not None
            routing = adapter.routing(way.module, args, kwargs, output)
            assert routing is not None
            return routing.ids, routing.weights
        choice, weights = output[way.places[0]], output[way.places[1]]
        if weights.requires_grad:
            weights = weights.detach()
        if weights.ndim != 2:
            weights = weights.reshape(-1, weights.shape[-1])
        if choice.shape == weights.shape:
            return choice, weights
        choice = choice.detach()
        if choice.numel() == weights.numel():
            return choice.reshape(weights.shape), weights
        mask = choice.reshape(*weights.shape, -1)  # an empty row of it is a slot that was dropped
        return mask.flatten(1), weights.masked_fill(~(mask != 0).any(-1), 0)

    def _miss(self, acts: Sequence[Act]) -> None:
        for act in acts:
            act.notes[
                f"{act.override.title}: it doesn't act on {self._binding.layer.path} in some calls, which select in another way"
            ] = None

    def _ranked(self, by: Sequence[Override]) -> bool:
        """Whether the ranked score is what the rule makes of the logits: an excluded expert's is -inf, whatever its bias."""
        excluding = any(override.kind is OverrideKind.EXCLUDE for override in by)
        return not excluding or self._way is None or self._way.shares

    # the routing

    @apart
    def _before(self, module: Any, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> Any:
        adapter = self._binding.adapter
        if adapter is not None:
            routing = adapter.routing(module, args, kwargs, None, graph=True)
            changed = None if routing is None else self._change(routing)
            assert adapter.write is not None
            return None if changed is None or changed is routing else adapter.write(module, args, kwargs, None, changed)
        known = None if self._form is None else self._form.read(args, kwargs)
        call = read_routing(args, kwargs) if known is None else ExpertsCall(known[1], *known)
        if call is None:
            return None
        if known is None:
            self._form = CallForm.of(args, kwargs, call)
        return rewritten(args, kwargs, call, self._change)

    def _reroute(self, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = inner(*args, **kwargs)
        adapter, module = self._binding.adapter, self._binding.hooked
        assert adapter is not None
        routing = adapter.routing(module, args, kwargs, output, graph=True)
        changed = None if routing is None else self._change(routing)
        if changed is None or changed is routing:
            return output
        assert adapter.write is not None
        return adapter.write(module, args, kwargs, output, changed)

    def _change(self, routing: Routing) -> Routing:
        """The routing with all that acts on it; tells which rows differ."""
        given, count = routing, len(routing.ids)
        acted: list[Act] = []
        differ: Tensor | None = None
        for act in self._routing:
            rows: Rows | bool = act.rows(count, routing.ids.device)
            if rows is False:
                continue
            acted.append(act)
            mask = rows if isinstance(rows, Tensor) else None
            new = self._changed(act, routing, mask)
            differ = differing(routing, new)
            if act.override.kind is OverrideKind.TOP_K:
                self._pending = differ = torch.ones_like(differ)
            act.count(differ, mask)
            routing = new
        pending, self._pending = self._pending, None
        if acted or pending is not None:
            rows = differing(given, routing) if differ is None or len(acted) > 1 else differ
            by = tuple(act.override for act in [*(self._scoring if pending is not None else ()), *acted])
            changed = Changed(rows if pending is None else rows | pending, by=by, ranked=self._ranked(by))
            if self._hidden:
                changed = changed._replace(ids=routing.ids, weights=routing.weights.detach())
            say(self._binding.candidate.experts, changed)
        return routing

    def _changed(self, act: Act, routing: Routing, rows: Rows) -> Routing:
        if act.override.kind is OverrideKind.TOP_K:  # it acted already, and this is what came of it
            return routing
        if act.override.kind is not OverrideKind.REPLAY:
            return changed_routing(act.override, routing, rows, self._binding.layer.experts)
        given = act.replayed(len(routing.ids), routing.ids.device, rows)
        if given is None:
            return routing
        there = given.present[:, None]
        ids = torch.where(there, given.ids.to(routing.ids), routing.ids)
        if not act.override.weights:
            return replace(routing, ids=ids)
        return replace(routing, ids=ids, weights=torch.where(there, given.weights.to(routing.weights), routing.weights))

    # the number of slots

    def _with_slots(self, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with with_slots(self._counts, self._slots):
            return inner(*args, **kwargs)


def _lasting_edits(acts: Sequence[Act]) -> list[ScoreEdit] | None:
    """What acts do to the score in every call; None if that depends on the call."""
    if any(act.override.columns or act.override.phases or act.override.kind is OverrideKind.REPLAY for act in acts):
        return None
    return [ScoreEdit(act.override) for act in acts]


def edit_of(act: Act, count: int, device: torch.device) -> ScoreEdit | None:
    """Return what an act does to the score in a call of so many rows; None if nothing."""
    rows = act.rows(count, device)
    if rows is False:
        return None
    mask = rows if isinstance(rows, Tensor) else None
    if act.override.kind is not OverrideKind.REPLAY:
        return ScoreEdit(act.override, mask)
    given = act.replayed(count, device, mask)
    if given is None:
        return None
    whole = given.present & (given.ids >= 0).all(-1)
    return ScoreEdit(act.override, mask, given.ids.masked_fill(~whole[:, None], -1))


def rows_differing(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """Return (N,) which rows have other ids or weights; nobody may write to it."""
    (ids, weights), (new_ids, new_weights) = one, other
    if ids.shape[0] == 1 and ids.is_cpu:  # no device to wait for, and one token a pass is when Python's time shows
        return _ONE[not (torch.equal(ids, new_ids) and torch.equal(weights, new_weights))]
    return (new_ids != ids).any(-1) | (new_weights != weights).any(-1)


@torch.no_grad()
def differing(one: Routing, other: Routing) -> Tensor:
    """Return (N,) which rows have other ids or weights."""
    parts = [
        (before != after).any(-1)
        for before, after in ((one.ids, other.ids), (one.weights, other.weights))
        if before is not after
    ]
    if not parts:
        return torch.zeros(len(one.ids), dtype=torch.bool, device=one.ids.device)
    return parts[0] if len(parts) == 1 else parts[0] | parts[1]
