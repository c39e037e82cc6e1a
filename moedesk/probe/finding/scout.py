"""Watches the first call of one candidate and works out what is what: experts, router, logits, score, scale."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.core.model import LayerInfo
from moedesk.probe.finding.binding import Binding, FirstCall, Taken
from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.finding.known import known_rule
from moedesk.probe.finding.lookout import NO_NAMES, Lookout
from moedesk.probe.finding.parts import (
    bias_sources,
    count_experts,
    first_tensor,
    identity_experts,
    is_shared,
    looks_up,
    shared_experts,
)
from moedesk.probe.finding.probabilities import are_probabilities, to_logits
from moedesk.probe.finding.ranking import Evidence, RankingObserver, Rule, fit_rule
from moedesk.probe.finding.routing import ExpertsCall, read_routing
from moedesk.probe.finding.scale import measure_scale, sample_rows
from moedesk.probe.taking.cost import Cost


class Scout(Lookout):
    """Hooks around one candidate until its first complete call.

    Reads values on the host, so a first call waits for the device; later ones don't.

    Parameters
    ----------
    candidate : Candidate
    done : function
        Called once, at the end of the block's first call, with the scout and what it saw.
    awake : function
        Whether calls count now.
    cost : Cost
        Takes the time in these hooks.
    """

    def __init__(
        self, candidate: Candidate, done: Callable[[Lookout, FirstCall], None], awake: Callable[[], bool], cost: Cost
    ) -> None:
        super().__init__(candidate)
        self._done = done
        self._awake = awake
        self._timed = cost.timed
        self._forget()
        self._attach()

    def _forget(self) -> None:
        self._outputs: deque[tuple[str, nn.Module, Any]] = deque(maxlen=64)
        self._samples: dict[str, Tensor] = {}
        self._routing: ExpertsCall | None = None
        self._calls: list[Taken] = []
        self._router: tuple[str, nn.Module, Any] | None = None
        self._again: Any = None
        self._logits_at = -1
        self._inside = False

    def _attach(self) -> None:
        candidate, timed = self.candidate, self._timed
        prefix = f"{candidate.block_path}." if candidate.block_path else ""
        add = self._handles.append
        add(candidate.block.register_forward_pre_hook(timed(self._enter_block)))
        for name, module in candidate.block.named_modules():
            path = prefix + name
            if name and not (path == candidate.path or path.startswith(candidate.path + ".")):
                add(module.register_forward_hook(timed(self._watcher(path))))
        add(candidate.experts.register_forward_pre_hook(timed(self._enter_experts), with_kwargs=True))
        add(candidate.experts.register_forward_hook(timed(self._leave_experts)))
        add(candidate.block.register_forward_hook(timed(self._leave_block), always_call=True, prepend=True))

    def _enter_block(self, module: nn.Module, args: Any) -> None:
        if not self._leaving() and self._awake():
            self._forget()
            self._observer = RankingObserver()
            self._inside = True
            self._observer.start()

    def _watcher(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def watch(module: nn.Module, args: Any, output: Any) -> None:
            if not self._inside:
                return
            if self._routing is None:
                self._outputs.append((path, module, output))
            elif self._router is not None and path == self._router[0]:
                self._again = output
            hidden = next((value for value in args if isinstance(value, Tensor)), None)
            first = first_tensor(output)
            if is_shared(path.rpartition(".")[2]) and first is not None and hidden is not None:
                sample = sample_rows(first, first.numel() // max(1, first.shape[-1]))
                if sample is not None:
                    self._samples[path] = sample

        return watch

    def _enter_experts(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        if self._leaving() or not self._awake():
            return
        routing = read_routing(args, kwargs)
        self._observer.stop()
        if routing is None:
            return
        if self._routing is None:
            self._routing = routing
            self._router = self._find_router(routing)
            self._again = self._router[2] if self._router else None
        place, logits = _find_logits(self._again, routing)
        self._again = None
        if not self._calls:
            self._logits_at = place
        ids, weights = routing.ids(), routing.weights.detach().to(torch.float32, copy=True)
        if routing.one_hot:
            weights.masked_fill_(ids < 0, 0)
        # the block may write into its logits
        self._calls.append(Taken(ids, weights, None if logits is None else logits.clone()))

    def _leave_experts(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._routing is None or not self._awake() or len(self._calls) > 1:
            return
        first = first_tensor(output)
        sample = sample_rows(first, self._routing.hidden.shape[0]) if first is not None else None
        if sample is not None:
            self._samples[self.candidate.path] = sample
        if not self._inside:  # the block's own forward is bypassed
            self._conclude(None)

    def _leave_block(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._leaving() or not self._awake():
            return
        self._observer.stop()
        self._inside = False
        if output is not None and self._routing is not None:
            self._conclude(first_tensor(output))
        else:
            self._forget()

    def _find_router(self, routing: ExpertsCall) -> tuple[str, nn.Module, Any] | None:
        """The last module whose output holds the very tensor that the experts got; else one that emits (N, E) floats."""
        storages = {tensor.data_ptr() for tensor in (routing.choice, routing.weights)}
        for path, module, output in reversed(self._outputs):
            if isinstance(output, tuple | list) and any(
                isinstance(value, Tensor) and value.data_ptr() in storages for value in output
            ):
                return path, module, output
        experts = count_experts(self.candidate.experts)
        for path, module, output in reversed(self._outputs):
            if isinstance(output, Tensor) and output.is_floating_point() and output.ndim > 1:
                rows = output.numel() // output.shape[-1] if output.shape[-1] else 0
                if rows == routing.hidden.shape[0] and output.shape[-1] == experts:
                    return path, module, output
        return None

    def _conclude(self, block_output: Tensor | None) -> None:
        assert self._routing is not None
        routing, router = self._routing, self._router
        ids, logits, place = self._calls[0].ids, self._calls[0].logits, self._logits_at
        probabilities = logits is not None and are_probabilities(logits)
        if logits is not None and probabilities:
            logits = to_logits(logits)
        fitted, bias = self._fit(logits, ids, router)
        layer = self._describe(routing, router, logits, fitted, block_output)
        binding = Binding(
            layer,
            self.candidate,
            router[1] if router and logits is not None else None,
            place,
            probabilities,
            fitted,
            bias,
        )
        first = FirstCall(binding, tuple(self._calls))
        self.detach()
        self._done(self, first)

    def _fit(
        self, logits: Tensor | None, ids: Tensor, router: tuple[str, nn.Module, Any] | None
    ) -> tuple[Rule | None, tuple[nn.Module, str] | None]:
        if logits is None or router is None:
            return None, None
        sources = bias_sources(self.candidate, logits.shape[-1])
        biases = {name: getattr(module, attribute) for name, (module, attribute) in sources.items()}
        fitted = fit_rule(Evidence(logits, ids, self._observer, biases))
        if fitted is None:
            return known_rule(self.candidate.experts)
        rule, name = fitted
        return rule, sources.get(name)

    def _describe(
        self,
        routing: ExpertsCall,
        router: tuple[str, nn.Module, Any] | None,
        logits: Tensor | None,
        rule: Rule | None,
        block_output: Tensor | None,
    ) -> LayerInfo:
        candidate = self.candidate
        count = int(logits.shape[-1]) if logits is not None else count_experts(candidate.experts)
        if routing.one_hot:
            count = int(routing.choice.shape[-1])
        rows = routing.hidden.shape[0]
        experts = self._samples.pop(candidate.path, None)
        if block_output is not None and block_output.ndim == 1 and rows:
            block_output = block_output.unflatten(0, (rows, -1))
        block = sample_rows(block_output, rows) if block_output is not None else None
        scale = float("nan")
        if experts is not None and block is not None and experts.shape == block.shape:
            others = [sample for sample in self._samples.values() if sample.shape == experts.shape]
            scale = measure_scale(experts, block, others, routing.hidden.dtype)
        hashed = rule is None and router is not None and looks_up(router[1], routing.top_k)
        return LayerInfo(
            path=candidate.block_path,
            block=type(candidate.block).__name__,
            experts=count,
            top_k=routing.top_k,
            shared=shared_experts(candidate.block, candidate.around),
            score=rule.label if rule else "hash" if hashed else "unknown",
            stream=candidate.stream,
            post_scale=scale,
            router_path=router[0] if router else "",
            experts_path=candidate.path,
            selection="hash" if hashed else "token choice",
            identity=identity_experts(candidate.experts),
        )


def _find_logits(output: Any, routing: ExpertsCall) -> tuple[int, Tensor | None]:
    """The place and the (N, E) value of the router's logits in its output."""
    rows = routing.hidden.shape[0]
    values = list(output) if isinstance(output, tuple | list) else [output]
    taken = {routing.choice.data_ptr(), routing.weights.data_ptr()}
    for place, value in enumerate(values):
        if (
            not isinstance(value, Tensor)
            or not value.is_floating_point()
            or value.ndim < 2
            or value.data_ptr() in taken
        ):
            continue
        if value.numel() == rows * value.shape[-1] and value.shape[-1] > _largest(routing):
            return (place if isinstance(output, tuple | list) else -1), value.detach().reshape(rows, -1)
    return -1, None


def _largest(routing: ExpertsCall) -> int:
    """The largest expert id of a call, at least k - 1."""
    if routing.one_hot:
        return int(routing.choice.shape[-1]) - 1
    return max(routing.top_k - 1, int(routing.choice.max()) if routing.choice.numel() else 0)
