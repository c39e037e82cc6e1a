"""Layers whose experts are looked up in a table, by token id: what overrides make of the looked-up ids."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from moedesk.probe.overriding.forcing import with_forced
from moedesk.probe.overriding.operations import is_choice
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.score_edit import Edits, ScoreEdit
from moedesk.probe.overriding.way import Way


class Relookup(Reselection):
    """Changes the ids that a table gives, too; everything behind them is the model's own code.

    A forced expert takes the slot of that one of the others whose logit is lowest. Rows that have it are left alone.
    """

    _edited_logits: Tensor | None = None
    _lookups: int = 0
    _found: bool = False

    @property
    def reached(self) -> bool:
        """Whether the edits could act."""
        return self.logits is not None and (self._found or not self.edits.choosing)

    def take(self, name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what an operation gives, with all that acts on it."""
        output = super().take(name, func, args, kwargs)
        table = self.way.table
        if table is None or name != table.name or not is_choice(name, output) or output.shape[-1] != table.columns:
            return output
        self._lookups += 1
        if self._lookups != table.nth + 1 or self._edited_logits is None:
            return output
        self._found = True
        return self._chosen_instead(output, self._edited_logits)

    def _edited(self, logits: Tensor) -> Tensor:
        self._edited_logits = super()._edited(logits)
        return self._edited_logits

    @torch.no_grad()
    def _chosen_instead(self, given: Tensor, logits: Tensor) -> Tensor:
        logits = logits.reshape(-1, self.way.width)
        ids = given.reshape(len(logits), -1).long()
        for edit in self.edits.forcing:
            new = with_forced(ids, edit.override.experts, logits.gather(-1, ids))
            ids = new if edit.rows is None else torch.where(edit.rows[:, None], new, ids)
        for edit in self.edits.replaying:
            assert edit.ids is not None
            ids = torch.where(edit.ids >= 0, edit.ids, ids)
        return ids.to(given.dtype).view(given.shape)


def reselection(way: Way, edits: Edits | Sequence[ScoreEdit]) -> Reselection:
    """Return what has edits act in a call of ``way.module``."""
    return Reselection(way, edits) if way.table is None else Relookup(way, edits)
