"""The hooks of one recording: on the modules that take tokens, which bound a pass, and two on each MoE layer."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.probe.batch import RecordedPass
from moedesk.probe.calls import Call, CallReader
from moedesk.probe.cost import Cost
from moedesk.probe.courier import Room
from moedesk.probe.discovery import Candidate, takes_tokens
from moedesk.probe.routing import read_routing
from moedesk.probe.scout import Binding, FirstCall, Scout
from moedesk.probe.tap import Collector, Event, Transfer, small_ids


@dataclass(frozen=True)
class Wanted:
    """What a recording keeps.

    Attributes
    ----------
    every : int
        All of every n-th pass, of the others only counts.
    counts_only : bool
    logits : bool
    """

    every: int = 1
    counts_only: bool = False
    logits: bool = False


@dataclass
class _Running:
    """The pass under way."""

    recorded: RecordedPass
    collector: Collector
    started: int
    keep: Room
    open: list[tuple[nn.Module, Call, Tensor | None]] = field(default_factory=list)
    logits: dict[str, Tensor] = field(default_factory=dict)


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
    cost : Cost, optional
        What passes cost is added to it.
    room : function, optional
        Says, at the start of each pass, how much of it may be kept.
    """

    def __init__(
        self,
        model: nn.Module,
        candidates: Sequence[Candidate],
        wanted: Wanted,
        finished: Callable[[RecordedPass, Sequence[Binding]], None],
        cost: Cost | None = None,
        room: Callable[[], Room] = lambda: Room.EVERYTHING,
    ) -> None:
        self.recording = True
        self.cost = cost or Cost()
        self._room = room
        self._model = model
        self._wanted = wanted
        self._finished = finished
        self._reader = CallReader()
        self._running: _Running | None = None
        self._found: list[Binding] = []
        self._handles: list[RemovableHandle] = []
        self._passes = self._steps = 0
        self._caches = _uses_cache(model)
        self._stacks = {candidate.stack_path: candidate.stream for candidate in candidates}
        self.outside = 0
        """Calls of MoE layers outside any pass."""
        for path, module in self._bounds(model):
            self._handles.append(module.register_forward_pre_hook(self._opener(path), with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._closer(path), always_call=True))
        self._scouts = [Scout(candidate, self._bind, self._awake) for candidate in candidates]

    @property
    def waiting(self) -> tuple[Candidate, ...]:
        """Candidates that were not called yet."""
        return tuple(scout.candidate for scout in self._scouts)

    def detach(self) -> None:
        """Remove every hook; a pass that is still open (interrupted) ends as failed."""
        if self._running is not None:
            self._end(failed=True)
        for scout in self._scouts:
            scout.detach()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def open(self, path: str, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Begin a call of a module that takes tokens; public for a recording that starts inside the model's first call."""
        if not self.recording or _recomputing():
            return
        running = self._running
        if running is not None and any(opened is module for opened, _, _ in running.open):
            self._end(failed=True)  # it never left: an interrupt that hooks don't see
            running = None
        running = running or self._begin()
        copy = running.recorded.transfer.copy if path in self._stacks else None
        call, ids = self._reader.read(path, module, args, kwargs, copy)
        if ids is None:  # embeddings: the ids are those of the call around it, if it has as many
            given = (outer for _, _, outer in reversed(running.open) if outer is not None)
            ids = next((outer for outer in given if tuple(outer.shape) == (call.batch, call.length)), None)
        if ids is not None and copy is not None:
            call.ids = copy(ids)
        running.open.append((module, call, ids))
        running.recorded.calls.append(call)

    def _bounds(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        """The model, and every module that takes tokens and has an MoE layer below."""
        return [
            (path, module)
            for path, module in model.named_modules()
            if not path or path in self._stacks or (takes_tokens(module) and self._holds_stack(path))
        ]

    def _holds_stack(self, path: str) -> bool:
        return any(stack.startswith(path + ".") for stack in self._stacks)

    def _opener(self, path: str) -> Callable[..., None]:
        def opened(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.open(path, module, args, kwargs)

        return opened

    def _closer(self, path: str) -> Callable[..., None]:
        encoder = self._stacks.get(path) == "encoder"

        def closed(module: nn.Module, args: Any, output: Any) -> None:
            running = self._running
            if running is None or _recomputing():
                return
            while running.open:
                opened, call, _ = running.open.pop()
                if opened is module:
                    break
            if output is not None and path in self._stacks:
                self._reader.finish(call, output, encoder)
            if not running.open:
                self._end(failed=output is None)

        return closed

    def _begin(self) -> _Running:
        room = self._room()
        wants_full = not self._wanted.counts_only and self._passes % self._wanted.every == 0
        full = wants_full and room is Room.EVERYTHING
        training = self._model.training and torch.is_grad_enabled()
        transfer = Transfer()
        recorded = RecordedPass(time.time_ns(), transfer, full=full, training=training, caches=self._caches)
        recorded.shed = wants_full and room is Room.COUNTS
        recorded.dropped = room is Room.NOTHING
        if training:
            recorded.step = self._steps
        self._running = _Running(recorded, Collector(transfer, self._wanted.logits), time.perf_counter_ns(), room)
        return self._running

    def _end(self, failed: bool) -> None:
        running, self._running = self._running, None
        assert running is not None
        for scout in self._scouts:
            scout.rest()
        running.collector.flush()
        recorded = running.recorded
        recorded.transfer.send()
        recorded.groups = running.collector.groups
        recorded.failed = failed
        recorded.t1_ns = recorded.t0_ns + time.perf_counter_ns() - running.started
        found, self._found = self._found, []
        if recorded.groups:
            self._passes += 1
            self._steps += recorded.training
            self._count(recorded)
            self._finished(recorded, found)

    def _count(self, recorded: RecordedPass) -> None:
        cost = self.cost
        cost.passes += 1
        cost.pass_ns += recorded.t1_ns - recorded.t0_ns
        cost.shed += recorded.shed
        cost.dropped += recorded.dropped
        if recorded.shed or recorded.dropped:
            cost.dropped_tokens += sum(call.batch * call.length for call in recorded.calls if call.path in self._stacks)

    def _awake(self) -> bool:
        return self.recording and self._running is not None and not _recomputing()

    def _bind(self, scout: Scout, first: FirstCall) -> None:
        """Take a layer's first call into the pass, and hook the layer for the next ones."""
        self._scouts.remove(scout)
        binding = first.binding
        self._found.append(binding)
        running = self._running
        assert running is not None
        full = running.recorded.full
        ids = small_ids(first.ids, binding.layer.experts)
        running.collector.add(Event(binding, ids, first.weights, first.logits) if full else Event(binding, ids))
        self._hook(binding)

    def _hook(self, binding: Binding) -> None:
        path, experts = binding.candidate.path, binding.layer.experts

        def entered(module: nn.Module, args: Any, kwargs: Any) -> None:
            running = self._running
            if running is None or _recomputing():
                self.outside += self.recording and not _recomputing()
                return
            routing = read_routing(args, kwargs)
            if routing is None:
                return
            ids = small_ids(routing.ids() if routing.one_hot else routing.choice, experts)
            if not running.recorded.full:
                running.collector.add(Event(binding, ids))
                return
            weights = routing.weights.detach().to(torch.float32, copy=True)
            if routing.one_hot:
                weights.masked_fill_(ids < 0, 0)
            running.collector.add(Event(binding, ids, weights, running.logits.pop(path, None)))

        def routed(module: nn.Module, args: Any, output: Any) -> None:
            running = self._running
            if running is None or not running.recorded.full or _recomputing():
                return
            logits = binding.logits(output)
            if logits is not None:
                running.logits[path] = logits.clone()

        self._handles.append(binding.candidate.experts.register_forward_pre_hook(entered, with_kwargs=True))
        if binding.router is not None and not self._wanted.counts_only:
            self._handles.append(binding.router.register_forward_hook(routed))


def _recomputing() -> bool:
    """Whether a backward pass is running: gradient checkpointing then computes forwards a second time."""
    return bool(torch._C._current_graph_task_id() != -1)


def _uses_cache(model: nn.Module) -> bool:
    config: Any = getattr(model, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    return bool(getattr(config, "use_cache", False))
