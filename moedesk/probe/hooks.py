"""The hooks of one recording: those that bound a pass, and two on each MoE layer."""

import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.probe.adapters.adapted_hooks import AdaptedHooks
from moedesk.probe.adapters.adapted_scout import AdaptedScout
from moedesk.probe.exactness.untouched import when_untouched
from moedesk.probe.finding.binding import Binding, FirstCall, Taken
from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.finding.lookout import Lookout
from moedesk.probe.finding.scout import Scout
from moedesk.probe.left_out import LeftOut
from moedesk.probe.taking.batch import RecordedPass
from moedesk.probe.taking.bounds import Bounds
from moedesk.probe.taking.calls import Call, CallReader, Identities, uses_cache
from moedesk.probe.taking.compiled import CallsAround, forget_compiled_code, nothing, run_uncompiled
from moedesk.probe.taking.cost import Cost
from moedesk.probe.taking.courier import Courier
from moedesk.probe.taking.layer_hooks import LayerHooks
from moedesk.probe.taking.overridden import listen
from moedesk.probe.taking.parallel import rank
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.tap import Current, Event, Piece, Tap, own, recomputing, small_ids
from moedesk.probe.training.outputs import Outputs
from moedesk.probe.training.steps import Steps
from moedesk.probe.wanted import Wanted
from moedesk.probe.watched.watched_hooks import WatchedHooks
from moedesk.probe.watched.watched_scout import WatchedScout

_PAGED = "continuous batching: each request is a sequence of its own in every pass, numbered anew"

_SPARED = (
    "some passes lack entropy and margin, and logits if wanted: the model ran faster than they could be worked out"
)

_WATCHED = 4
"""Passes that run uncompiled at most, while there are layers whose first call has to be watched."""

_live: "weakref.WeakSet[Hooks]" = weakref.WeakSet()


def hooks_on(model: nn.Module) -> "list[Hooks]":
    """Return what takes, or could take, the passes of a model now."""
    return [hooks for hooks in tuple(_live) if hooks.takes(model)]


@dataclass
class _Running:
    """The pass under way."""

    recorded: RecordedPass
    tap: Tap
    started: int
    summed: bool = False
    open: list[tuple[nn.Module, Call, Tensor | None]] = field(default_factory=list)
    compile_again: Callable[[], None] = nothing


