"""Everything that acts on one layer: put on its modules, and taken off again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from moedesk.core.override import Override, OverrideKind
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.finding.routing import CallForm, ExpertsCall, read_routing
from moedesk.probe.overriding.act import Act
from moedesk.probe.overriding.by_name import ByName, by_name, function_of
from moedesk.probe.overriding.changes import ONE, Rows, changed_routing, rows_differing
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.looked_up import reselection
from moedesk.probe.overriding.rerouting import written
from moedesk.probe.overriding.reselection import Edits, Reselection, ScoreEdit
from moedesk.probe.overriding.slots import slot_counts, slots_holders, with_slots
from moedesk.probe.overriding.way import Way, never_written
from moedesk.probe.taking.compiled import apart
from moedesk.probe.taking.overridden import Changed, Later, heard, rows_of, say


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
        self._drops = any(_drops(act) for act in self._routing)
        self._hidden = self._drops or binding.adapter is not None  # what is used is not all that hooks see
        self._about = _about(self._routing)
        slots = [act.override.value for act in acts if act.override.kind is OverrideKind.TOP_K]
        lasting = not any(act.override.columns or act.override.phases for act in self._scoring)
        self._everywhere = _edits_everywhere(self._scoring)
        self._edits = self._everywhere if lasting else None
        self._chooses = all(act.override.kind in (OverrideKind.FORCE, OverrideKind.REPLAY) for act in self._scoring)
        self._slots = int(slots[-1] or 0) if slots else 0
        self._counts = slot_counts(binding) if slots else []
        self._form: CallForm | None = None
        self._by_name: ByName | None = None
        self._pending: Tensor | None = None
        self._arounds: list[ForwardAround] = []
        self._handles: list[RemovableHandle] = []

    def put_on(self) -> None:
        """Hook the layer's modules."""
        if self._scoring:
            assert self._way is not None
            self._by_name = _by_name(self._way, self._scoring)
            self._arounds.append(ForwardAround(self._way.module, self._select))
        adapter, hooked = self._binding.adapter, self._binding.hooked
        if not self._routing:
            return
        if adapter is None or adapter.when == "before":
            self._handles.append(hooked.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
        else:
            self._arounds.append(ForwardAround(hooked, self._reroute))
        self._put_slots_on()

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
        learning = torch.is_grad_enabled()
        if self._by_name is not None and (way.told if self._chooses else self._compares_later(way, learning)):
            return self._once(way, self._by_name, inner, args, kwargs)
        if learning:
            with torch.no_grad():
                output = inner(*args, **kwargs)
        else:
            output = inner(*args, **kwargs)
        plain = self._read(way, args, kwargs, output)
        acts, edits = self._scoring, self._edits
        if edits is None:
            acts, edits = self._of_call(len(plain.ids), plain.ids.device)
        if not acts:
            return inner(*args, **kwargs) if learning else output
        if self._by_name is not None:
            known = None if learning else _logits_in(way, output)
            selection = Reselection(way, edits, known)
            output = self._by_name.run(way.module, selection.take, args, kwargs)
        else:
            selection = reselection(way, edits)
            with selection:
                output = inner(*args, **kwargs)
        if not selection.reached:
            self._miss(acts)
            return inner(*args, **kwargs)
        self._tell(differing(plain, self._read(way, args, kwargs, output)), acts, edits)
        return output

    def _compares_later(self, way: Way, learning: bool) -> bool:
        """Whether a call of the selection with what acts is enough: which rows differ is worked out behind it."""
        if way.compares is None or learning or self._routing or way.module.training:
            return False
        return not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda")

    def _once(
        self, way: Way, run: ByName, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """One call of the selection, after which it is known which rows are others, or can be worked out."""
        acts, edits, hidden = self._scoring, self._edits, first_tensor((*args, *kwargs.values()))
        assert hidden is not None
        if edits is None:
            acts, edits = self._of_call(hidden.shape[:-1].numel(), hidden.device)
        if not acts:
            return inner(*args, **kwargs)
        selection = Reselection(way, edits)
        output = run.run(way.module, selection.take, args, kwargs)
        changed: Tensor | Later | None = selection.changed if self._chooses else None
        if not selection.reached or (self._chooses and changed is None):
            self._miss(acts)
            return inner(*args, **kwargs)
        if changed is None:
            assert way.compares is not None
            assert selection.logits is not None
            changed = way.compares.of(hidden, selection.logits, output)
        self._tell(changed, acts, edits)
        return output

    def _of_call(self, count: int, device: torch.device) -> tuple[list[Act], Edits]:
        """The acts on the score that act in a call of so many rows, and what they do to it."""
        acting = [(act, edit) for act in self._scoring if (edit := edit_of(act, count, device)) is not None]
        everywhere = len(acting) == len(self._scoring) and all(edit.rows is None for _, edit in acting)
        if everywhere and self._everywhere is not None:
            return self._scoring, self._everywhere
        return [act for act, _ in acting], Edits([edit for _, edit in acting])

    def _tell(self, changed: Tensor | Later, acts: Sequence[Act], edits: Edits) -> None:
        """Count and say which rows are others."""
        for act, edit in zip(acts, edits.every, strict=True):
            act.count(changed, edit.rows)
        if self._routing:
            self._pending = rows_of(changed)
        elif heard():
            by = tuple([act.override for act in acts])
            say(self._binding.candidate.experts, Changed(changed, by=by, ranked=self._ranked(by)))

    def _read(self, way: Way, args: Any, kwargs: Mapping[str, Any], output: Any) -> Routing:
        """Ids (or masks) and weights in an output of what selects, a row a token."""
        if way.places is None:
            adapter = self._binding.adapter
            assert adapter is not None
            routing = adapter.routing(way.module, args, kwargs, output)
            assert routing is not None
            return routing
        choice, weights = output[way.places[0]], output[way.places[1]]
        if weights.requires_grad:
            weights = weights.detach()
        if weights.ndim != 2:
            weights = weights.reshape(-1, weights.shape[-1])
        if choice.shape == weights.shape:
            return Routing(choice, weights)
        choice = choice.detach()
        if choice.numel() == weights.numel():
            return Routing(choice.reshape(weights.shape), weights)
        mask = choice.reshape(*weights.shape, -1)  # an empty row of it is a slot that was dropped
        return Routing(mask.flatten(1), weights.masked_fill(~(mask != 0).any(-1), 0))

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
        if known is not None and self._pending is None and self._spared(known[0]):
            return None
        call = read_routing(args, kwargs) if known is None else ExpertsCall(known[1], *known)
        if call is None:
            return None
        if known is None:
            self._form = CallForm.of(args, kwargs, call)
        whole = call.choice.dtype is torch.int64 and not call.one_hot  # nobody writes to it here
        given = Routing(call.choice if whole else call.ids(), call.weights)
        return written(args, kwargs, call, given, self._change(given), self._drops)

    def _spared(self, choice: Tensor) -> bool:
        """Whether it can be seen without waiting that nothing changes: the only row has none of the experts. Tells so."""
        if (
            self._about is None
            or choice.shape[0] != 1
            or not choice.is_cpu
            or not self._about.isdisjoint(choice.tolist()[0])
        ):
            return False
        if heard():
            acts = [act for act in self._routing if act.rows(1, choice.device) is not False]
            by = tuple([act.override for act in acts])
            if by:
                say(self._binding.candidate.experts, Changed(ONE[False], by=by, ranked=self._ranked(by)))
        return True

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
        pending, self._pending = self._pending, None
        acted, differ = [], None
        for act in self._routing:
            rows = act.rows(count, routing.ids.device)
            if rows is False:
                continue
            acted.append(act)
            mask = rows if isinstance(rows, Tensor) else None
            new = self._changed(act, routing, mask)
            if act.override.kind is OverrideKind.TOP_K:
                pending = differ = torch.ones(count, dtype=torch.bool, device=routing.ids.device)
            else:
                differ = differing(routing, new)
            act.count(differ, mask)
            routing = new
        if (acted or pending is not None) and heard():
            if differ is None or len(acted) > 1:
                differ = differing(given, routing)
            by = tuple([act.override for act in (*(self._scoring if pending is not None else ()), *acted)])
            changed = Changed(differ if pending is None else differ | pending, by=by, ranked=self._ranked(by))
            if self._hidden:
                ids = routing.ids.clone() if routing.ids is given.ids else routing.ids
                changed = changed._replace(ids=ids, weights=routing.weights.detach())
            say(self._binding.candidate.experts, changed)
        return routing

    def _changed(self, act: Act, routing: Routing, rows: Rows) -> Routing:
        if act.override.kind is OverrideKind.TOP_K:  # it acted already, and this is what came of it
            return routing
        if act.override.kind is not OverrideKind.REPLAY:
            return changed_routing(act.override, routing, rows, self._binding.layer.experts)
        given = act.replayed(len(routing.ids), routing.ids.device)
        if given is None:
            return routing
        ids, weights = given.ids.to(routing.ids), given.weights.to(routing.weights)
        if rows is None and given.everywhere and not routing.weights.requires_grad:
            return Routing(ids, weights if act.override.weights else routing.weights, routing.logits)
        there = (given.present if rows is None else given.present & rows)[:, None]
        ids = torch.where(there, ids, routing.ids)
        if not act.override.weights:
            return Routing(ids, routing.weights, routing.logits)
        return Routing(ids, torch.where(there, weights, routing.weights), routing.logits)

    # the number of slots

    def _put_slots_on(self) -> None:
        """Around all else: what reads the routing of a call needs the number that it had."""
        if self._slots:
            self._arounds += [ForwardAround(module, self._with_slots) for module in slots_holders(self._binding)]

    def _with_slots(self, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with with_slots(self._counts, self._slots):
            return inner(*args, **kwargs)


def _by_name(way: Way, acts: Sequence[Act]) -> ByName | None:
    """What runs a layer's selection by name, if that shows enough, and its forward is still the one that was studied."""
    function = function_of(way.module.forward)
    if way.by_name is None or function is not way.by_name.function:
        return None
    if all(act.override.kind in (OverrideKind.BIAS, OverrideKind.TEMPERATURE) for act in acts):
        return by_name(function, frozenset({way.operation}))
    return by_name(function, way.names) if way.ranks_by_name else None


def _logits_in(way: Way, output: Any) -> Tensor | None:
    """The logits in what a call of the selection returned, as its operation gave them."""
    if way.logits_at is None:
        return None
    logits = output[way.logits_at]
    return logits if isinstance(logits, Tensor) and never_written(logits) else None


def _drops(act: Act) -> bool:
    """Whether an act on the routing may take slots from tokens."""
    if act.override.kind is OverrideKind.REPLAY:
        return act.captured is None or act.captured.drops(act.binding.layer.place)
    return act.override.kind is OverrideKind.CAPACITY


def _about(acts: Sequence[Act]) -> frozenset[int] | None:
    """The experts that acts on the routing are about; None if they may change others."""
    kinds = (OverrideKind.ABLATE, OverrideKind.SCALE, OverrideKind.SWAP)
    if any(act.override.kind not in kinds for act in acts):
        return None
    return frozenset(expert for act in acts for expert in act.override.experts)


def _edits_everywhere(acts: Sequence[Act]) -> Edits | None:
    """What acts do to the score where they act on all rows; None if a capture says it."""
    if any(act.override.kind is OverrideKind.REPLAY for act in acts):
        return None
    return Edits([ScoreEdit(act.override) for act in acts])


def edit_of(act: Act, count: int, device: torch.device) -> ScoreEdit | None:
    """Return what an act does to the score in a call of so many rows; None if nothing."""
    rows = act.rows(count, device)
    if rows is False:
        return None
    mask = rows if isinstance(rows, Tensor) else None
    if act.override.kind is not OverrideKind.REPLAY:
        return ScoreEdit(act.override, mask)
    given = act.replayed(count, device)
    if given is None:
        return None
    chosen = given.chosen if mask is None else given.chosen.masked_fill(~mask[:, None], -1)
    return ScoreEdit(act.override, mask, chosen, given.everywhere and not given.drops and mask is None)


def differing(one: Routing, other: Routing) -> Tensor:
    """Return (N,) which rows have other ids or weights; nobody may write to it."""
    return rows_differing((one.weights, other.weights), (one.ids, other.ids))  # weights differ more often
