"""Where a pass begins and ends: hooks on the model, and on every module that takes tokens and has an MoE layer below."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from moedesk.probe.finding.discovery import takes_tokens
from moedesk.probe.finding.lookout import NO_NAMES
from moedesk.probe.taking.calls import Call
from moedesk.probe.taking.compiled import CallsAround, CompiledPart, apart, compiled_parts, in_graphs, nothing
from moedesk.probe.taking.cost import Cost

Opened = Callable[[str, nn.Module, Sequence[Any], Mapping[str, Any]], None]
Closed = Callable[[nn.Module, Any], None]


class Bounds:
    """Finds and hooks the modules of a model that bound a pass.

    Parameters
    ----------
    model : Module
    stacks : mapping
        Name of the token stream by path of the stack: the module above MoE layers that is called with the tokens.
    opened : function
        Takes path, module, arguments and keyword arguments of a call that begins.
    closed : function
        Takes module and output of a call that ended, None if it raised.
    cost : Cost, optional
        Takes the time in these hooks.

    Attributes
    ----------
    parts : list of CompiledPart
        What ran compiled when it was last looked for.
    """

    def __init__(
        self, model: nn.Module, stacks: Mapping[str, str], opened: Opened, closed: Closed, cost: Cost | None = None
    ) -> None:
        self.parts: list[CompiledPart] = []
        self._model = model
        self._stacks = stacks
        self._opened = opened
        self._closed = closed
        self._timed = apart if cost is None else cost.timed
        self._around: nn.Module | None = None
        self._modules = [
            (path, module)
            for path, module in model.named_modules()
            if not path or path in stacks or (takes_tokens(module) and self._holds_stack(path))
        ]

    def find_parts(self) -> None:
        """Look for what runs compiled."""
        self.parts = compiled_parts(self._model)

    def hook(self) -> list[RemovableHandle | CallsAround]:
        """Hook the modules; return the handles."""
        self.find_parts()
        return [handle for path, module in self._modules for handle in self._hook(path, module)]

    def tells(self, path: str, module: nn.Module) -> bool:
        """Whether a call of a module says what a stack's tokens are."""
        return path in self._stacks or any(part.module is module for part in self.parts)

    def stack_for(self, call: Call, calls: Sequence[Call]) -> str:
        """Return the path of a call; if the stack below was compiled with it, and so not seen, that of the stack."""
        below = [path for path in self._stacks if not call.path or path.startswith(call.path + ".")]
        compiled = any(part.path == call.path for part in self.parts)
        if (
            not compiled
            or call.path in self._stacks
            or len(below) != 1
            or any(below[0] == other.path for other in calls)
        ):
            return call.path
        return below[0]

    def _holds_stack(self, path: str) -> bool:
        return any(stack.startswith(path + ".") for stack in self._stacks)

    def _hook(self, path: str, module: nn.Module) -> list[RemovableHandle | CallsAround]:
        """Hook a module; around its compiled code if it has some, and not in that of a module around it."""
        handles: list[RemovableHandle | CallsAround] = []
        timed = self._timed
        part = next((part for part in self.parts if part.holds(path)), None)
        if part is not None and part.module is module:
            opened, closed = timed(self._opener(path, around=True)), timed(self._closer(around=True))
            handles.append(CallsAround(part, opened, closed))
        opened, closed = timed(self._opener(path)), timed(self._closer())
        if part is not None:
            opened, closed = in_graphs(opened, nothing), in_graphs(closed, nothing)
        handles.append(module.register_forward_pre_hook(opened, with_kwargs=True))
        handles.append(module.register_forward_hook(closed, always_call=True))
        return handles

    def _opener(self, path: str, around: bool = False) -> Callable[..., None]:
        def opened(module: nn.Module, args: Any, kwargs: Any = NO_NAMES) -> None:
            if around:
                self._around = module
            elif self._around is module:
                return
            self._opened(path, module, args, kwargs)

        return opened

    def _closer(self, around: bool = False) -> Callable[..., None]:
        def closed(module: nn.Module, args: Any, output: Any) -> None:
            if around:
                self._around = None
            elif self._around is module:
                return
            self._closed(module, output)

        return closed
