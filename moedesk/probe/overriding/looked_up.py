"""Layers whose experts are looked up in a table, by token id: what overrides make of the looked-up ids."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from moedesk.probe.overriding.forcing import with_forced
from moedesk.probe.overriding.operations import is_choice, name_of
from moedesk.probe.overriding.reselection import Reselection, ScoreEdit
from moedesk.probe.overriding.way import Way


class Relookup(Reselection):
    """Changes the ids that a table gives, too; everything behind them is the model's own code.

    A forced expert takes the slot of that one of the others whose logit is lowest. Rows that have it are left alone.
    """

    _logits: Tensor | None = None
    _found: bool = False

    @property
    def reached(self) -> bool:
        """Whether the edits could act."""
        choosing = bool(self._forcing or self._replaying)
        return self._rows > 0 and (self._found or not choosing)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = super().__torch_function__(func, types, args, kwargs)
        table, name = self.way.table, name_of(func)
        if table is None or name != table.name or not is_choice(name, output) or output.shape[-1] != table.columns:
            return output
        if self._next(table) != table.nth or self._logits is None:
            return output
        self._found = True
        return self._chosen_instead(output, self._logits)

    def _edited(self, logits: Tensor) -> Tensor:
        self._logits = super()._edited(logits)
        return self._logits

    @torch.no_grad()
    def _chosen_instead(self, given: Tensor, logits: Tensor) -> Tensor:
        ids = given.reshape(self._rows, -1).long()
        logits = logits.reshape(self._rows, -1)
        for edit in self._forcing:
            new = with_forced(ids, edit.override.experts, logits.gather(-1, ids))
            ids = new if edit.rows is None else torch.where(edit.rows[:, None], new, ids)
        for edit in self._replaying:
            assert edit.ids is not None
            ids = torch.where(edit.ids >= 0, edit.ids, ids)
        return ids.to(given.dtype).view(given.shape)


def reselection(way: Way, edits: Sequence[ScoreEdit]) -> Reselection:
    """Return what has edits act in a call of ``way.module``."""
    return Reselection(way, edits) if way.table is None else Relookup(way, edits)
