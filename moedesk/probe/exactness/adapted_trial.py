"""Tries one MoE layer that an adapter reads, or that is watched, while a forward of its model is in it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isnan
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.core.errors import MoedeskError
from moedesk.core.verification import CheckName
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.exactness.findings import Findings
from moedesk.probe.exactness.repeatable import RepeatableCall
from moedesk.probe.exactness.replay import Replay, longest_product, relative_errors, tolerance_of, without_others
from moedesk.probe.exactness.single_expert import expert_runner, expert_switch, replay_alone
from moedesk.probe.exactness.switch_off import Expected, check_switched_off, chosen_experts
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.parts import first_tensor, is_shared
from moedesk.probe.watched.plan import make_plan
from moedesk.probe.watched.watched_scout import begin_watch, hidden_of


class AdaptedTrial:
    """Hooks of one layer for one forward; what it found is in ``found`` afterwards.

    What was captured is compared with what the adapter reads, or with what a block that is watched anew shows; replayed by
    running each expert alone; and an expert is switched off by its weight, if the adapter can write, or by its module.

    Parameters
    ----------
    binding : Binding
        One with an adapter.
    ids : (N, k) int
        As captured in an equal forward, of all calls of the layer.
    weights : (N, k) float32
    """

    def __init__(self, binding: Binding, ids: np.ndarray, weights: np.ndarray) -> None:
        assert binding.adapter is not None
        self.binding, self._adapter = binding, binding.adapter
        self.found = Findings()
        self.ids: list[Tensor] = []
        """(N, k) int64 ids of each call, as they were read."""
        self._captured = torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(np.array(weights))
        self._rows = 0
        self._busy = False
        self._read: Routing | None = None
        self._block_call: RepeatableCall | None = None
        self._experts_call: tuple[Tensor, Tensor] | None = None
        self._beside: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Put the hooks on."""
        candidate, adapter, add = self.binding.candidate, self._adapter, self._handles.append
        block, experts = candidate.block, candidate.experts
        add(block.register_forward_pre_hook(self._before_block, with_kwargs=True))
        if self.binding.plan is None and adapter.when == "before":
            add(self.binding.hooked.register_forward_pre_hook(self._read_before, with_kwargs=True))
        elif self.binding.plan is None:
            add(self.binding.hooked.register_forward_hook(self._read_after, with_kwargs=True))
        if experts is not block:
            add(experts.register_forward_hook(self._after_experts, with_kwargs=True))
        for name, module in block.named_modules():
            child = name and "." not in name and module is not experts
            if child or is_shared(name.rpartition(".")[2]):
                add(module.register_forward_hook(self._watcher(name)))
        add(block.register_forward_hook(self._after_block, with_kwargs=True))

    def detach(self) -> None:
        """Take them off."""
        for handle in self._handles:
            handle.remove()

    def finish(self) -> None:
        """Say so if the forward had fewer rows than were captured, or none in a call of the block."""
        if not self.ids:
            block = type(self.binding.candidate.block).__name__
            self.found.skip(CheckName.CAPTURED, f"{block} is not called as a whole, so it can't be run again")
        elif CheckName.CAPTURED in self.found.checks and self._rows < len(self._captured[0]):
            text = f"{len(self._captured[0]):,} token rows were captured, {self._rows:,} ran"
            self.found.fail(CheckName.CAPTURED, text)

    def _before_block(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        if not self._busy:
            self._block_call = RepeatableCall(args, kwargs)
            self._read = self._experts_call = None
            self._beside.clear()

    def _watcher(self, name: str) -> Any:
        def watch(module: nn.Module, args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if not self._busy and tensor is not None and tensor.is_floating_point():
                self._beside[name] = tensor.detach().clone()  # Llama 4 adds its experts to it

        return watch

    def _read_before(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        self._read_call(module, args, kwargs, None)

    def _read_after(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        self._read_call(module, args, kwargs, output)

    def _read_call(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        if not self._busy:
            self._read = self._adapter.routing(module, args, kwargs, output)

    def _after_experts(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        given, made = first_tensor((*args, *kwargs.values())), first_tensor(output)
        if not self._busy and given is not None and made is not None:
            self._experts_call = given, made

    def _after_block(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        tensor = first_tensor(output)
        if self._busy or tensor is None:
            return
        with self._trying():
            try:
                routing, who = self._routing(module, args, kwargs)
                if routing is not None and len(routing.ids):
                    self._try(module, args, kwargs, tensor, routing, who)
            except MoedeskError as error:
                self.found.fail(CheckName.CAPTURED, str(error))

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """The layer runs again, for this trial: its own hooks then take no notice."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _routing(self, block: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> tuple[Routing | None, str]:
        """What the call did, and how that is known."""
        if self.binding.plan is None:
            return self._read, "that the adapter reads in this call"
        call = self._block_call
        assert call is not None
        watch = begin_watch(self.binding.candidate, args, kwargs)
        if watch is None:
            return None, ""
        try:
            again = first_tensor(call.make(block))
        finally:
            watch.end()
        return make_plan(watch, self.binding.candidate, again).routing, "that explain which expert ran on what"

    def _try(
        self, block: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Tensor, routing: Routing, who: str
    ) -> None:
        count = len(routing.ids)
        rows = slice(self._rows, self._rows + count)
        self._rows = rows.stop
        self.ids.append(routing.ids.long().cpu())
        ids, weights = (part[rows].to(routing.ids.device) for part in self._captured)
        given = routing.ids.long(), routing.weights.detach().float()
        if not self.found.compare(given, (ids, weights), who):
            return
        if output.numel() % count:
            self.found.skip(CheckName.REPLAY, "the block's output has other rows than its routing")
            return
        replayed = self._replay(hidden_of(args, kwargs), output.reshape(count, -1), ids, weights)
        switch = expert_switch(self.binding)
        if switch is None:
            text = f"{self._named()} has no write=, and its experts are no modules of their own"
            self.found.skip(CheckName.SWITCHED_OFF, text)
            return

        call = self._block_call
        assert call is not None

        def run(expert: int | None) -> Tensor:
            if expert is None:
                again = first_tensor(call.make(block))
            else:
                with switch(expert):
                    again = first_tensor(call.make(block))
            assert again is not None
            return again.reshape(count, -1)

        sizes = self._sizes(output.reshape(count, -1), weights) if replayed is None else replayed.sizes
        expected = Expected(ids.cpu(), sizes, torch.finfo(output.dtype).eps, self._tolerance(output))
        chosen = chosen_experts(ids.cpu(), self.binding.layer.experts)
        self.found.take(check_switched_off(run, expected, chosen, "the block's output"))

    def _replay(self, hidden: Tensor | None, output: Tensor, ids: Tensor, weights: Tensor) -> Replay | None:
        """Compare what the experts give with what the block, or its experts module, returned."""
        layer, plan, run = self.binding.layer, self.binding.plan, expert_runner(self.binding)
        why = ""
        if plan is not None and plan.capacity and layer.selection == "soft":
            why = "its experts get mixtures of all tokens, so no expert can be run on one token"
        elif run is None:
            why = f"{self._named()} has no run_expert=, and its experts are no modules of their own"
        rows, target, factor, what = self._experts_rows(len(ids), hidden, output)
        if not why and rows is None:
            why = "the rows that its experts got are not known"
        if why or run is None or rows is None:
            self.found.skip(CheckName.REPLAY, why)
            return None
        try:
            found = replay_alone(run, rows, ids, weights, self._adapter.weighs)
        except (MoedeskError, RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            self.found.skip(CheckName.REPLAY, f"an expert alone can't be run: {str(error).partition(chr(10))[0]}")
            return None
        if found.total.shape == output.shape:
            target, factor, what = output, layer.post_scale, "the block's output"
        if target is None or found.total.shape != target.shape:
            self.found.skip(CheckName.REPLAY, "what its experts give is in no output alone")
        else:
            self._judge(found, target, factor, what, hidden)
        return found

    def _experts_rows(
        self, count: int, hidden: Tensor | None, output: Tensor
    ) -> tuple[Tensor | None, Tensor | None, float, str]:
        """The rows that experts got, and what came out of them: of their own call if it had a row for each token."""
        rows = None if hidden is None or hidden.numel() % count else hidden.reshape(count, -1)
        if self._experts_call is not None:
            given, made = self._experts_call
            if given.shape[:-1].numel() == made.shape[:-1].numel() == count:
                return given.reshape(count, -1), made.reshape(count, -1), 1.0, "the experts' output"
        return rows, None, self.binding.layer.post_scale, "the block's output"

    def _judge(self, found: Replay, target: Tensor, factor: float, what: str, hidden: Tensor | None) -> None:
        """Compare, with what may be added beside the experts taken away: shared experts, a bias, the block's input.

        A factor that isn't known may be 1: if so, that shows; if not, nothing does.
        """
        factor, known = (1.0, False) if isnan(factor) else (factor, True)
        values = target.detach().cpu().double()
        rest = values - factor * found.total
        beside = {name: value for name, value in self._beside.items() if value.numel() == rest.numel()}
        shared = [value for name, value in beside.items() if is_shared(name.rpartition(".")[2])]
        if not shared and self.binding.layer.shared:
            shared = list(beside.values())
        others = [value.reshape(rest.shape).detach().cpu().double() for value in shared]
        tolerance = self._tolerance(target) + 2 * (len(others) + 1) * torch.finfo(target.dtype).eps
        if factor != 1:  # ``measure_scale`` rounds to so many places
            tolerance += 5e-7 if target.dtype == torch.float32 else 5e-3
        scale = abs(factor) * found.scale + values.abs().amax(-1)
        term = "E(w·x)" if self._adapter.weighs == "inputs" else "w·E(x)"
        words = f"{factor:g} × Σ {term} from what was captured"
        words += f" + {len(others)} shared × their factors" if others else ""
        tries: list[tuple[str, Tensor]] = [("", torch.zeros(()))]
        bias = getattr(self.binding.candidate.block, "bias", None)
        if isinstance(bias, Tensor) and bias.shape == rest.shape[-1:]:
            tries.append((" + the block's bias", bias.detach().cpu().double()))
        if hidden is not None and hidden.numel() == rest.numel():
            tries.append((" + the block's input", hidden.detach().reshape(rest.shape).cpu().double()))
        results = []
        for more, added in tries:
            left = without_others(rest - added, others)
            results.append((relative_errors(left, torch.zeros_like(left), scale), more))
        errors, more = next((result for result in results if float(result[0].max()) <= tolerance), results[0])
        if not known and float(errors.max()) > tolerance:
            self.found.skip(CheckName.REPLAY, "what follows the experts is not linear, or was not measured")
            return
        self.found.judge(CheckName.REPLAY, errors, tolerance, f"{words}{more}, against {what}")

    def _tolerance(self, output: Tensor) -> float:
        return tolerance_of(output.dtype, self.binding.layer.top_k, longest_product([self.binding.candidate.block]))

    def _sizes(self, output: Tensor, weights: Tensor) -> Tensor:
        """(N, k) guesses of what slots add, where experts can't be run alone: their share of the row."""
        return weights.abs().cpu().double() * output.detach().abs().amax(-1, keepdim=True).cpu().double()

    def _named(self) -> str:
        return f"adapter {self._adapter.name!r}"
