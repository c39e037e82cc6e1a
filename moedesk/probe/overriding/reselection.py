"""Rewrites the score of a layer inside its own selection: everything behind the score is the model's own code."""

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from moedesk.probe.overriding.changes import rows_differing
from moedesk.probe.overriding.operations import RANKERS, Ranking, name_of
from moedesk.probe.overriding.score_edit import HIGHEST, LOWEST, Edits, ScoreEdit, rows_like
from moedesk.probe.overriding.turns import Turns
from moedesk.probe.overriding.way import Way

INFINITE = float("inf")


class Reselection:
    """One call of what selects, in which edits act: either while this is entered, or in a run of its forward by name.

    Parameters
    ----------
    way : Way
    edits : Edits, or sequence of ScoreEdit
    known : tensor, optional
        The logits of another call on the same input, taken instead of calculating them again; in a run by name.

    Attributes
    ----------
    logits : tensor or None
        As the model calculated them, once they came by.
    changed : (N,) bool tensor or None
        Which rows choose others than they would, as the last best-k of all experts tells; nobody may write to it.
    """

    __slots__ = (
        "_calls",
        "_decided",
        "_known",
        "_mode",
        "_ranked",
        "_turns",
        "_wide",
        "changed",
        "edits",
        "logits",
        "way",
    )

    def __init__(self, way: Way, edits: Edits | Sequence[ScoreEdit], known: Tensor | None = None) -> None:
        self.way, self._known = way, known
        self.edits = edits if isinstance(edits, Edits) else Edits(edits)
        self.logits: Tensor | None = None
        self.changed: Tensor | None = None
        self._calls = self._wide = self._ranked = self._decided = 0
        self._mode: _Mode | None = None
        self._turns: Turns | None = None

    def __enter__(self) -> Self:
        self._mode = _Mode(self)
        self._mode.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        assert self._mode is not None
        self._mode.__exit__(*exception)
        self._mode = None

    @property
    def reached(self) -> bool:
        """Whether the edits could act."""
        if self.logits is None or not self.edits.choosing:
            return self.logits is not None
        turns = not self.way.in_turn or self._ranked == len(self.way.deciding)
        return self._decided == len(self.way.deciding) and turns

    def take(self, name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what an operation gives, with all that acts on it."""
        if self.logits is not None:
            if name not in RANKERS or not self.edits.of_rankings:
                return func(*args, **kwargs)
            return self._rank(name, func, args, kwargs)
        if name != self.way.operation:
            return func(*args, **kwargs)
        self._calls += 1
        if self._known is not None and self._calls == self.way.call:
            output = self._known
        else:
            output = func(*args, **kwargs)
            if not self.way.wide(output):
                return output
            self._wide += 1
            if self._wide <= self.way.nth:
                return output
        self.logits = output
        return self._edited(output)

    def begin(self, logits: Tensor) -> Tensor:
        """Return logits with all that acts on them, where no operation that is seen gives them."""
        edited, self.logits = self._edited(logits), logits
        return edited

    def _edited(self, logits: Tensor) -> Tensor:
        """The logits with all that acts on them."""
        for edit in self.edits.of_logits:
            logits = edit.of_logits(logits, self.way.experts)
        return logits

    def _rank(self, name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a ranking gives, with all that acts on it."""
        ranking = Ranking.of(name, args, kwargs, self.way.experts)
        if ranking is None:
            return func(*args, **kwargs)
        if args:
            scores, *more = args
        else:
            scores, more, kwargs = kwargs["input"], [], {key: kwargs[key] for key in kwargs if key != "input"}
        if ranking.grouped:
            return func(self._grouped(scores), *more, **kwargs)
        deciding = self._ranked in self.way.deciding
        self._ranked += 1
        given = self._without_excluded(scores)
        if not deciding or not self.edits.choosing:
            return func(given, *more, **kwargs)
        self._decided += 1
        if self.way.in_turn:
            return self._in_turn(func(given, *more, **kwargs), scores, given)
        if name == "topk":
            return self._best(func, scores, given, more, kwargs)
        indices = func(self._raised(given), *more, **kwargs)
        if name in ("argmax", "argsort"):
            return indices
        output, indices = indices, indices[1]
        if indices.ndim < scores.ndim:  # max without keepdim
            return type(output)((scores.gather(-1, indices.unsqueeze(-1)).squeeze(-1), indices))
        return type(output)((scores.gather(-1, indices), indices))

    def _without_excluded(self, scores: Tensor) -> Tensor:
        """(…, E) scores with which no excluded expert can win."""
        for edit in self.edits.excluding:
            scores = scores.masked_fill(edit.places(scores), LOWEST)
        return scores

    def _raised(self, scores: Tensor) -> Tensor:
        """(…, E) scores with which forced and replayed experts win, also against what is infinite or no number."""
        most = torch.finfo(scores.dtype).max
        scores = scores.nan_to_num(nan=most, posinf=most, neginf=-INFINITE)
        for edit in self.edits.forcing:
            scores = scores.masked_fill(edit.places(scores), HIGHEST)
        for edit in self.edits.replaying:
            assert edit.ids is not None
            experts = self.way.experts
            mask = torch.zeros(len(edit.ids), experts + 1, dtype=torch.bool, device=scores.device)
            mask = mask.scatter_(1, torch.where(edit.ids < 0, experts, edit.ids), True)[:, :-1]
            scores = scores.masked_fill(mask.view(scores.shape), INFINITE)
        return scores

    def _grouped(self, scores: Tensor) -> Tensor:
        """(…, G, E/G) scores by which groups are ranked: a forced expert's group wins, an excluded expert adds nothing."""
        flat = scores.flatten(-2)
        if not self.way.shares:
            flat = self._without_excluded(flat)
        return (self._raised(flat) if self.edits.choosing else flat).view(scores.shape)

    def _best(
        self, func: Callable[..., Any], scores: Tensor, given: Tensor, more: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """The best k with forced experts among them: their values are the scores that the model gave them."""
        output = func(given, *more, **kwargs)
        values, indices = output
        if self.edits.forcing:
            values, indices = self._forced(func, scores, given, (values, indices), more, kwargs)
        for edit in self.edits.replaying:  # in the slots that they had
            assert edit.ids is not None
            ids = edit.ids.view(indices.shape).to(indices)
            if edit.whole:
                indices, values = ids, scores.gather(-1, ids)
                continue
            whole = (ids >= 0).all(-1, keepdim=True)
            indices = torch.where(whole, ids, indices)
            values = torch.where(whole, scores.gather(-1, ids.clamp(min=0)), values)
        self.changed = rows_differing((indices, output[1]))
        return output if indices is output[1] else type(output)((values, indices))

    def _forced(
        self,
        func: Callable[..., Any],
        scores: Tensor,
        given: Tensor,
        best: tuple[Tensor, Tensor],
        more: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor]:
        """Values and indices in which forced experts are; rows that choose them anyway keep the order of their slots."""
        ordered = bool(more[3] if len(more) > 3 else kwargs.get("sorted", True))
        alone = best[1].numel() == best[1].shape[-1] and scores.is_cpu
        if alone and all(edit.rows is None for edit in self.edits.forcing):
            return self._forced_alone(scores, best, ordered)
        indices = func(self._raised(given), *more, **kwargs)[1]
        values = scores.gather(-1, indices)
        if ordered:
            values, order = values.sort(dim=-1, descending=True, stable=True)
            indices = indices.gather(-1, order)
        chosen = self._chosen(best[1])
        return torch.where(chosen, best[0], values), torch.where(chosen, best[1], indices)

    def _forced_alone(self, scores: Tensor, best: tuple[Tensor, Tensor], ordered: bool) -> tuple[Tensor, Tensor]:
        """The same of one row on the host: to look at a few numbers takes less time than six operations."""
        chosen = best[1].view(-1).tolist()
        if self.edits.experts.issubset(chosen):
            return best
        score = [INFINITE if isnan(value) else value for value in scores.view(-1).tolist()]
        ranked = sorted(
            zip(best[0].view(-1).tolist(), chosen, strict=True), key=lambda pair: -pair[0]
        )  # it may not be sorted
        others = [expert for _, expert in ranked if expert not in self.edits.experts]
        new = [*sorted(self.edits.experts), *others[: len(chosen) - len(self.edits.experts)]]
        if ordered:
            new.sort(key=lambda expert: -score[expert])
        indices = torch.tensor(new, device=scores.device).view(best[1].shape)
        return scores.gather(-1, indices), indices

    def _chosen(self, indices: Tensor) -> Tensor:
        """(…, 1) which rows choose what is forced in them anyway."""
        chosen: Tensor | None = None
        for edit in self.edits.forcing:
            for expert in edit.override.experts:
                hit = (indices == expert).any(-1, keepdim=True)
                if edit.rows is not None:
                    hit = hit | ~rows_like(edit.rows, indices)
                chosen = hit if chosen is None else chosen & hit
        assert chosen is not None
        return chosen

    def _in_turn(self, plain: Any, scores: Tensor, given: Tensor) -> Any:
        """What a ranking gives that chooses one slot: its value is the score that the model gave the expert."""
        if self._turns is None:
            nothing = torch.zeros_like(scores)
            forced = (self._raised(nothing) == INFINITE) if self.edits.forcing else nothing > 0
            replayed: Tensor | None = None
            for edit in self.edits.replaying:
                replayed = (
                    edit.ids if replayed is None or edit.ids is None else torch.where(edit.ids < 0, replayed, edit.ids)
                )
            self._turns = Turns(len(self.way.deciding), forced.view(-1, self.way.experts), replayed)
        best = plain if isinstance(plain, Tensor) else plain[1]
        rows = given.reshape(-1, self.way.experts)
        taken = self._turns.take(rows, best.reshape(-1, 1))
        if isinstance(plain, Tensor):
            return taken.view(best.shape)
        values = scores.reshape(rows.shape).gather(-1, taken)
        return type(plain)((values.view(best.shape), taken.view(best.shape)))


class _Mode(TorchFunctionMode):
    """Shows a reselection every operation."""

    def __init__(self, reselection: Reselection) -> None:
        super().__init__()
        self._reselection = reselection

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self._reselection.take(name_of(func), func, args, kwargs or {})
