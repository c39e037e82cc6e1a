"""What ``torch.compile`` has made of a model: where its compiled code begins, and how hooks and it get along.

Compiled code doesn't look for hooks that were added after it was made, nor forget those that were taken off: it is made anew when
a model is hooked, when its layers are known, and when it is let go. Hooks of a layer have a form for the graph (``graph_tap``);
those that bound a pass go around the compiled code; any other hook is left out of graphs, which splits them but changes nothing.
"""

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

_SAID = "a hook of moedesk, which was there before: compile the model first, then hook it"

Hook = TypeVar("Hook", bound=Callable[..., Any])


@dataclass(frozen=True)
class CompiledPart:
    """A part of a model that runs compiled.

    Attributes
    ----------
    path : str
        Of the module, in the model.
    module : Module
    wrapper : Module or None
        What ``torch.compile(module)`` returned; None if it was ``module.compile()``.
    """

    path: str
    module: nn.Module
    wrapper: nn.Module | None = None

    def holds(self, path: str) -> bool:
        """Whether a module is this part or inside it."""
        return not self.path or path == self.path or path.startswith(self.path + ".")


def compiled_parts(model: nn.Module) -> list[CompiledPart]:
    """Return the parts of a model that run compiled, outermost first; those inside another one are left out."""
    if not ever_compiled():
        return []
    wrappers = {id(module): module for module in (*model.modules(), *_wrappers.of(model)) if _is_wrapper(module)}
    wrapped = {id(getattr(wrapper, "_orig_mod", None)): wrapper for wrapper in wrappers.values()}
    parts: list[CompiledPart] = []
    for path, module in model.named_modules():
        wrapper = wrapped.get(id(module))
        if wrapper is None and getattr(module, "_compiled_call_impl", None) is None:
            continue
        if not any(part.holds(path) for part in parts):
            parts.append(CompiledPart(path, module, wrapper))
    return parts


def has_compiled(model: nn.Module) -> bool:
    """Return whether something in a model, or the model, runs compiled; functions around it are not known."""
    forwards = (vars(module).get("forward") for module in model.modules())
    return bool(compiled_parts(model)) or any(hasattr(forward, "_torchdynamo_orig_callable") for forward in forwards)


class CallsAround:
    """Hooks around the compiled code of a part: they run as they are, whatever the graph is.

    Parameters
    ----------
    part : CompiledPart
    opened, closed : function
        As hooks before (with keyword arguments) and after the part's module; ``closed`` gets None for an output if it raised.
    """

    def __init__(self, part: CompiledPart, opened: Callable[..., None], closed: Callable[..., None]) -> None:
        self._part = part
        self._handles: list[RemovableHandle] = []
        module, wrapper = part.module, part.wrapper
        if wrapper is not None:
            before = wrapper.register_forward_pre_hook(
                lambda _, args, kwargs: opened(module, args, kwargs), with_kwargs=True
            )
            after = wrapper.register_forward_hook(
                lambda _, args, output: closed(module, args, output), always_call=True
            )
            self._handles = [before, after]
            return
        compiled: Any = module._compiled_call_impl
        self._compiled = compiled

        def call(*args: Any, **kwargs: Any) -> Any:
            opened(module, args, kwargs)
            output = None
            try:
                output = compiled(*args, **kwargs)
            finally:
                closed(module, args, output)
            return output

        self._call = module._compiled_call_impl = call

    def remove(self) -> None:
        """Leave the part as it was."""
        for handle in self._handles:
            handle.remove()
        module = self._part.module
        if not self._handles and module._compiled_call_impl is self._call:
            module._compiled_call_impl = self._compiled
        self._handles.clear()


def forget_compiled_code() -> None:
    """Have all compiled code of this process made anew when it next runs; nothing happens where there is none."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None and ever_compiled():
        dynamo.reset()


def run_uncompiled() -> Callable[[], None]:
    """Have what is compiled in this process run as it was written, until every function that this returned was called."""
    global _stance
    key = object()
    with _stances:
        if not _uncompiled:
            _stance = torch.compiler.set_stance("force_eager")
        _uncompiled.add(key)

    def compile_again() -> None:
        with _stances:
            if key in _uncompiled and len(_uncompiled) == 1:
                _stance.__exit__(None, None, None)
            _uncompiled.discard(key)

    return compile_again


_stances = threading.RLock()
_uncompiled: set[object] = set()
_stance: Any = None


@contextmanager
def as_written() -> Iterator[None]:
    """Have nothing run compiled in the block, so that every module is called and every operation can be seen."""
    compile_again = run_uncompiled() if ever_compiled() else nothing
    try:
        yield
    finally:
        compile_again()


def nothing(*given: Any, **named: Any) -> None:
    """Do nothing: a hook for graphs."""


def apart(hook: Hook) -> Hook:
    """Return a hook that compiled graphs are split around. Costs nothing where nothing is compiled."""
    marked: Any = hook
    marked._torchdynamo_disable = True
    marked._torchdynamo_disable_msg = _SAID
    _leave_to_python(marked.__code__)
    return hook


def in_graphs(hook: Hook, traced: Callable[..., Any]) -> Hook:
    """Return the hook, for which compiled graphs get ``traced``."""
    marked: Any = hook
    marked._torchdynamo_inline = traced
    _leave_to_python(marked.__code__)
    return hook


def _leave_to_python(code: Any) -> None:
    """Have code that is called between two compiled graphs run as it is, and all that it calls."""
    from torch._C._dynamo import eval_frame

    if hasattr(eval_frame, "set_code_exec_strategy"):
        skip = eval_frame._FrameAction.SKIP
        eval_frame.set_code_exec_strategy(code, eval_frame._FrameExecStrategy(skip, skip))


_ever_used = False


def ever_compiled() -> bool:
    """Return whether anything was given to ``torch.compile`` in this process."""
    global _ever_used
    frames = sys.modules.get("torch._dynamo.eval_frame")
    if frames is not None and not _ever_used:
        backends = getattr(frames, "cached_backends", {0: True})
        _ever_used = any(backend is not None for backend in backends.values())
    return _ever_used


def _is_wrapper(module: Any) -> bool:
    frames = sys.modules.get("torch._dynamo.eval_frame")
    return frames is not None and isinstance(module, frames.OptimizedModule)


class _Wrappers:
    """What ``torch.compile(module)`` returned, in this process: a module that holds the one which it runs.

    Only a search of all objects finds one, which takes a good part of a second in a large process. So it is done anew only when
    there may be another one: each refers to its class.
    """

    def __init__(self) -> None:
        self._known: list[weakref.ref[nn.Module]] = []
        self._references = 0
        self._lock = threading.Lock()

    def of(self, model: nn.Module) -> list[nn.Module]:
        """Return those of a model."""
        frames = sys.modules.get("torch._dynamo.eval_frame")
        if frames is None:
            return []
        kind: type[nn.Module] = frames.OptimizedModule
        with self._lock:
            known = [reference() for reference in self._known]
            if sys.getrefcount(kind) != self._references or None in known:
                found = [one for one in gc.get_referrers(kind) if isinstance(one, kind)]
                self._known, known = [weakref.ref(one) for one in found], [*found]
                self._references = sys.getrefcount(kind)
        return [one for one in known if one is not None and one._orig_mod is model]


_wrappers = _Wrappers()
