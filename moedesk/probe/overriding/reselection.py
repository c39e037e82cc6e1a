"""Rewrites the score of a layer inside its own selection: everything behind the score is the model's own code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.changes import Rows
from moedesk.probe.overriding.operations import RANKERS, Ranking, is_wide, name_of
from moedesk.probe.overriding.turns import Turns
from moedesk.probe.overriding.way import Way

INFINITE = float("inf")


@dataclass(frozen=True, eq=False)
class ScoreEdit:
    """An override that acts on the score, in one call.

    Attributes
    ----------
    override : Override
    rows : (N,) bool tensor or None
    ids : (N, k) int64 tensor or None
        Of a replay: what each row is to choose, -1 in rows that choose for themselves.
    """

    override: Override
    rows: Rows = None
    ids: Tensor | None = None


@dataclass(eq=False)
class Reselection(TorchFunctionMode):
    """While entered around a call of ``way.module``, the edits act.

    Attributes
    ----------
    way : Way
    edits : sequence of ScoreEdit
        In the order in which they act.
    reached : bool
        Whether the logits came by, and all rankings that decide.
    """

    way: Way
    edits: Sequence[ScoreEdit]
    _counted: dict[object, int] = field(default_factory=dict)
    _decided: int = 0
    _rows: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._excluding = [edit for edit in self.edits if edit.override.kind is OverrideKind.EXCLUDE]
        self._forcing = [edit for edit in self.edits if edit.override.kind is OverrideKind.FORCE]
        self._replaying = [edit for edit in self.edits if edit.ids is not None]
        self._turns: Turns | None = None
        self._experts = {expert for edit in self._forcing for expert in edit.override.experts}

    @property
    def reached(self) -> bool:
        """Whether the edits could act."""
        if not self._rows or not (self._forcing or self._replaying):
            return self._rows > 0
        turns = not self.way.in_turn or self._counted[Ranking(False)] == len(self.way.deciding)
        return self._decided == len(self.way.deciding) and turns

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name, way = name_of(func), self.way
        if name not in RANKERS if self._rows else name != way.operation:  # most operations: no more Python for them
            return func(*args, **kwargs)
        if not self._rows:
            output = func(*args, **kwargs)
            if not is_wide(name, output, way.experts) or output.shape[-1] != way.width:
                return output
            if self._next(name) != way.nth:
                return output
            self._rows = output.numel() // way.width
            return self._edited(output)
        ranking = Ranking.of(name, args, kwargs, way.experts)
        if ranking is None:
            return func(*args, **kwargs)
        if ranking.grouped:
            return func(self._grouped(args[0]), *args[1:], **kwargs)
        deciding = self._next(ranking) in way.deciding
        self._decided += deciding
        scores = args[0]
        given = self._without_excluded(scores)
        if not deciding or not (self._forcing or self._replaying):
            return func(given, *args[1:], **kwargs)
        if way.in_turn:
            return self._in_turn(func(given, *args[1:], **kwargs), scores, given)
        return self._chosen(func, name, scores, given, args[1:], kwargs)

    def begin(self, logits: Tensor) -> Tensor:
        """Return logits with all that acts on them, where no operation that is seen gives them."""
        edited = self._edited(logits)
        self._rows = logits.numel() // self.way.width
        return edited

    def _next(self, key: object) -> int:
        number = self._counted.get(key, 0)
        self._counted[key] = number + 1
        return number

    def _edited(self, logits: Tensor) -> Tensor:
        """The logits with all that acts on them."""
        for edit in self.edits:
            kind, value = edit.override.kind, edit.override.value
            if kind is OverrideKind.TEMPERATURE:
                assert value is not None
                new = logits / value
                if self.way.width > self.way.experts:
                    routed = torch.arange(self.way.width, device=logits.device) < self.way.experts
                    new = torch.where(routed, new, logits)
            elif kind is OverrideKind.BIAS:
                assert value is not None
                new = torch.where(self._columns(edit, logits), logits + value, logits)
            elif kind is OverrideKind.EXCLUDE:
                new = logits.masked_fill(self._columns(edit, logits), -INFINITE)
            else:
                continue
            logits = new if edit.rows is None else torch.where(self._like(edit.rows, logits), new, logits)
        return logits

    def _columns(self, edit: ScoreEdit, like: Tensor) -> Tensor:
        """(1, W) which columns of ``like`` an edit is about."""
        return columns_of(edit.override.experts, like.shape[-1], like.device)

    def _like(self, rows: Tensor, scores: Tensor) -> Tensor:
        """Rows as a mask that broadcasts to (…, E) scores."""
        return rows.view(*scores.shape[:-1], 1)

    def _without_excluded(self, scores: Tensor) -> Tensor:
        """(…, E) scores with which no excluded expert can win."""
        for edit in self._excluding:
            columns = self._columns(edit, scores)
            mask = columns if edit.rows is None else columns & self._like(edit.rows, scores)
            scores = scores.masked_fill(mask, -INFINITE)
        return scores

    def _forced(self, scores: Tensor) -> Tensor:
        """(…, E) scores with which forced experts win."""
        for edit in self._forcing:
            columns = self._columns(edit, scores)
            mask = columns if edit.rows is None else columns & self._like(edit.rows, scores)
            scores = scores.masked_fill(mask, INFINITE)
        for edit in self._replaying:
            assert edit.ids is not None
            mask = torch.zeros(self._rows, self.way.experts + 1, dtype=torch.bool, device=scores.device)
            last = torch.where(edit.ids < 0, self.way.experts, edit.ids)
            mask = mask.scatter_(1, last, True)[:, :-1]
            scores = scores.masked_fill(mask.view(scores.shape), INFINITE)
        return scores

    def _grouped(self, scores: Tensor) -> Tensor:
        """(…, G, E/G) scores by which groups are ranked: a forced expert's group wins, an excluded expert adds nothing."""
        flat = scores.flatten(-2)
        if not self.way.shares:
            flat = self._without_excluded(flat)
        return self._forced(flat).view(scores.shape)

    def _chosen(
        self,
        func: Callable[..., Any],
        name: str,
        scores: Tensor,
        given: Tensor,
        more: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """What a ranking gives with forced experts in it: their values are the scores that the model gave them."""
        lone = name == "topk" and given is scores and self._lone(scores)
        if lone:  # one look at the host's memory instead of ten operations
            plain = func(scores, *more, **kwargs)
            if self._experts.issubset(plain[1].view(-1).tolist()):
                return plain
        forced = self._forced(given)
        output = func(forced, *more, **kwargs)
        if name in ("argmax", "argsort"):
            return output
        indices = output[1]
        if indices.ndim < scores.ndim:  # max without keepdim
            return type(output)((scores.gather(-1, indices.unsqueeze(-1)).squeeze(-1), indices))
        if name == "topk" and kwargs.get("sorted", True):
            values = scores.gather(-1, indices)
            indices = indices.gather(-1, values.argsort(dim=-1, descending=True, stable=True))
        if not lone:  # rows that choose so anyway keep the order of their slots
            plain = func(given, *more, **kwargs)[1]
            wanted = forced == INFINITE
            chosen = wanted.gather(-1, plain).sum(-1, keepdim=True) == wanted.sum(-1, keepdim=True)
            indices = torch.where(chosen, plain, indices)
        values = scores.gather(-1, indices)
        if self._replaying and name == "topk":
            values, indices = self._in_slots(scores, values, indices)
        return type(output)((values, indices))

    def _in_turn(self, plain: Any, scores: Tensor, given: Tensor) -> Any:
        """What a ranking gives that chooses one slot: its value is the score that the model gave the expert."""
        if self._turns is None:
            forced = (
                self._forced(torch.zeros_like(scores)) == INFINITE if self._forcing else torch.zeros_like(scores) > 0
            )
            replayed: Tensor | None = None
            for edit in self._replaying:
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

    def _lone(self, scores: Tensor) -> bool:
        """Whether these are the scores of one row, which can be looked at without waiting, and experts are forced in it."""
        return (
            scores.numel() == self.way.experts
            and scores.is_cpu
            and not self._replaying
            and all(edit.rows is None for edit in self._forcing)
        )

    def _in_slots(self, scores: Tensor, values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Values and indices with the replayed ids in the slots that they had."""
        for edit in self._replaying:
            ids = edit.ids
            assert ids is not None
            ids = ids.view(indices.shape).to(indices)
            whole = (ids >= 0).all(-1, keepdim=True)
            indices = torch.where(whole, ids, indices)
            values = torch.where(whole, scores.gather(-1, ids.clamp(min=0)), values)
        return values, indices


@lru_cache(maxsize=256)
def columns_of(experts: tuple[int, ...], width: int, device: torch.device) -> Tensor:
    """Return (1, width) bools, true at some experts; nobody writes to them."""
    with torch.inference_mode(False):  # a pass with gradients may come later
        numbers = torch.zeros(1, width, dtype=torch.bool)
        numbers[:, list(experts)] = True
        return numbers.to(device)
