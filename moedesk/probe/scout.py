"""Watches the first call of one candidate and works out what is what: experts, router, logits, score, scale."""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from moedesk.core.model import LayerInfo
from moedesk.probe.cost import Cost
from moedesk.probe.discovery import Candidate
from moedesk.probe.ranking import Evidence, RankingObserver, Rule, fit_rule
from moedesk.probe.routing import Routing, read_routing
from moedesk.probe.scale import measure_scale, sample_rows

NO_NAMES: Mapping[str, Any] = MappingProxyType({})
"""Stands in for keyword arguments: torch leaves them out for a hook that another thread has just removed."""

_SHARED = re.compile(r"shared_?(expert|mlp)|shared$")


@dataclass(frozen=True)
class Binding:
    """One MoE layer, bound: where to hook and how to read what comes.

    Attributes
    ----------
    layer : LayerInfo
    candidate : Candidate
    router : Module or None
        Its output holds the logits; None if no module emits them.
    logits_at : int
        Place of the logits in that output; -1 if the output is the logits.
    probabilities : bool
        Whether those "logits" are probabilities (rows that sum to 1).
    rule : Rule or None
        What the router ranks by.
    bias : (Module, str) or None
        Where the rule's bias is read, live.
    """

    layer: LayerInfo
    candidate: Candidate
    router: nn.Module | None = None
    logits_at: int = -1
    probabilities: bool = False
    rule: Rule | None = None
    bias: tuple[nn.Module, str] | None = None

    def logits(self, output: Any) -> Tensor | None:
        """Return the (N, E) logits in an output of ``router``, detached but not copied."""
        value = output[self.logits_at] if isinstance(output, tuple | list) and self.logits_at >= 0 else output
        return value.detach().reshape(-1, value.shape[-1]) if isinstance(value, Tensor) else None

    @cached_property
    def kind(self) -> object:
        """The same object for layers whose routing can be stacked and reduced together."""
        return _kind(self.rule, self.probabilities, self.layer.experts, self.layer.stream)

    def placed(self, place: int) -> "Binding":
        """Return the same with the layer's place."""
        return replace(self, layer=replace(self.layer, place=place))


@cache
def _kind(*alike: object) -> object:
    return object()


@dataclass(frozen=True)
class FirstCall:
    """What a scout saw: the binding, and the routing of that call, which counts like any other."""

    binding: Binding
    ids: Tensor
    weights: Tensor
    logits: Tensor | None


