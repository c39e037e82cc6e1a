"""The selection of one row on the host, as when a model writes a text token by token: overrides of the score at the least cost.

A pass of one token is short, and what it runs that the model itself doesn't is not in the processor's caches: an addition, which
every model uses, takes a fifth of the time of a masked fill, and each function of Python's counts. So what can be made ready is
made ready once, and a call adds as little as it can. Whatever looks otherwise than it should is left to ``Reselection``.
"""

import threading
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from moedesk.core.override import OverrideKind
from moedesk.probe.overriding.by_name import ByName, redirected
from moedesk.probe.overriding.changes import ONE
from moedesk.probe.overriding.operations import RANKERS
from moedesk.probe.overriding.score_edit import Edits, ScoreEdit, row_of
from moedesk.probe.overriding.way import Way


class OneRow:
    """The selection of one layer, for one row a call.

    Parameters
    ----------
    way : Way
    run : ByName
    edits : Edits
        Without limits.

    Attributes
    ----------
    logits : (1, E) tensor or None
        As the model calculated them in the last call.
    changed : (1,) bool tensor or None
        Whether the row chose others than it would, where the ranking tells that.
    missed : bool
        Whether anything in it was not as expected.
    """

    def __init__(self, way: Way, run: ByName, edits: Edits) -> None:
        self._width, self._experts, self._call = way.width, way.experts, way.call
        with torch.inference_mode(False):
            self._steps = [_step(edit, way.width) for edit in edits.of_logits]
            excluded = [expert for edit in edits.excluding for expert in edit.override.experts]
            self._without = row_of(tuple(excluded), -torch.inf, way.experts) if excluded else None
        self._forced = edits.forcing[0].override.experts[0] if edits.forcing else -1
        self._chooses, self._ranks = edits.choosing, edits.of_rankings
        others = dict.fromkeys(RANKERS, self._miss) | {"topk": self._rank} if self._ranks else {}
        self._selection = redirected(run.function, {**others, way.operation: self._calculate})
        self._module = way.module
        self._lock = threading.Lock()
        self._ids: Tensor | None = None
        self._calls = self._rankings = 0
        self.missed = False
        self.logits: Tensor | None = None
        self.changed: Tensor | None = None

    @classmethod
    def of(cls, way: Way, run: ByName | None, edits: Edits) -> Self | None:
        """Return what makes such calls with these edits; None if they can't be made so."""
        if run is None or way.width != way.experts or len(edits.forcing) + len(edits.replaying) > 1:
            return None
        several = any(len(edit.override.experts) > 1 for edit in edits.forcing)
        if several or (edits.of_rankings and not (way.told and way.ranks_by_name)):
            return None
        return cls(way, run, edits)

    def select(self, hidden: Tensor, ids: Tensor | None) -> tuple[Any, Tensor | None, Tensor | None] | None:
        """Return what the selection gives with all that acts on it, ``logits`` and ``changed``.

        None if anything was not as expected, or another thread is here: the call has to be made in another way.

        Parameters
        ----------
        hidden : (…, H) tensor
            Of one row.
        ids : (1, k) int64 tensor or None
            Of a replay: what the row chooses.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._ids, self._calls, self._rankings, self.missed = ids, 0, 0, False
            self.logits = self.changed = None
            output = self._selection(self._module, hidden)
            if self.missed or self.logits is None or self._rankings != self._ranks:
                return None
            return output, self.logits, self.changed
        finally:
            self._lock.release()

    def _calculate(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The logits, with what acts on them."""
        output = function(*args, **kwargs)
        self._calls += 1
        if self._calls != self._call:
            return output
        if output.numel() != self._width or output.dtype is not torch.float32 or not output.is_cpu:
            self.missed = True
            return output
        self.logits = output
        for adds, given in self._steps:
            output = output + given if adds else output / given
        return output

    def _miss(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A ranking of another sort."""
        self.missed = True
        return function(*args, **kwargs)

    def _rank(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The best k, with what is excluded, forced or replayed."""
        scores = args[0] if args else kwargs["input"]
        ordered = len(args) in (2, 3) and kwargs.get("sorted", True)
        self._rankings += 1
        if scores.shape != (1, self._experts) or scores.dtype is not torch.float32 or not ordered:
            return self._miss(function, *args, **kwargs)
        if self._without is None:
            best = function(*args, **kwargs)
        else:
            best = function(scores + self._without, *args[1:], **kwargs)
            highest = best[0].tolist()[0][0]
            self.missed = highest != highest  # what is infinite or no number can't be excluded by adding
        if not self._chooses:
            return best
        (chosen,) = best[1].tolist()
        ids = self._ids
        if ids is not None:
            if chosen == ids.tolist()[0]:
                self.changed = ONE[False]
                return best
            self.changed = ONE[True]
            return type(best)((scores.gather(-1, ids), ids))
        if self._forced in chosen:
            self.changed = ONE[False]
            return best
        self.changed = ONE[True]  # the others' scores are no lower: they keep their order
        best[0].select(-1, -1).copy_(scores.select(-1, self._forced))
        best[1].select(-1, -1).fill_(self._forced)
        return best


def _step(edit: ScoreEdit, width: int) -> tuple[bool, Tensor]:
    """What an edit adds to logits, or else divides them by."""
    kind, value, experts = edit.override.kind, edit.override.value, edit.override.experts
    if kind is OverrideKind.EXCLUDE:
        return True, row_of(experts, -torch.inf, width)
    assert value is not None
    if kind is OverrideKind.BIAS:
        return True, row_of(experts, value, width)
    return False, torch.full((1, width), value, device="cpu", dtype=torch.float32)