class Hooks:
    """Attaches to a model, and calls ``finished`` with every pass that saw an MoE layer.

    A pass is the outermost call of the model or of one of its parts that take tokens (an encoder alone, as in ``generate``).
    Calls during a backward pass (gradient checkpointing computes forwards again) are left out.

    Parameters
    ----------
    model : Module
    candidates : sequence of Candidate
    wanted : Wanted
    finished : function
        Takes the pass and the layers that were found in it (empty from the second pass on, as a rule).
    cost : Cost
        Takes the time in hooks, and what became of each pass.
    courier : Courier
        Says how much of a pass there is room for, and takes parts of a long one while it runs.
    midway : bool
        Whether a forward may be running already.

    Attributes
    ----------
    steps : Steps
        The training steps that passes belong to.
    outputs : Outputs
    evaluating : bool
        Passes that begin from now on are evaluation unless they train.
    rank : int
        Of this process among those that train together.
    """

    def __init__(
        self,
        model: nn.Module,
        candidates: Sequence[Candidate],
        wanted: Wanted,
        finished: Callable[[RecordedPass, Sequence[Binding]], None],
        cost: Cost,
        courier: Courier,
        midway: bool = False,
    ) -> None:
        self._model = model
        self._wanted = wanted
        self._finished = finished
        self._cost = cost
        self._courier = courier
        self._reader = CallReader()
        self.steps = Steps(model, courier.deliver_step, wanted.backward)
        self.outputs = Outputs(wanted.backward)
        self.evaluating = False
        self.label = ""
        """Given to the passes that begin from now on."""
        self.rank = 0
        self.first_seen: Callable[[Binding, Taken], None] | None = None
        """Told of each call of a layer that is found, after its block ran; its place is not known yet."""
        self._counts_only = wanted.counts_only
        self._recording = True
        self._running: _Running | None = None
        self._current = Current(settled=not midway)
        listen(self._current)
        self._changing = threading.Lock()
        self._detached = False
        self.left_out = LeftOut(courier.note)
        """Which layers could not be read, or no longer."""
        self._paged = False
        self._found: list[Binding] = []
        self._handles: list[RemovableHandle | LayerHooks | AdaptedHooks | WatchedHooks | CallsAround] = []
        self._passes = self._watched = 0
        self._caches = uses_cache(model)
        self._stacks = {candidate.stack_path: candidate.stream for candidate in candidates}
        self._bounds = Bounds(model, self._stacks, self.open, self._close, cost)
        self._bound: list[Binding] = []
        self._scouts: list[Lookout] = []
        self._put_on(candidates)
        _live.add(self)

    @property
    def outside(self) -> int:
        """Calls of MoE layers outside any pass."""
        return self._current.outside

    @property
    def recording(self) -> bool:
        """Whether passes are taken; if not, no hook is on the model once its pass is over, not even those of ``backward``."""
        return self._recording

    @recording.setter
    def recording(self, on: bool) -> None:
        when_untouched(self._model, partial(self._switch, on))

    def _switch(self, on: bool) -> None:
        with self._changing:
            self._current.settled = False
            if on and not self._detached and not self._handles:
                self._put_on(self.waiting)
                self.outputs.resume()
            self._recording = on
            if not on and self._running is None:
                self._take_off()

    def takes(self, model: nn.Module) -> bool:
        """Return whether these are hooks of a model, and not taken off for good."""
        return self._model is model and not self._detached

    def keep(self, everything: bool) -> None:
        """Keep all that is wanted of the passes that begin from now on, or only counts."""
        self._counts_only = self._wanted.counts_only or not everything

    @property
    def bound(self) -> tuple[str, ...]:
        """Paths of the layers that were found."""
        return tuple(binding.candidate.path for binding in self._bound)

    @property
    def waiting(self) -> tuple[Candidate, ...]:
        """Candidates that were not called yet."""
        return tuple(scout.candidate for scout in self._scouts)

    @property
    def caches(self) -> bool:
        """Whether the model fills a KV cache where a call doesn't say."""
        return self._caches

    @property
    def identities(self) -> Identities:
        """Numbers of the caches that passes used, by which sequences are known again."""
        return self._reader.identities

    def stood_still(self, nanoseconds: int) -> None:
        """Leave a time in which the model was stopped out of what the pass under way takes."""
        if self._running is not None:
            self._running.started += nanoseconds

    def detach(self) -> None:
        """Remove every hook; a pass that is still open (interrupted, or of another thread) ends as failed."""
        with self._changing:
            self._detached = True
        self._switch(False)
        self._end(failed=True)
        self.outputs.remove()
        self.steps.close()

    def _put_on(self, waiting: Sequence[Candidate]) -> None:
        self._handles += self._bounds.hook()
        self._handles += [
            self._hook(binding) for binding in self._bound if binding.layer.path not in self.left_out.paths
        ]
        self._scouts = [self._scout(candidate) for candidate in waiting]
        forget_compiled_code()

    def _take_off(self) -> None:
        for scout in self._scouts:
            scout.detach()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.outputs.pause()
        forget_compiled_code()

    def open(self, path: str, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Begin a call of a module that takes tokens; public for a recording that starts inside the model's first call."""
        if not self._recording or recomputing():
            return
        running = self._running
        if running is not None and any(opened is module for opened, _, _ in running.open):
            self._end(failed=True)  # it never left: an interrupt that hooks don't see
            running = None
        running = running or self._begin()
        if running is None:
            return
        copy = running.tap.transfer.copy if self._bounds.tells(path, module) and running.tap.room else None
        call, ids = self._reader.read(path, module, args, kwargs, copy)
        running.tap.expect(call.batch * call.length)
        if call.paged and not self._paged:
            self._paged = True
            self._courier.note(_PAGED)
        if ids is None:  # embeddings: the ids are those of the call around it, if it has as many
            given = (outer for _, _, outer in reversed(running.open) if outer is not None)
            ids = next((outer for outer in given if tuple(outer.shape) == (call.batch, call.length)), None)
        if ids is not None and copy is not None:
            call.ids = copy(ids)
        running.summed |= kwargs.get("num_items_in_batch") is not None
        running.open.append((module, call, ids))
        running.recorded.calls.append(call)

    def _close(self, module: nn.Module, output: Any) -> None:
        running = self._running
        if running is None or recomputing():
            return
        call = None
        while running.open:
            opened, call, _ = running.open.pop()
            if opened is module:
                break
        if call is not None and output is not None:
            call.path = self._bounds.stack_for(call, running.recorded.calls)
            if call.path in self._stacks:
                self._reader.finish(call, output, self._stacks[call.path] == "encoder")
        if module is self._model and running.recorded.training:
            self.steps.after_pass(output, running.summed)
        if not running.open:
            self._end(failed=output is None)

    def _begin(self) -> _Running | None:
        everything = not self._counts_only and self._passes % self._wanted.every == 0
        room = min(self._courier.room, Room.EVERYTHING if everything else Room.COUNTS)
        tap = Tap(room, self._wanted.logits, self._pass_on, self._current.lengths)
        training = self._model.training and torch.is_grad_enabled()
        recorded = RecordedPass(
            time.time_ns(), tap.transfer, tap.pieces, full=everything, training=training, caches=self._caches,
            overridden=tap.overridden,
        )  # fmt: skip
        with self._changing:  # another thread may switch recording off
            if not self._recording:
                return None
            self._running = _Running(recorded, tap, time.perf_counter_ns())
            self._current.tap, self._current.settled = tap, True
        recorded.rank, recorded.label = self.rank or rank(), self.label
        recorded.step, recorded.evaluating = self.steps.before_pass(training), self.evaluating
        if training and self.steps.backward and tap.room is not Room.NOTHING:
            recorded.outputs = self.outputs.begin(tap.transfer, self._bounds.parts)
        if self._scouts and self._watched < _WATCHED:
            self._watched += 1
            self._bounds.find_parts()
            if self._bounds.parts and self._running is not None:
                self._running.compile_again = run_uncompiled()
        return self._running

    def _pass_on(self, tap: Tap, piece: Piece) -> None:
        """Have a part of a long pass reduced while the pass goes on, if there is room for it."""
        self._courier.reduce(piece)
        tap.shrink(self._courier.room)

    def _end(self, failed: bool) -> None:
        with self._changing:  # a thread that detaches may be here at the same time
            running, self._running, self._current.tap = self._running, None, None
            found, self._found = self._found, []
            if not self._recording:
                self._take_off()
        self.outputs.end()
        if running is None:
            return
        running.compile_again()
        if found:
            forget_compiled_code()
        recorded, tap = running.recorded, running.tap
        recorded.t1_ns = recorded.t0_ns + time.perf_counter_ns() - running.started
        for scout in tuple(self._scouts):
            scout.rest()
        for handle in self._handles:
            if isinstance(handle, WatchedHooks):
                handle.rest()
        if not failed:
            self.left_out.unseen(self.waiting, {call.path for call in recorded.calls}, tap.seen)
        if not tap.seen:
            return
        tap.finish()
        for source in dict.fromkeys(tap.spoiled):
            path = source.binding.layer.path
            self._courier.note(
                f"{path} changes its routing after its experts got it: one pass was dropped because of that"
            )
        recorded.failed = failed
        recorded.shed, recorded.dropped = recorded.full and tap.room is Room.COUNTS, tap.room is Room.NOTHING
        recorded.full, recorded.spared = tap.room >= Room.ROUTES, tap.spared
        self._passes += 1
        self._count(recorded)
        self._finished(recorded, found)
        self._cost.pass_ns += time.perf_counter_ns() - running.started

    def _count(self, recorded: RecordedPass) -> None:
        cost = self._cost
        cost.passes += 1
        if recorded.full and recorded.spared:
            if not cost.spared:
                self._courier.note(_SPARED)
            cost.spared += 1
        if recorded.shed or recorded.dropped:
            cost.shed += recorded.shed
            cost.dropped += recorded.dropped
            cost.dropped_tokens += sum(call.batch * call.length for call in recorded.calls if call.path in self._stacks)

    def _awake(self) -> bool:
        return self._running is not None and not recomputing()

    def _scout(self, candidate: Candidate) -> Lookout:
        if candidate.adapter is None:
            return Scout(candidate, self._bind, self._awake, self._cost)
        kind = WatchedScout if candidate.watched else AdaptedScout
        return kind(candidate, self._bind, self._refuse, self._awake, self._cost)

    def _hook(self, binding: Binding) -> LayerHooks | AdaptedHooks | WatchedHooks:
        with_logits = not self._wanted.counts_only
        if binding.adapter is None:
            return LayerHooks(binding, self._current, with_logits, self._cost)
        refuse = partial(self.left_out.leave, binding.layer.path, " from here on")
        if binding.plan is not None:
            note = partial(self.left_out.say, binding.layer.path)
            return WatchedHooks(binding, self._current, with_logits, self._cost, note, refuse)
        return AdaptedHooks(binding, self._current, with_logits, self._cost, refuse)

    def _refuse(self, scout: Lookout, line: str) -> None:
        """Go on without a layer that can't be read."""
        with self._changing:
            if scout in self._scouts:
                self._scouts.remove(scout)
        self.left_out.leave(scout.candidate.block_path, "", line)

    def _bind(self, scout: Lookout, first: FirstCall) -> None:
        """Take a layer's first call into the pass, and hook the layer for the next ones."""
        binding = first.binding
        with self._changing:
            tap = self._current.tap
            if tap is None or self._detached:
                return
            self._scouts.remove(scout)
            self._found.append(binding)
            self._bound.append(binding)
            self._handles.append(self._hook(binding))
        self.steps.bind(binding)
        self.outputs.bind(binding)
        tap.seen = True
        for call in first.calls:
            if self.first_seen is not None:
                self.first_seen(binding, call)
            ids = small_ids(call.ids, binding.layer.experts)
            if tap.room is Room.COUNTS:
                tap.add(Event(binding, ids), ids.nbytes)
            elif tap.room >= Room.ROUTES:
                logits = call.logits if call.logits is not None and tap.takes_logits() else None
                bias = own(getattr(*binding.bias)) if logits is not None and binding.bias is not None else None
                tap.add(Event(binding, ids, call.weights, logits, bias), ids.nbytes + call.weights.nbytes)
