"""Tries one MoE layer while a forward of its model is in it: compares, replays and switches experts off, on the real input."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isnan
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.core.verification import CheckName
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.exactness.findings import Findings
from moedesk.probe.exactness.repeatable import RepeatableCall
from moedesk.probe.exactness.replay import (
    Replay,
    longest_product,
    relative_errors,
    replay,
    tolerance_of,
    without_others,
)
from moedesk.probe.exactness.switch_off import Expected, RunLayer, check_switched_off, chosen_experts
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.parts import first_tensor, is_shared
from moedesk.probe.finding.routing import ExpertsCall, read_routing
from moedesk.probe.overriding.rerouting import Change, Rerouting, rewritten, without


class LayerTrial:
    """Hooks of one layer for one forward; what it found is in ``found`` afterwards.

    Parameters
    ----------
    binding : Binding
    ids : (N, k) int
        As captured in an equal forward, of all calls of the layer.
    weights : (N, k) float32
    """

    def __init__(self, binding: Binding, ids: np.ndarray, weights: np.ndarray) -> None:
        self.binding = binding
        self.found = Findings()
        self.ids: list[Tensor] = []
        """(N, k) int64 ids of each call, as the experts got them."""
        self._captured = torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(np.array(weights))
        self._rows = 0
        self._busy = self._in_block = False
        self._inside: list[_Call] = []
        self._block_call: RepeatableCall | None = None
        self._shared: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Put the hooks on."""
        candidate = self.binding.candidate
        add = self._handles.append
        add(candidate.experts.register_forward_hook(self._after_experts, with_kwargs=True))
        add(candidate.block.register_forward_pre_hook(self._before_block, with_kwargs=True))
        add(candidate.block.register_forward_hook(self._after_block, with_kwargs=True))
        for name, module in candidate.block.named_modules():
            if name and is_shared(name.rpartition(".")[2]):
                add(module.register_forward_hook(self._watcher(name)))

    def detach(self) -> None:
        """Take them off."""
        for handle in self._handles:
            handle.remove()

    def finish(self) -> None:
        """Say so if the forward had fewer rows than were captured."""
        if CheckName.CAPTURED not in self.found.checks:
            return
        if self._rows < len(self._captured[0]):
            self.found.fail(
                CheckName.CAPTURED, f"{len(self._captured[0]):,} token rows were captured, {self._rows:,} ran"
            )

    def _watcher(self, name: str) -> Any:
        def watch(module: nn.Module, args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if not self._busy and tensor is not None:
                self._shared[name] = tensor.detach().clone()

        return watch

    def _before_block(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        if not self._busy:
            self._block_call = RepeatableCall(args, kwargs)
            self._in_block = True
            self._inside.clear()
            self._shared.clear()

    def _after_experts(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        tensor = first_tensor(output)
        routing = None if self._busy or tensor is None else read_routing(args, kwargs)
        if routing is None or tensor is None:
            return
        rows = slice(self._rows, self._rows + len(routing.hidden))
        self._rows = rows.stop
        given = routing.ids()
        self.ids.append(given.cpu())
        ids, weights = (part[rows].to(given.device) for part in self._captured)
        received = given, routing.weights.detach().float().masked_fill(given < 0, 0)
        if not self.found.compare(received, (ids, weights), "that the experts got"):
            return
        if tensor.numel() % len(given):
            self.found.skip(CheckName.REPLAY, "the experts' output has other rows than their input")
            return
        call = _Call(module, args, kwargs, routing, tensor, ids)
        with self._trying():
            call.replay = found = replay(call.run, ids, weights)
            again = call.without(None)
        restless = relative_errors(again, call.rows.detach().cpu().double(), found.scale)
        if bool((restless > self._tolerance(call)).any()):
            self.found.skip(CheckName.REPLAY, "the experts give another output the second time on the same input")
            return
        errors = relative_errors(call.rows, found.total, found.scale)
        what = "Σ w·E(x) from what was captured, against the experts' output"
        self.found.judge(CheckName.REPLAY, errors, self._tolerance(call), what)
        if self._in_block:
            self._inside.append(call)
        else:
            self._switch_off(call, found, call.without, "the experts' output")

    def _after_block(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        if self._busy:
            return
        self._in_block = False
        calls, tensor = self._inside, first_tensor(output)
        if len(calls) == 1 and tensor is not None and not tensor.numel() % len(calls[0].rows):
            call, rows = calls[0], len(calls[0].rows)
            block_call = self._block_call
            assert call.replay is not None
            assert block_call is not None
            self._check_block(call, tensor.reshape(rows, -1), call.replay)

            def run(expert: int | None) -> Tensor:
                with Rerouting(self.binding, without(expert)):
                    again = first_tensor(block_call.make(module))
                assert again is not None
                return again.reshape(rows, -1)

            self._switch_off(call, call.replay, run, "the block's output")
            return
        for call in calls:
            assert call.replay is not None
            self.found.skip(CheckName.BLOCK, "the block's output has other rows than its experts' input")
            self._switch_off(call, call.replay, call.without, "the experts' output")

    def _tolerance(self, call: "_Call") -> float:
        return tolerance_of(call.output.dtype, call.routing.top_k, longest_product([call.module]))

    def _check_block(self, call: "_Call", output: Tensor, found: Replay) -> None:
        layer = self.binding.layer
        if isnan(layer.post_scale):
            self.found.skip(CheckName.BLOCK, "what follows the experts is not linear, or was not measured")
            return
        target = output.detach().cpu().double()
        rest = target - layer.post_scale * found.total
        shared = [
            s.reshape(len(rest), -1).detach().cpu().double() for s in self._shared.values() if s.numel() == rest.numel()
        ]
        rest = without_others(rest, shared)
        scale = abs(layer.post_scale) * found.scale + target.abs().amax(-1)
        exact = call.output.dtype == torch.float32
        rounded = 5e-7 if exact else 5e-3  # ``measure_scale`` rounds to so many places
        tolerance = self._tolerance(call) + 2 * (len(shared) + 1) * torch.finfo(output.dtype).eps + rounded
        parts = f"{layer.post_scale:g} × experts" + (f" + {len(shared)} shared × their factors" if shared else "")
        errors = relative_errors(rest, torch.zeros_like(rest), scale)
        self.found.judge(CheckName.BLOCK, errors, tolerance, f"{parts}, against the block's output")

    def _switch_off(self, call: "_Call", found: Replay, run: RunLayer, where: str) -> None:
        ids = call.ids.cpu()
        expected = Expected(ids, found.sizes, torch.finfo(call.output.dtype).eps, self._tolerance(call))
        with self._trying():
            check = check_switched_off(run, expected, chosen_experts(ids, self.binding.layer.experts), where)
        self.found.take(check)

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """The layer runs again, for this trial: its own hooks then take no notice."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


class _Call:
    """One call of the experts, to be run again."""

    def __init__(
        self,
        module: nn.Module,
        args: Any,
        kwargs: Mapping[str, Any],
        routing: ExpertsCall,
        output: Tensor,
        ids: Tensor,
    ) -> None:
        self.module, self.args, self.kwargs, self.routing, self.output = module, args, kwargs, routing, output
        self.ids = ids
        self.replay: Replay | None = None

    @property
    def rows(self) -> Tensor:
        """(N, H) of what the experts returned."""
        return self.output.reshape(len(self.routing.hidden), -1)

    def run(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Run the experts with other ids and weights."""
        return self._changed(lambda routing: Routing(ids, weights))

    def without(self, expert: int | None) -> Tensor:
        """Run the experts again, one of them switched off."""
        return self._changed(without(expert))

    def _changed(self, change: Change) -> Tensor:
        new = rewritten(self.args, self.kwargs, self.routing, change)
        args, kwargs = (self.args, self.kwargs) if new is None else new
        tensor = first_tensor(self.module(*args, **kwargs))
        assert tensor is not None
        return tensor.reshape(len(self.routing.hidden), -1)
