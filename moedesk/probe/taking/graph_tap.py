"""The hooks of an MoE layer inside a compiled graph: an operation of the graph takes what the other hooks take from a call.

A graph can hold no Python, so the hooks that ``torch.compile`` meets are replaced, while it traces them, by ones that only insert
this operation. It runs whenever the compiled code runs, and hands over the very tensors that go to the experts.
"""

from collections.abc import Callable, Mapping
from itertools import count
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.routing import ExpertsCall, read_routing
from moedesk.probe.taking.cost import Cost
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.tap import Current, Event, own, recomputing, small_ids

_takers: dict[int, Callable[[Tensor, Tensor, Tensor | None], None]] = {}
"""What takes the routing of a layer, by the number that its operation has in the graph."""
_numbers = count()


@torch.library.custom_op("moedesk::tap", mutates_args=())
def _tap(choice: Tensor, weights: Tensor, logits: Tensor | None, number: int) -> Tensor:
    take = _takers.get(number)
    if take is not None:
        take(choice, weights, logits)
    return choice.clone()  # goes to the experts: an operation without a use would be left out of the graph


@_tap.register_fake
def _(choice: Tensor, weights: Tensor, logits: Tensor | None, number: int) -> Tensor:
    return torch.empty_like(choice)


class GraphTap:
    """Stands in for one layer's hooks while they are traced.

    Parameters
    ----------
    binding : Binding
    current : Current
        Says whether a pass is under way.
    cost : Cost
        Takes the time in the operation.

    Attributes
    ----------
    before_experts, after_router : function
        The hooks to trace.
    """

    def __init__(self, binding: Binding, current: Current, cost: Cost) -> None:
        self._number = next(_numbers)
        _takers[self._number] = _taker(binding, current, cost)
        held: dict[str, Tensor] = {}
        self.before_experts = _before_experts(self._number, held)
        self.after_router = _after_router(binding.logits_at, held)

    def remove(self) -> None:
        """Take nothing any more, should compiled code go on holding the operation."""
        _takers.pop(self._number, None)


def _before_experts(number: int, held: dict[str, Tensor]) -> Callable[..., Any]:
    def entered(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> Any:
        logits = held.pop("logits", None)
        routing = read_routing(args, kwargs)
        if routing is None:
            return None
        choice = _tap(routing.choice, routing.weights.detach(), logits, number)
        swapped = tuple(choice if value is routing.choice else value for value in args)
        return swapped, {name: choice if value is routing.choice else value for name, value in kwargs.items()}

    return entered


def _after_router(place: int, held: dict[str, Tensor]) -> Callable[..., None]:
    def routed(module: nn.Module, args: Any, output: Any) -> None:
        logits = output[place] if place >= 0 else output
        if isinstance(logits, Tensor):
            held["logits"] = logits.detach()

    return routed


def _taker(binding: Binding, current: Current, cost: Cost) -> Callable[[Tensor, Tensor, Tensor | None], None]:
    experts = binding.layer.experts

    def take(choice: Tensor, weights: Tensor, logits: Tensor | None) -> None:
        tap = current.tap
        if tap is None:
            current.stray()
            return
        began = perf_counter_ns()
        if recomputing():
            return
        tap.seen = True
        if tap.room is Room.NOTHING:
            return
        routing = ExpertsCall(weights, choice, weights)
        ids = routing.ids()
        if routing.one_hot:
            weights = weights.masked_fill(ids < 0, 0)
        ids = small_ids(ids, experts)
        if tap.room >= Room.ROUTES:
            logits = logits.clone() if logits is not None and tap.takes_logits() else None
            bias = None if logits is None or binding.bias is None else own(getattr(*binding.bias))
            row_bytes = ids.shape[1] * (ids.itemsize + 4) + (0 if logits is None else 4 * experts)
            tap.add(Event(binding, ids, weights.clone(), logits, bias), ids.shape[0] * row_bytes)
        else:
            tap.add(Event(binding, ids), ids.nbytes)
        cost.hook_ns += perf_counter_ns() - began

    return take
