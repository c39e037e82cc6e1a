"""Overrides of the score of a layer whose router selects, in calls of that router: put on it, and taken off again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from moedesk.core.override import OverrideKind
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.overriding.act import Act
from moedesk.probe.overriding.by_name import ByName, by_name, function_of
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.layer_override import LayerOverride, differing, edit_of
from moedesk.probe.overriding.looked_up import reselection
from moedesk.probe.overriding.one_row import OneRow
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.score_edit import Edits, ScoreEdit
from moedesk.probe.overriding.way import Way, never_written
from moedesk.probe.taking.overridden import Later, rows_of
from moedesk.probe.taking.tap import recomputing


class SelectingOverride(LayerOverride):
    """What acts on such a layer, until it is removed.

    Its selection runs once, and which rows are others is told by its ranking, or worked out later from the logits alone. Where
    neither is known to be right, it runs twice, without and with what acts.

    Parameters
    ----------
    binding : Binding
    way : Way
    acts : sequence of Act
        In the order in which they act.
    """

    def __init__(self, binding: Binding, way: Way, acts: Sequence[Act]) -> None:
        super().__init__(binding, way, acts)
        self._selection = way
        self._everywhere = _edits_everywhere(self._scoring)
        self._every = [ScoreEdit(act.override) for act in self._scoring]
        self._lasts = not any(act.override.columns or act.override.phases for act in self._scoring)
        self._edits = self._everywhere if self._lasts else None
        alone = len(self._scoring) == 1 and self._everywhere is None
        self._replay = self._scoring[0] if alone else None
        self._chooses = all(act.override.kind in (OverrideKind.FORCE, OverrideKind.REPLAY) for act in self._scoring)
        self._by_name: ByName | None = None
        self._one_row: OneRow | None = None
        self._score_said = self._saying(self._scoring)

    def _hook_selection(self) -> None:
        way = self._selection
        self._by_name = _by_name(way, self._scoring)
        self._one_row = self._for_one_row()
        self._arounds.append(ForwardAround(way.module, self._select))

    def _for_one_row(self) -> OneRow | None:
        """What makes calls for one row on the host, if they can be made so."""
        way, edits = self._selection, self._everywhere
        if self._replay is not None:
            edits = Edits([ScoreEdit(self._replay.override, ids=torch.empty(0, 0, dtype=torch.int64))])
        told = self._chooses or (way.compares is not None and not self._routing)
        return OneRow.of(way, self._by_name, edits) if told and edits is not None else None

    def _select(self, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._pending = None  # of a call that failed
        way, learning = self._selection, torch.is_grad_enabled()
        steady = not (learning or way.module.training or torch.is_autocast_enabled("cpu"))
        if steady and self._one_row is not None and len(args) == 1 and not kwargs:
            hidden = args[0]
            if isinstance(hidden, Tensor) and hidden.is_cpu and hidden.numel() == hidden.shape[-1]:
                done, output = self._select_one(self._one_row, inner, hidden)
                if done:
                    return output
        later = way.compares is not None and steady and not self._routing and not torch.is_autocast_enabled("cuda")
        if self._by_name is not None and (way.told if self._chooses else later):
            return self._once(way, self._by_name, inner, args, kwargs)
        return self._twice(way, inner, args, kwargs)

    def _select_one(self, one: OneRow, inner: Callable[..., Any], hidden: Tensor) -> tuple[bool, Any]:
        """Whether a call for one row could be made in the quick way, and what it gave."""
        acts, ids = self._scoring, None
        if not self._lasts:
            for act in acts:
                rows = act.rows(1, hidden.device)
                if rows is not None:
                    return (True, inner(hidden)) if rows is False and len(acts) == 1 else (False, None)
        if self._replay is not None:
            given = self._replay.replayed(1, hidden.device)
            if given is None:
                return True, inner(hidden)
            if given.drops or not given.everywhere:
                return False, None
            ids = given.ids
        found = one.select(hidden, ids)
        if found is None:
            if one.missed:
                self._one_row = None  # nor will the next call be as expected
            return False, None
        output, logits, changed = found
        if self._chooses:
            assert changed is not None
            self._tell(changed, acts, self._every)
        else:
            assert self._selection.compares is not None
            assert logits is not None
            self._tell(self._selection.compares.of(hidden, logits, output), acts, self._every)
        return True, output

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
        self._tell(changed, acts, edits.every)
        return output

    def _twice(self, way: Way, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Two calls of the selection, without and with what acts."""
        learning = torch.is_grad_enabled()
        with torch.set_grad_enabled(False):
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
        self._tell(differing(plain, self._read(way, args, kwargs, output)), acts, edits.every)
        return output

    def _of_call(self, count: int, device: torch.device) -> tuple[list[Act], Edits]:
        """The acts on the score that act in a call of so many rows, and what they do to it."""
        acting = [(act, edit) for act in self._scoring if (edit := edit_of(act, count, device)) is not None]
        everywhere = len(acting) == len(self._scoring) and all(edit.rows is None for _, edit in acting)
        if everywhere and self._everywhere is not None:
            return self._scoring, self._everywhere
        return [act for act, _ in acting], Edits([edit for _, edit in acting])

    def _tell(self, changed: Tensor | Later, acts: Sequence[Act], edits: Sequence[ScoreEdit]) -> None:
        """Count and say which rows are others."""
        if recomputing():
            return
        for act, edit in zip(acts, edits, strict=True):
            act.tally.add(changed, edit.rows)
        if self._routing:
            self._pending = rows_of(changed)
        else:
            self._say(changed, *(self._score_said if acts is self._scoring else self._saying(acts)))

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


def _edits_everywhere(acts: Sequence[Act]) -> Edits | None:
    """What acts do to the score where they act on all rows; None if a capture says it."""
    if any(act.override.kind is OverrideKind.REPLAY for act in acts):
        return None
    return Edits([ScoreEdit(act.override) for act in acts])
