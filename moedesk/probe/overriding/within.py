"""Blocks that choose in their own forward, between a router that gives logits only and experts that get the choice (DBRX)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from moedesk.core.errors import MoedeskError
from moedesk.probe.finding.binding import Binding
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.finding.routing import ExpertsCall, read_routing
from moedesk.probe.overriding.forward_around import ForwardAround
from moedesk.probe.overriding.operations import RANKERS, OperationLog, name_of
from moedesk.probe.overriding.reselection import Reselection
from moedesk.probe.overriding.shadow import Shadow
from moedesk.probe.overriding.way import SelectionCall


class Within(TorchFunctionMode):
    """While entered around the forward of such a block, edits of its score act, until its experts are called.

    What the block would choose without them is calculated beside that: its forward, with its experts, runs once.

    Parameters
    ----------
    selection : Reselection
        It is not entered.
    """

    def __init__(self, selection: Reselection) -> None:
        super().__init__()
        self.selection = selection
        self._plain = Shadow()
        self._over = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._over:
            return func(*args, **kwargs)
        name = name_of(func)
        ranks = name in RANKERS
        call = self._plain.prepare(name, args, kwargs, ranks)
        if not ranks and name != self.selection.way.operation:
            output = func(*args, **kwargs)
        else:
            output = self._scored(func, types, args, kwargs)
        self._plain.follow(func, call, output)
        return output

    def _scored(self, func: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """An operation that gives the logits, or ranks."""
        given: list[Any] = []

        def noted(*args: Any, **kwargs: Any) -> Any:
            given.append(func(*args, **kwargs))
            return given[-1]

        name = name_of(func)
        output = self.selection.take(name, noted, args, kwargs)
        if isinstance(output, Tensor) and name not in RANKERS and output is not given[-1]:
            self._plain.add(output, given[-1].detach())
        return output

    def arrive(self, call: ExpertsCall) -> tuple[Tensor, Tensor]:
        """Return what choice and weights would be without the edits, as the experts are called with others."""
        self._over = True
        return self._plain.of(call.choice), self._plain.of(call.weights)


class Ends:
    """While entered: what leaves a block's router, and what reaches its experts.

    Attributes
    ----------
    output : object
        Of the router's last call.
    choice, weights : tensor or None
        Of the experts' first call.
    """

    def __init__(self, binding: Binding) -> None:
        assert binding.router is not None
        self._router, self._experts = binding.router, binding.candidate.experts
        self.output: Any = None
        self.choice: Tensor | None = None
        self.weights: Tensor | None = None

    def __enter__(self) -> Self:
        self._handles = [
            self._router.register_forward_hook(self._left),
            self._experts.register_forward_pre_hook(self._reached, with_kwargs=True),
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _left(self, module: nn.Module, args: Any, output: Any) -> None:
        self.output = output

    def _reached(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any] = NO_NAMES) -> None:
        call = read_routing(args, kwargs)
        if call is not None and self.choice is None:
            self.choice, self.weights = call.choice, call.weights

    def call(self, log: OperationLog, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> SelectionCall:
        """Return the block's call as one that selects: its output is the router's.

        Raises
        ------
        MoedeskError
            If nothing came by.
        """
        if self.output is None or self.choice is None or self.weights is None:
            raise MoedeskError("its block doesn't call its router and its experts")
        return SelectionCall(log, args, kwargs, self.output, self.choice, self.weights)


def chooses_within(binding: Binding) -> bool:
    """Return whether a layer may choose between its router and its experts."""
    return binding.adapter is None and binding.plan is None and binding.router is not None


def watch_blocks(bindings: Sequence[Binding], run: Callable[[], Any]) -> dict[int, SelectionCall]:
    """Return the first call of each of these layers' blocks in a run, by place."""
    seen: dict[int, SelectionCall] = {}

    def around(binding: Binding) -> ForwardAround:
        def watch(inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            place, log = binding.layer.place, OperationLog(binding.layer.experts)
            if place in seen:
                return inner(*args, **kwargs)
            with Ends(binding) as ends, log:
                output = inner(*args, **kwargs)
            if ends.output is not None and ends.choice is not None:
                seen[place] = ends.call(log, args, kwargs)
            return output

        return ForwardAround(binding.candidate.block, watch)

    arounds = [around(binding) for binding in bindings]
    try:
        if arounds:
            run()
    finally:
        for one in arounds:
            one.remove()
    return seen
