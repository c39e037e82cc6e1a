"""What breakpoints put on one attached model, and what happens when a layer is reached."""

import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from moedesk.core.filter.match import Texts
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.breaking.arrival import Arrival
from moedesk.probe.breaking.block_watch import BlockWatch
from moedesk.probe.breaking.hold import Going, Hold, one_stands
from moedesk.probe.breaking.layer_watch import LayerWatch, Reached
from moedesk.probe.breaking.placed import PlacedBreakpoint
from moedesk.probe.breaking.stop import Stop
from moedesk.probe.breaking.under_way import UnderWay
from moedesk.probe.exactness.untouched import when_untouched
from moedesk.probe.finding.binding import Binding, Taken
from moedesk.probe.notice import notice
from moedesk.probe.overriding.registry import overrides_of
from moedesk.probe.overriding.rerouting import can_reroute
from moedesk.probe.taking.compiled import forget_compiled_code
from moedesk.probe.taking.event import Event
from moedesk.probe.taking.tap import own, small_ids
from moedesk.probe.tracer import Tracer
from moedesk.probe.watched.operations import unseen


@dataclass(frozen=True)
class _Step:
    """What the model goes on to.

    Attributes
    ----------
    going : Going
    stream : str
    layer : int
        Place of the layer that it starts at.
    row : int
        Of the token that it starts at, in its pass.
    sequence : int
        That token's; -1 if unknown.
    passes : int
        Passes begun until then.
    """

    going: Going
    stream: str
    layer: int
    row: int
    sequence: int
    passes: int