class Scout:
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
        self, candidate: Candidate, done: Callable[["Scout", FirstCall], None], awake: Callable[[], bool], cost: Cost
    ) -> None:
        self.candidate = candidate
        self._done = done
        self._awake = awake
        self._timed = cost.timed
        self._over = False
        self._observer = RankingObserver()
        self._handles: list[RemovableHandle] = []
        self._forget()
        self._attach()

    def _forget(self) -> None:
        self._outputs: deque[tuple[str, nn.Module, Any]] = deque(maxlen=64)
        self._samples: dict[str, Tensor] = {}
        self._routing: Routing | None = None
        self._kept: tuple[Tensor, Tensor] | None = None
        self._router: tuple[str, nn.Module, Any] | None = None
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
        add(candidate.block.register_forward_hook(timed(self._leave_block), always_call=True))

    def rest(self) -> None:
        """Forget an unfinished call: the pass is over (an interrupt passes the block's own hook by)."""
        self._observer.stop()
        self._forget()

    def detach(self) -> None:
        """Remove every hook; those around a call that another thread is in, when it leaves."""
        self._over = True
        self._forget()
        if self._observer.stop():
            self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _leaving(self) -> bool:
        """Whether this scout is done; ends what it could not end from another thread."""
        if self._over and self._observer.stop():
            self._remove()
        return self._over

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
            hidden = next((value for value in args if isinstance(value, Tensor)), None)
            first = _first_tensor(output)
            if is_shared(path.rpartition(".")[2]) and first is not None and hidden is not None:
                sample = sample_rows(first, first.numel() // max(1, first.shape[-1]))
                if sample is not None:
                    self._samples[path] = sample

        return watch

    def _enter_experts(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        if self._leaving() or not self._awake() or self._routing is not None:
            return
        routing = read_routing(args, kwargs)
        self._observer.stop()
        if routing is None:
            return
        self._routing = routing
        self._kept = routing.ids(), routing.weights.detach().to(torch.float32, copy=True)
        self._router = self._find_router(routing)

    def _leave_experts(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._routing is None or not self._awake():
            return
        first = _first_tensor(output)
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
            self._conclude(_first_tensor(output))
        else:
            self._forget()

    def _find_router(self, routing: Routing) -> tuple[str, nn.Module, Any] | None:
        """The last module whose output holds the very tensor that the experts got; else one that emits (N, E) floats."""
        storages = {tensor.data_ptr() for tensor in (routing.choice, routing.weights)}
        for path, module, output in reversed(self._outputs):
            if isinstance(output, tuple | list) and any(
                isinstance(value, Tensor) and value.data_ptr() in storages for value in output
            ):
                return path, module, output
        experts = _count_experts(self.candidate.experts)
        for path, module, output in reversed(self._outputs):
            if isinstance(output, Tensor) and output.is_floating_point() and output.ndim > 1:
                rows = output.numel() // output.shape[-1] if output.shape[-1] else 0
                if rows == routing.hidden.shape[0] and output.shape[-1] == experts:
                    return path, module, output
        return None

    def _conclude(self, block_output: Tensor | None) -> None:
        assert self._routing is not None
        assert self._kept is not None
        (ids, weights), routing, router = self._kept, self._routing, self._router
        place, logits = _find_logits(router[2], routing) if router else (-1, None)
        kept_logits = None if logits is None else logits.clone()
        probabilities = logits is not None and _are_probabilities(logits)
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
        if routing.one_hot:
            weights.masked_fill_(ids < 0, 0)
        self.detach()
        self._done(self, FirstCall(binding, ids, weights, kept_logits))

    def _fit(
        self, logits: Tensor | None, ids: Tensor, router: tuple[str, nn.Module, Any] | None
    ) -> tuple[Rule | None, tuple[nn.Module, str] | None]:
        if logits is None or router is None:
            return None, None
        sources = _bias_sources(self.candidate, logits.shape[-1])
        biases = {name: getattr(module, attribute) for name, (module, attribute) in sources.items()}
        fitted = fit_rule(Evidence(logits, ids, self._observer, biases))
        if fitted is None:
            return None, None
        rule, name = fitted
        return rule, sources.get(name)

    def _describe(
        self,
        routing: Routing,
        router: tuple[str, nn.Module, Any] | None,
        logits: Tensor | None,
        rule: Rule | None,
        block_output: Tensor | None,
    ) -> LayerInfo:
        candidate = self.candidate
        count = int(logits.shape[-1]) if logits is not None else _count_experts(candidate.experts)
        if routing.one_hot:
            count = int(routing.choice.shape[-1])
        rows = routing.hidden.shape[0]
        experts = self._samples.pop(candidate.path, None)
        block = sample_rows(block_output, rows) if block_output is not None else None
        scale = float("nan")
        if experts is not None and block is not None and experts.shape == block.shape:
            others = [sample for sample in self._samples.values() if sample.shape == experts.shape]
            scale = measure_scale(experts, block, others, routing.hidden.dtype)
        return LayerInfo(
            path=candidate.block_path,
            block=type(candidate.block).__name__,
            experts=count,
            top_k=routing.top_k,
            shared=shared_experts(candidate.block),
            score=rule.label if rule else "unknown",
            stream=candidate.stream,
            post_scale=scale,
            router_path=router[0] if router else "",
            experts_path=candidate.path,
        )


def is_shared(name: str) -> bool:
    """Whether a child of a block is its shared experts, by its name."""
    return bool(_SHARED.search(name)) and not name.endswith("gate")


def shared_experts(block: nn.Module) -> int:
    """Return how many shared experts a block has, by its child modules and its configuration."""
    for name, child in block.named_children():
        if not is_shared(name) or not any(True for _ in child.parameters()):
            continue
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            return len(child)
        for holder in (child, block):
            config = getattr(holder, "config", None)
            for key in ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"):
                number = getattr(config, key, None) or getattr(holder, key, None)
                if isinstance(number, int) and number > 0:
                    return number
        return 1
    return 0


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list):
        return next((value for value in output if isinstance(value, Tensor)), None)
    return None


def _find_logits(output: Any, routing: Routing) -> tuple[int, Tensor | None]:
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


def _largest(routing: Routing) -> int:
    """The largest expert id of a call, at least k - 1."""
    if routing.one_hot:
        return int(routing.choice.shape[-1]) - 1
    return max(routing.top_k - 1, int(routing.choice.max()) if routing.choice.numel() else 0)


def to_logits(probabilities: Tensor) -> Tensor:
    """Return float32 logits whose softmax is ``probabilities``."""
    return probabilities.float().clamp_min(torch.finfo(torch.float32).tiny).log()


def _are_probabilities(logits: Tensor) -> bool:
    """Whether every row is a distribution (gemma4 calls its probabilities logits)."""
    values = logits.float()
    tolerance = max(1e-4, 4 * torch.finfo(logits.dtype).eps)
    return bool((values >= 0).all()) and bool(((values.sum(-1) - 1).abs() < tolerance).all())


def _count_experts(experts: nn.Module) -> int:
    """Experts that a module holds: by its stacked parameters, its children, or what it says."""
    stacked = [p.shape[0] for p in experts.parameters(recurse=False) if p.ndim == 3]
    if stacked:
        return int(stacked[0])
    for module in (experts, *experts.children()):
        for name in ("num_experts", "n_routed_experts", "moe_num_experts", "num_local_experts"):
            value = getattr(module, name, None)
            if isinstance(value, int):
                return value
    return sum(1 for _ in experts.children())


def _bias_sources(candidate: Candidate, experts: int) -> dict[str, tuple[nn.Module, str]]:
    """Parameters and buffers of E elements in the block, outside the experts."""
    sources: dict[str, tuple[nn.Module, str]] = {}
    inner = set(candidate.experts.modules())
    for path, module in candidate.block.named_modules():
        if module in inner:
            continue
        own: Sequence[tuple[str, Tensor]] = [
            *module.named_buffers(recurse=False),
            *module.named_parameters(recurse=False),
        ]
        for name, tensor in own:
            if tensor.numel() == experts and tensor.is_floating_point() and not tensor.is_meta:
                sources[f"{path}.{name}"] = (module, name)
    return sources
