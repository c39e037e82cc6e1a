"""Runs of a model that leave it as it was: modes, hooks, buffers, attributes, random numbers."""

import random
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.exactness.bits import same_bits

_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip
_REGISTERED = {"_parameters", "_buffers", "_modules", "training", *_HOOKS}
SEED = 0
"""Of every run, so that runs that draw random numbers draw the same."""


_changing = threading.RLock()
_under_test: dict[int, list[Callable[[], None]]] = {}
"""What waits for the end of each self-test under way, by the model's id."""


def when_untouched(model: nn.Module, change: Callable[[], None]) -> None:
    """Make a change to a model's hooks: now, or at the end of the self-test that runs, which would take it back."""
    with _changing:
        waiting = _under_test.get(id(model))
        if waiting is None:
            change()
        else:
            waiting.append(change)


def under_test(model: nn.Module) -> bool:
    """Return whether a self-test of a model runs."""
    return id(model) in _under_test


class Untouched:
    """While entered, the model is in evaluation mode, without gradients and without hooks of moedesk's: nothing is recorded.

    Hooks that are added meanwhile vanish at the end. Hooks of others stay and run. On leaving, also after an interrupt, the
    model is as it was, and so are all random number generators.

    Parameters
    ----------
    model : Module

    Attributes
    ----------
    changed : list of str
        What the model's own forward had changed, a line each, known after leaving; all but parameters was put back.
    was_training : bool
        Whether any module was in training mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.changed: list[str] = []
        self.was_training = any(module.training for module in model.modules())

    def __enter__(self) -> Self:
        if under_test(self._model):
            raise MoedeskError(f"{type(self._model).__name__} is being tested already; wait for the end of that")
        self._stack = ExitStack()
        self._kept = [_Kept(path, module) for path, module in self._model.named_modules()]
        devices = {tensor.device for tensor in self._model.parameters() if tensor.is_cuda}
        self._random = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state that the user's code shares
        self._stack.enter_context(torch.random.fork_rng(sorted(device.index or 0 for device in devices)))
        self._stack.enter_context(torch.no_grad())
        with _changing:
            for kept in self._kept:
                kept.lift()
            _under_test[id(self._model)] = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _changing:
            for kept in self._kept:
                self.changed += kept.put_back()
            for change in _under_test.pop(id(self._model)):
                change()
        self._stack.close()
        random.setstate(self._random[0])
        np.random.set_state(self._random[1])  # noqa: NPY002

    def run(self, inputs: dict[str, Any]) -> Any:
        """Return the model's output, with the same random numbers each time."""
        torch.manual_seed(SEED)
        random.seed(SEED)
        np.random.seed(SEED)  # noqa: NPY002
        return self._model(**inputs)


class _Kept:
    """One module as it was."""

    def __init__(self, path: str, module: nn.Module) -> None:
        self._path, self._module = path, module
        self._training = module.training
        self._attributes = {name: value for name, value in vars(module).items() if name not in _REGISTERED}
        self._hooks = {name: vars(module)[name] for name in _HOOKS if name in vars(module)}
        self._buffers = {
            name: (buffer, None if buffer is None or buffer.is_meta else buffer.detach().clone())
            for name, buffer in module._buffers.items()
        }
        self._versions = {
            name: (parameter, _version(parameter), parameter.grad, _version(parameter.grad))
            for name, parameter in module._parameters.items()
            if parameter is not None
        }

    def lift(self) -> None:
        """Put copies without moedesk's hooks in the place of the hooks; handles go on working on what was there."""
        self._module.training = False
        forward: Any = self._attributes.get("forward")
        while _is_ours(forward):  # an override's
            del vars(self._module)["forward"]
            forward = forward.replaced
            if forward is not None:
                vars(self._module)["forward"] = forward
        for name, hooks in self._hooks.items():
            vars(self._module)[name] = OrderedDict(
                (key, value) for key, value in hooks.items() if not _is_ours(self._registered(key))
            )

    def _registered(self, key: int) -> Any:
        return self._hooks["_forward_hooks"].get(key) or self._hooks["_forward_pre_hooks"].get(key)

    def put_back(self) -> list[str]:
        """Make the module what it was; return what had changed."""
        module, here = self._module, f"{self._path or 'the model'}: "
        module.training = self._training
        vars(module).update(self._hooks)
        for name in [name for name in vars(module) if name not in self._attributes and name not in _REGISTERED]:
            del vars(module)[name]
        vars(module).update(self._attributes)
        changed = []
        for name, (buffer, values) in self._buffers.items():
            if module._buffers.get(name) is not buffer:
                module._buffers[name] = buffer
                changed.append(f"{here}buffer {name} was replaced; put back")
            if buffer is not None and values is not None and not same_bits(buffer, values):
                buffer.copy_(values)
                changed.append(f"{here}buffer {name} was changed; put back")
        for name in set(module._buffers) - set(self._buffers):
            del module._buffers[name]
        for name, (parameter, version, grad, grad_version) in self._versions.items():
            if module._parameters.get(name) is not parameter or _version(parameter) != version:
                changed.append(f"{here}parameter {name} was changed by the model's own forward")
            if parameter.grad is not grad or _version(parameter.grad) != grad_version:
                changed.append(f"{here}the gradient of {name} was changed")
        return changed


def _is_ours(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("moedesk.")


def _version(tensor: Tensor | None) -> int:
    """How often a tensor was written to; inference tensors don't count."""
    return -1 if tensor is None or tensor.is_inference() else int(tensor._version)
