"""Calls of one watched block alone, as it is and with its routing changed, to find out how it can be changed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.exactness.repeatable import RepeatableCall
from moedesk.probe.exactness.untouched import SEED
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.parts import first_tensor
from moedesk.probe.overriding.detour import Detour, DeviatedError
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.score_edit import ScoreEdit
from moedesk.probe.overriding.watched_way import WatchedWay
from moedesk.probe.watched.watch import Watch
from moedesk.probe.watched.watched_scout import begin_watch, rows_of

FAILURES = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, AssertionError, MoedeskError)
"""What a block may raise that is called on its own, in training, or with another routing."""


def said(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class BlockTrial:
    """Calls of one watched block with the same arguments, in evaluation or in training.

    Parameters
    ----------
    binding : Binding
    call : RepeatableCall
    args, kwargs
        The same call's.
    """

    def __init__(self, binding: Binding, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.binding = binding
        self._args, self._kwargs = args, kwargs
        self._call = RepeatableCall(args, kwargs)
        self.rows = rows_of(args, kwargs)

    def run(self) -> Tensor:
        """Return a copy of what the block returns, with the same random numbers each time."""
        torch.manual_seed(SEED)
        output = first_tensor(self._call.make(self.binding.candidate.block))
        if output is None:
            raise MoedeskError("it returns no tensor")
        return output.detach().clone()

    def watched(self, around: Any = None) -> tuple[Watch, Tensor]:
        """The same, watched; ``around`` is entered inside."""
        watch = begin_watch(self.binding.candidate, self._args, self._kwargs)
        if watch is None:
            raise MoedeskError("it is called without token rows")
        try:
            if around is None:
                return watch, self.run()
            with around:
                return watch, self.run()
        finally:
            watch.end()

    def detoured(self, way: WatchedWay, rewriter: "Fixed", *edits: ScoreEdit) -> tuple[Watch, Tensor] | None:
        """The same with changes; None if they don't come by."""
        selection = None
        if edits:
            assert way.score is not None
            selection = Reselection(way.score, edits)
        detour = Detour(way, self.rows, rewriter, selection)
        try:
            found = self.watched(detour)
        except (DeviatedError, *FAILURES):
            return None
        reached = selection is None or selection.reached
        return found if detour.came and reached else None


class Fixed:
    """Puts one routing in the place of whatever comes.

    Attributes
    ----------
    given, plain : Routing or None
        What came.
    """

    def __init__(self, routing: Routing | None = None) -> None:
        self._routing = routing
        self.given: Routing | None = None
        self.plain: Routing | None = None

    def new_ids(self, ids: Tensor) -> Tensor:
        """The routing's."""
        return ids if self._routing is None else self._routing.ids

    def new_routing(self, routing: Routing, plain: Routing | None) -> Routing:
        """The routing itself."""
        self.given, self.plain = routing, plain
        return routing if self._routing is None else replace(self._routing, logits=routing.logits)
