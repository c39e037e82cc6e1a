"""Watches the first call of a block that an adapter is for: reads it, checks what was read, describes the layer."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.core.model import LayerInfo
from moedesk.probe.adapters.adapter import ABSENT, Adapter, Routing, resolve
from moedesk.probe.finding.binding import Binding, FirstCall, Taken
from moedesk.probe.finding.discovery import Candidate
from moedesk.probe.finding.lookout import NO_NAMES, Lookout
from moedesk.probe.finding.parts import bias_sources, count_experts, shared_experts
from moedesk.probe.finding.probabilities import are_probabilities, to_logits
from moedesk.probe.finding.ranking import Evidence, RankingObserver, Rule, declared_rule, fit_rule
from moedesk.probe.finding.router_output import find_capacity, find_form
from moedesk.probe.taking.cost import Cost


class AdaptedScout(Lookout):
    """Hooks around a block with an adapter until its routing was read once.

    Reads values on the host, so a first call waits for the device; later ones don't.

    Parameters
    ----------
    candidate : Candidate
        One with an adapter.
    done : function
        Called once with the scout and what it saw.
    refuse : function
        Called instead, with the scout and one line, where the adapter does not fit the call.
    awake : function
        Whether calls count now.
    cost : Cost
        Takes the time in these hooks.
    """

    def __init__(
        self,
        candidate: Candidate,
        done: Callable[["Lookout", FirstCall], None],
        refuse: Callable[["Lookout", str], None],
        awake: Callable[[], bool],
        cost: Cost,
    ) -> None:
        super().__init__(candidate)
        assert candidate.adapter is not None
        self._adapter = candidate.adapter
        self._done = done
        self._refuse = refuse
        self._awake = awake
        hooked = self._adapter.module(candidate.block, self._adapter.hook)
        self._logits: Tensor | None = None
        add, timed = self._handles.append, cost.timed
        if self._adapter.logits:
            beside = self._adapter.module(candidate.block, self._adapter.logits)
            add(beside.register_forward_hook(timed(self._after_logits)))
        add(candidate.block.register_forward_pre_hook(timed(self._enter_block)))
        if self._adapter.when == "before":
            add(hooked.register_forward_pre_hook(timed(self._before), with_kwargs=True))
        else:
            add(hooked.register_forward_hook(timed(self._after), with_kwargs=True, prepend=True))
        add(candidate.block.register_forward_hook(timed(self._leave_block), always_call=True))

    def _enter_block(self, module: nn.Module, args: Any) -> None:
        if not self._leaving() and self._awake():
            self._observer = RankingObserver()
            self._observer.start()

    def _leave_block(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self._leaving():
            self._observer.stop()

    def _after_logits(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self._over and self._awake() and isinstance(output, Tensor):
            self._logits = output.detach()

    def _before(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        self._read(module, args, kwargs, None)

    def _after(self, module: nn.Module, args: Any, *rest: Any) -> None:
        self._read(module, args, rest[0] if len(rest) > 1 else NO_NAMES, rest[-1])

    def _read(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        if self._over or not self._awake():
            return
        try:
            adapter = self._adapter if self._adapter.read is not None else self._found_out(output)
            routing = adapter.routing(module, args, kwargs, output)
            if routing is None or not routing.ids.numel():
                return
            routing = with_logits(routing, self._logits)
            first = self._conclude(adapter, routing)
        except MoedeskError as error:
            self.detach()
            self._refuse(self, f"adapter {self._adapter.name!r}: {error}")
            return
        self.detach()
        self._done(self, first)

    def _found_out(self, output: Any) -> Adapter:
        """The adapter with a ``read`` for outputs of this form."""
        adapter = self._adapter
        experts = count(self.candidate, adapter)
        form: Any = find_form(output, experts)
        form = form or find_capacity(output, experts, resolve(adapter.top_k, self.candidate.block))
        if form is None:
            raise MoedeskError(
                f"its router {adapter.router!r} returned neither expert ids (tokens, k) with weights of the same shape "
                "nor combine weights (tokens, experts, capacity) with a mask of the same shape; "
                "say how they are read: moedesk.adapter(..., read=lambda block, args, kwargs, output: ...)"
            )
        return replace(adapter, read=form.read)

    def _conclude(self, adapter: Adapter, routing: Routing) -> FirstCall:
        candidate = replace(self.candidate, adapter=adapter)
        ids = routing.ids.long()
        logits = kept = None if routing.logits is None else routing.logits.clone()
        experts = self._count(adapter, logits)
        check(ids, experts)
        probabilities = logits is not None and are_probabilities(logits)
        if logits is not None and probabilities:
            logits = to_logits(logits)
        rule, bias = self._fit(logits, ids)
        layer = describe(candidate, adapter, experts, ids.shape[-1], rule)
        binding = Binding(layer, candidate, probabilities=probabilities, rule=rule, bias=bias)
        return FirstCall(binding, (Taken(ids, routing.weights.float().clone(), kept),))

    def _count(self, adapter: Adapter, logits: Tensor | None) -> int:
        experts = count(self.candidate, adapter)
        wide = None if logits is None else int(logits.shape[-1])
        if experts is not None and wide is not None and wide != experts:
            raise MoedeskError(f"its logits have {wide} columns, but there are {experts} experts")
        experts = experts or wide
        if not experts:
            raise MoedeskError("how many experts there are can't be told; say n_experts=")
        return experts

    def _fit(self, logits: Tensor | None, ids: Tensor) -> tuple[Rule | None, tuple[nn.Module, str] | None]:
        if logits is None or self._adapter.selection != "token choice":
            return None, None
        sources = bias_sources(self.candidate, logits.shape[-1])
        biases = {name: getattr(module, attribute) for name, (module, attribute) in sources.items()}
        fitted = fit_rule(Evidence(logits, ids, self._observer, biases))
        if fitted is None:
            return declared_rule(self._adapter.score or "", logits, ids), None
        return fitted[0], sources.get(fitted[1])


def with_logits(routing: Routing, logits: Tensor | None) -> Routing:
    """Return a routing with these logits, unless it has some, or they are of other rows."""
    if routing.logits is not None or logits is None or logits.ndim < 2 or not logits.is_floating_point():
        return routing
    logits = logits.reshape(-1, logits.shape[-1])
    return replace(routing, logits=logits) if logits.shape[0] == routing.ids.shape[0] else routing


def count(candidate: Candidate, adapter: Adapter) -> int | None:
    """Return the number of experts by what the adapter says or by the experts module; None if neither tells."""
    said = resolve(adapter.n_experts, candidate.block)
    if said is not None:
        return said
    return (count_experts(candidate.experts) or None) if adapter.experts else None


def check(ids: Tensor, experts: int) -> None:
    """Raise ``MoedeskError`` if an id is none of an expert."""
    low, high = int(ids.min()), int(ids.max())
    if high >= experts or low < ABSENT:
        raise MoedeskError(f"its ids go from {low} to {high}, but there are {experts} experts, 0 to {experts - 1}")


def describe(candidate: Candidate, adapter: Adapter, experts: int, slots: int, rule: Rule | None) -> LayerInfo:
    """Return what is known of a layer that an adapter reads."""
    block, prefix = candidate.block, f"{candidate.block_path}." if candidate.block_path else ""
    said = resolve(adapter.top_k, block)
    if said is not None and said != slots:
        raise MoedeskError(f"its ids have {slots} slots a token, but top_k={said}")
    shared = resolve(adapter.shared, block)
    return LayerInfo(
        path=candidate.block_path,
        block=type(block).__name__,
        experts=experts,
        top_k=slots,
        shared=shared_experts(block) if shared is None else shared,
        score=adapter.score or (rule.label if rule else "unknown"),
        stream=candidate.stream,
        router_path=prefix + adapter.router if adapter.router else "",
        experts_path=candidate.path,
        adapter=adapter.name,
        selection=adapter.selection,
        identity=resolve(adapter.identity, block) or 0,
        post_scale=adapter.post_scale(block) if callable(adapter.post_scale) else adapter.post_scale,
    )
