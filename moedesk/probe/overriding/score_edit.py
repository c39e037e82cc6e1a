"""What overrides do to the scores of one layer: sorted once for all calls in which they do."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.changes import Rows

LOWEST = torch.tensor(-torch.inf, device="cpu")
"""What no other number is below; of a tensor it takes a masked fill less time than of a number."""
HIGHEST = torch.tensor(torch.inf, device="cpu")
_OF_LOGITS = frozenset({OverrideKind.EXCLUDE, OverrideKind.BIAS, OverrideKind.TEMPERATURE})


class ScoreEdit:
    """An override that acts on the score, in one call or in all.

    Attributes
    ----------
    override : Override
    rows : (N,) bool tensor or None
    ids : (N, k) int64 tensor or None
        Of a replay: what each row is to choose, -1 in rows that choose for themselves.
    whole : bool
        Whether it is known that no row does.
    """

    __slots__ = ("_columns", "ids", "override", "rows", "whole")

    def __init__(self, override: Override, rows: Rows = None, ids: Tensor | None = None, whole: bool = False) -> None:
        self.override, self.rows, self.ids, self.whole = override, rows, ids, whole
        self._columns: Tensor | None = None

    def columns(self, like: Tensor) -> Tensor:
        """Return (1, W) bools, which columns of (…, W) scores it is about; nobody writes to it."""
        known = self._columns
        if known is None or known.shape[1] != like.shape[-1] or known.device != like.device:
            known = self._columns = columns_of(self.override.experts, like.shape[-1], like.device)
        return known

    def places(self, scores: Tensor) -> Tensor:
        """Return where in (…, E) scores it acts."""
        columns = self.columns(scores)
        return columns if self.rows is None else columns & rows_like(self.rows, scores)

    def of_logits(self, logits: Tensor, experts: int) -> Tensor:
        """Return (…, W) logits with which it acts, in its rows; columns behind the experts' are of shared ones."""
        kind, value = self.override.kind, self.override.value
        if kind is OverrideKind.EXCLUDE:
            new = logits.masked_fill(self.columns(logits), LOWEST)
        elif kind is OverrideKind.BIAS:
            assert value is not None
            if logits.dtype is torch.float32 and logits.is_cpu:
                new = logits + row_of(self.override.experts, value, logits.shape[-1])
            else:
                new = torch.where(self.columns(logits), logits + value, logits)
        else:
            assert value is not None
            new = logits / value
            if logits.shape[-1] > experts:
                routed = torch.arange(logits.shape[-1], device=logits.device) < experts
                new = torch.where(routed, new, logits)
        return new if self.rows is None else torch.where(rows_like(self.rows, logits), new, logits)


class Edits:
    """What acts on the score of a layer, sorted once for all calls in which it does.

    Parameters
    ----------
    every : sequence of ScoreEdit
        In the order in which they act.
    """

    __slots__ = ("choosing", "every", "excluding", "experts", "forcing", "of_logits", "of_rankings", "replaying")

    def __init__(self, every: Sequence[ScoreEdit]) -> None:
        self.every = every
        self.of_logits = [edit for edit in every if edit.override.kind in _OF_LOGITS]
        self.excluding = [edit for edit in every if edit.override.kind is OverrideKind.EXCLUDE]
        self.forcing = [edit for edit in every if edit.override.kind is OverrideKind.FORCE]
        self.replaying = [edit for edit in every if edit.ids is not None]
        self.experts = {expert for edit in self.forcing for expert in edit.override.experts}
        self.choosing = bool(self.forcing or self.replaying)
        self.of_rankings = self.choosing or bool(self.excluding)


def rows_like(rows: Tensor, scores: Tensor) -> Tensor:
    """Return rows as a mask that broadcasts to (…, E) scores."""
    return rows.view(*scores.shape[:-1], 1)


@lru_cache(maxsize=256)
def row_of(experts: tuple[int, ...], value: float, width: int) -> Tensor:
    """Return (1, width) what changes the scores of some experts by a value when it is added; nobody writes to it.

    The others keep their bits: −0 can be added to any number. It takes a fifth of the time of a choice between two tensors.
    """
    with torch.inference_mode(False):
        row = torch.full((1, width), -0.0, device="cpu", dtype=torch.float32)
        row[0, list(experts)] = value
        return row


@lru_cache(maxsize=256)
def columns_of(experts: tuple[int, ...], width: int, device: torch.device) -> Tensor:
    """Return (1, width) bools, true at some experts; nobody writes to them."""
    with torch.inference_mode(False):  # a pass with gradients may come later
        numbers = torch.zeros(1, width, dtype=torch.bool)
        numbers[:, list(experts)] = True
        return numbers.to(device)