class Breaker:
    """Hooks of the layers that a breakpoint can match, as long as one is on.

    Parameters
    ----------
    model : Module
    tracer : Tracer
        Of its attachment.
    texts : function
        Gives a text for each token id.
    points : function
        Gives the breakpoints that are on; none if they are deactivated.
    hold : Hold
    namespace : mapping
        Where names in conditions are looked up.
    changed : function
        Called at a stop with True, and at the end of a pass with False: something may have been hit.
    """

    def __init__(
        self,
        model: nn.Module,
        tracer: Tracer,
        texts: Texts,
        points: Callable[[], Sequence[PlacedBreakpoint]],
        hold: Hold,
        namespace: MutableMapping[str, Any],
        changed: Callable[[bool], None],
    ) -> None:
        self._model, self._tracer, self._texts = model, tracer, texts
        self._points, self._hold, self._namespace = points, hold, namespace
        self._changed = changed
        self._under_way = UnderWay(model, tracer, self._begun, self._ended)
        self._fitting = threading.RLock()
        self._bounds: list[Any] = []
        self._watches: dict[str, LayerWatch | BlockWatch] = {}
        self._refused: set[str] = set()
        self._known = 0
        self._state = 0  # grows with every change of what may match
        self._closed = False
        self._suspended = 0
        self._step: _Step | None = None
        self._passes = 0
        tracer.hooks.first_seen = self._first_seen

    def fit(self) -> None:
        """Put hooks on where a breakpoint can match now, and take the others off; from any thread."""
        when_untouched(self._model, self._fit)

    def close(self) -> None:
        """Take every hook off."""
        self._closed = True
        self._tracer.hooks.first_seen = None
        self.end_step()
        self.fit()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop nowhere in the block, and count nothing there; a step goes on behind it."""
        self._suspended += 1
        self.fit()
        try:
            yield
        finally:
            self._suspended -= 1
            self.fit()

    def end_step(self) -> None:
        """Go on to nothing in particular."""
        self._step = None

    def _fit(self) -> None:
        with self._fitting:
            self._state += 1
            away = self._closed or self._suspended > 0
            points = () if away else tuple(self._points())
            bindings = self._tracer.bindings
            self._known = len(bindings)
            every = not away and self._step is not None and self._step.going is Going.STEP_LAYER
            wanted = {
                binding.candidate.path: binding
                for binding in bindings
                if binding.candidate.path not in self._refused
                and (every or any(point.filter.wants_layer(binding.layer) for point in points))
            }
            self._watches = {path: watch for path, watch in self._watches.items() if not _removed(watch)}
            before = set(self._watches), bool(self._bounds)
            for path, watch in list(self._watches.items()):
                asleep = path not in wanted
                if isinstance(watch, LayerWatch):
                    watch.asleep = asleep
                if asleep and not self._awaited(watch):
                    self._watches.pop(path).remove()
            needed = bool(points) or every
            if needed != bool(self._bounds):
                for handle in self._bounds:
                    handle.remove()
                self._bounds = self._under_way.hook() if needed else []
                if not self._bounds:
                    self._under_way.forget()
            for path, binding in wanted.items():
                if path not in self._watches:
                    self._watches[path] = self._watch(binding)
            if before != (set(self._watches), bool(self._bounds)):
                forget_compiled_code()

    def _watch(self, binding: Binding) -> LayerWatch | BlockWatch:
        if binding.plan is None and can_reroute(binding):
            return LayerWatch(binding, self._arrived, self._refuse, self._is_idle)
        return BlockWatch(binding, self._arrived, self._refuse, partial(overrides_of, self._model))

    def _awaited(self, watch: LayerWatch | BlockWatch) -> bool:
        """Whether gradient checkpointing may still ask for what was changed at a layer."""
        if not isinstance(watch, LayerWatch) or not watch.awaited:
            return False
        if self._closed and any(getattr(module, "gradient_checkpointing", False) for module in self._model.modules()):
            notice("detached before the backward pass: what was changed at a stop is not in the gradients")
        return not self._closed

    def _is_idle(self, binding: Binding) -> bool:
        """Whether no token of the pass can match, as another layer found."""
        stack = self._under_way.stack_of(binding)
        return stack is not None and stack.idle == self._state

    def _refuse(self, binding: Binding, line: str) -> None:
        self._refused.add(binding.candidate.path)
        watch = self._watches.pop(binding.candidate.path, None)
        if watch is not None:
            watch.remove()
        notice(f"{binding.layer.path}: no breakpoint can stop there from here on: {line}")

    def _begun(self) -> None:
        self._passes += 1
        if len(self._tracer.bindings) != self._known:
            self.fit()
        for watch in self._watches.values():
            watch.arrange()

    def _ended(self) -> None:
        for point in self._points():
            point.settle()
        self._changed(False)

    def _first_seen(self, binding: Binding, call: Taken) -> None:
        """A layer was called for the first time, and only now it is known what it is: too late to change what it did."""
        place = self._tracer.place_of(binding)
        if place is None or not self._points():
            return
        layer = binding.placed(place)
        bias = None if binding.bias is None else own(getattr(*binding.bias))
        with unseen():
            self._arrived(
                Reached.of(Event(layer, small_ids(call.ids, layer.layer.experts), call.weights, call.logits, bias))
            )

    def _arrived(self, reached: Reached) -> Routing | None:
        if one_stands() or not self._under_way.here:
            return None
        try:
            with torch.no_grad():  # what checkpointing's first forward saves, its second one saves too
                return self._reached(reached)
        except Exception as error:  # the model goes on
            self._refuse(reached.binding, f"{type(error).__name__}: {error}")
            return None

    def _reached(self, reached: Reached) -> Routing | None:
        overridden = self._under_way.overridden(reached.binding)
        arrival = Arrival(reached, self._under_way, self._texts, overridden)
        state, every = self._state, self._points()
        points = [
            point for point in every if point.filter.wants_layer(arrival.layer) and arrival.could_match(point.filter)
        ]
        stepped = self._stepped_row(arrival)
        if not points and self._step is None and not any(arrival.has_tokens_of(point.filter) for point in every):
            arrival.idle(state)
        if (not points and stepped is None) or not arrival.is_sound:
            return None
        found: dict[int, list[tuple[PlacedBreakpoint, npt.NDArray[np.bool_]]]] = {}
        for point in points:
            matched = arrival.match(point.filter)
            assert matched.slots is not None
            for row in np.flatnonzero(matched.rows).tolist():
                found.setdefault(row, []).append((point, matched.slots[row]))
        if stepped is not None:
            found.setdefault(stepped, [])
        return self._go_through(arrival, found, stepped) if found else None

    def _go_through(
        self,
        arrival: Arrival,
        found: Mapping[int, Sequence[tuple[PlacedBreakpoint, npt.NDArray[np.bool_]]]],
        stepped: int | None,
    ) -> Routing | None:
        """Take note of all matches of a call, and stop where that is wanted."""
        routing, may_stop = None, True
        matching = sum(bool(points) for points in found.values())
        for number, row in enumerate(sorted(found), 1):
            stopping = self._hit(arrival, row, found[row])
            step = self._step
            if not may_stop or (stopping is None and row != stepped):
                continue
            if step is not None and step.going is Going.STEP_TOKEN and self._is_same_token(arrival, row, step):
                continue
            stop = stopping or Stop(arrival, row, arrival.slot(row), "the next layer, by a step")
            stop.matching, stop.match = max(matching, 1), min(number, max(matching, 1))
            self._step = None
            arrival.number_sequences()
            self._changed(True)
            with self._under_way.asleep():
                going, changed, took = self._hold.at(stop)
            self._tracer.hooks.stood_still(took)
            if changed is not None:
                routing = changed
                arrival = arrival.changed(changed)
            may_stop = going is Going.STEP_TOKEN
            if going is not Going.RESUME:
                layer, sequence = arrival.layer, int(arrival.tokens["sequence"][row])
                at = (arrival.first or 0) + row
                self._step = _Step(going, layer.stream, layer.place, at, sequence, self._passes)
            self.fit()
        return routing

    def _hit(
        self, arrival: Arrival, row: int, points: Sequence[tuple[PlacedBreakpoint, npt.NDArray[np.bool_]]]
    ) -> Stop | None:
        """Take note of a match; return the stop, if there is to be one."""
        found = None
        for point, slots in points:
            stop = Stop(arrival, row, arrival.slot(row, slots), point.breakpoint.text, point.id)
            tensors = partial(self._tensors, arrival, row)
            if point.hit(stop.fields, tensors, self._namespace) and found is None:
                stop.hits = point.hits
                found = stop
        return found

    def _tensors(self, arrival: Arrival, row: int) -> Mapping[str, Any]:
        logits = arrival.logits
        assert arrival.routes.experts is not None
        assert arrival.routes.weights is not None
        return {
            "ids": arrival.routes.experts[row],
            "weights": arrival.routes.weights[row],
            "logits": None if logits is None else logits[row],
        }

    def _is_same_token(self, arrival: Arrival, row: int, step: _Step) -> bool:
        """Whether a row is the token at which a step began."""
        at = (arrival.first or 0) + row
        return (self._passes, arrival.layer.stream, at) == (step.passes, step.stream, step.row)

    def _stepped_row(self, arrival: Arrival) -> int | None:
        """The row at which a step to the next layer ends here, if it does.

        After the pass that is the last token of the sequence in the next pass; a pass without the sequence ends the step.
        """
        step = self._step
        if step is None or step.going is not Going.STEP_LAYER or arrival.layer.stream != step.stream:
            return None
        if self._passes == step.passes:
            at = step.row - (arrival.first or 0)
            return at if arrival.layer.place != step.layer and 0 <= at < len(arrival.tokens) else None
        arrival.number_sequences()
        tokens = arrival.tokens
        rows = np.flatnonzero((tokens["sequence"] == step.sequence) & ~tokens["is_padding"])
        if not len(rows):
            self._step = None
            self.fit()
            return None
        return int(rows[-1])


def _removed(watch: LayerWatch | BlockWatch) -> bool:
    """Whether a layer's hooks took themselves off."""
    return isinstance(watch, LayerWatch) and watch.removed
