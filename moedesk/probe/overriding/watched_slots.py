"""Another number of experts a token in a watched block: by the numbers in its modules, or by what its ranking is asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from torch.overrides import TorchFunctionMode

from moedesk.core.errors import MoedeskError
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.operations import Ranking
from moedesk.probe.overriding.slots import slot_counts, with_slots
from moedesk.probe.overriding.watched_trial import FAILURES, BlockTrial, said
from moedesk.probe.overriding.way import Way
from moedesk.probe.watched.operations import name_of
from moedesk.probe.watched.plan import make_plan
from moedesk.probe.watched.watched_routing import follows

SetSlots = Callable[[int], AbstractContextManager[Any]]
"""Takes a number; returns a context in which a block chooses so many experts a token."""


class MoreSlots(TorchFunctionMode):
    """While entered around a block's forward, the top-k that gives its experts gives another number of them."""

    def __init__(self, way: Way, number: int) -> None:
        super().__init__()
        self._way, self._number, self._seen = way, number, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = name_of(func)
        ranking = Ranking.of(name, args, kwargs, self._way.experts)
        if ranking is None or ranking.grouped:
            return func(*args, **kwargs)
        turn, self._seen = self._seen, self._seen + 1
        if name == "topk" and turn in self._way.deciding:
            if "k" in kwargs:
                kwargs["k"] = self._number
            else:
                args = (args[0], self._number, *args[2:])
        return func(*args, **kwargs)


def slot_setters(binding: Binding, way: Way | None) -> Iterator[SetSlots]:
    """Yield what may give a block another number of slots: its own numbers, then what its ranking is asked for."""
    counts = slot_counts(binding)
    if counts:
        yield partial(with_slots, counts)
    if way is not None and way.deciding and not way.in_turn:
        yield partial(MoreSlots, way)


def slot_setter(binding: Binding, trial: BlockTrial, way: Way | None, number: int) -> SetSlots:
    """Return what gives a block another number of slots, tried: they come out, and its experts follow.

    Raises
    ------
    MoedeskError
        If nothing does, in a few words.
    """
    reason = "it has no number of experts a token that could be set"
    for setter in slot_setters(binding, way):
        try:
            with setter(number):
                watch, output = trial.watched()
            planned = make_plan(watch, binding.candidate, output)
        except FAILURES as error:
            reason = f"it can't run with k = {number} ({said(error)})"
            continue
        if planned.plan.slots == number and follows(watch, output, planned.routing, planned.scale):
            return setter
        reason = f"it goes on with {planned.plan.slots} experts a token when it is told {number}"
    raise MoedeskError(reason)
