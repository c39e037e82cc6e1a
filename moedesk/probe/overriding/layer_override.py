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
from moedesk.probe.finding.routing import CallForm, ExpertsCall, read_routing
from moedesk.probe.overriding.act import Act
from moedesk.probe.overriding.captured import CapturedRouting
from moedesk.probe.overriding.changes import ONE, Rows, changed_routing, rows_differing
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.rerouting import with_routing, written
from moedesk.probe.overriding.score_edit import ScoreEdit
from moedesk.probe.overriding.slots import slot_counts, slots_holders
from moedesk.probe.overriding.way import Way
from moedesk.probe.taking.compiled import apart
from moedesk.probe.taking.overridden import Changed, Later, heard, listening, say
from moedesk.probe.taking.tap import recomputing


class LayerOverride:
    """What acts on one layer, until it is removed.

    Overrides of the routing act on what the layer's selection gave. Those of the score act in it: how depends on where a layer
    selects, so that each such place has a class of its own, see ``kinds``.

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
        self._lasting = not any(act.override.columns or act.override.phases for act in self._routing)
        self._said = self._saying(self._routing)
        self._only_slots = not self._scoring and all(act.override.kind is OverrideKind.TOP_K for act in self._routing)
        alone = self._lasting and not self._drops and len(self._routing) == 1 and not self._scoring
        replays = alone and self._routing[0].override.kind is OverrideKind.REPLAY and self._routing[0].override.weights
        self._replay_weights = self._routing[0] if replays else None
        slots = [act.override.value for act in acts if act.override.kind is OverrideKind.TOP_K]
        self._slots = int(slots[-1] or 0) if slots else 0
        self._counts = slot_counts(binding) if slots else []
        self._form: CallForm | None = None
        self._pending: Tensor | None = None
        self._arounds: list[ForwardAround] = []
        self._handles: list[RemovableHandle] = []

    def put_on(self) -> None:
        """Hook the layer's modules."""
        self._hook_selection()
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

    def _hook_selection(self) -> None:
        """Hook what acts on the score."""

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
        if known is not None and self._pending is None:
            if self._only_slots:  # they acted already, and this is what came of them
                self._tell_all(_every_row(len(known[0]), known[0].device))
                return None
            if self._spared(known[0]):
                return None
            if self._replay_weights is not None and known[0].is_cpu and len(known[0]) == 1:
                captured = self._replay_weights.replayed(1, known[0].device)
                if captured is not None and captured.fits(*known):
                    return self._give(captured, args, kwargs, known)
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
        if self._about is None or choice.shape[0] != 1 or not choice.is_cpu:
            return False
        row = choice.tolist()[0]
        if not self._about.isdisjoint(row) or (self._drops and len(set(row)) < len(row)):
            return False
        by, ranked = self._said if self._lasting else self._saying(self._acting(choice))
        if by and not recomputing():
            self._say(ONE[False], by, ranked)
        return True

    def _give(
        self, given: CapturedRouting, args: tuple[Any, ...], kwargs: Mapping[str, Any], known: tuple[Tensor, Tensor]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]] | None:
        """The arguments of the experts with what a capture says of their only row; None if that is what they are given."""
        choice, weights = known
        differs = not torch.equal(given.weights, weights) or not torch.equal(given.ids, choice)
        self._tell_all(ONE[differs])
        return with_routing(args, kwargs, known, (given.ids, given.weights)) if differs else None

    def _tell_all(self, rows: Tensor) -> None:
        """Count and say which rows all that acts on the routing made others."""
        if not recomputing():
            for act in self._routing:
                act.tally.add(rows)
            self._say(rows, *self._said)

    def _say(self, rows: Tensor | Later, by: tuple[Override, ...], ranked: bool) -> None:
        """Tell what is recorded now which rows are others."""
        for tap in listening():
            told = tap.overridden.setdefault(self._binding.candidate.experts, [])
            told.append(Changed(rows, None, None, by, ranked))

    def _acting(self, choice: Tensor) -> list[Act]:
        """What acts on the routing of a call of one row."""
        return [act for act in self._routing if act.rows(1, choice.device) is not False]

    def _saying(self, acts: Sequence[Act]) -> tuple[tuple[Override, ...], bool]:
        """What is said of acts: which they are, and whether what was ranked follows from the logits."""
        by = tuple([act.override for act in acts])
        return by, self._ranked(by)

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
                pending = differ = _every_row(count, routing.ids.device)
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
        before = [
            vars(holder)[name] for holder, name in self._counts
        ]  # a generator's context takes several times as long
        try:
            for holder, name in self._counts:
                vars(holder)[name] = self._slots
            return inner(*args, **kwargs)
        finally:
            for (holder, name), value in zip(self._counts, before, strict=True):
                vars(holder)[name] = value


def _drops(act: Act) -> bool:
    """Whether an act on the routing may take slots from tokens."""
    if act.override.kind is OverrideKind.REPLAY:
        return act.captured is None or act.captured.drops(act.binding.layer.place)
    return act.override.kind is OverrideKind.CAPACITY


def _every_row(count: int, device: torch.device) -> Tensor:
    """(N,) bools, all true; nobody may write to it."""
    return ONE[True] if count == 1 and device.type == "cpu" else torch.ones(count, dtype=torch.bool, device=device)


def _about(acts: Sequence[Act]) -> frozenset[int] | None:
    """The experts that acts on the routing are about; None if they may change a row that has none of them twice."""
    kinds = (OverrideKind.ABLATE, OverrideKind.SCALE, OverrideKind.SWAP, OverrideKind.CAPACITY)
    if any(act.override.kind not in kinds for act in acts):
        return None
    return frozenset(expert for act in acts for expert in act.override.experts)


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
