"""The names of what a module's forward takes."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from types import MethodType
from typing import Any

from torch import nn


def argument_names(module: nn.Module) -> tuple[str, ...]:
    """Return the positional arguments of a module's forward, in order; none if nobody can tell.

    Tensor parallelism puts a ``forward(*args, **kwargs)`` in the place of a module's own: then those of its class.
    """
    forward = module.forward
    if isinstance(forward, MethodType):
        names = _names(forward.__func__)[
            1:
        ]  # a function of the class, which may be remembered; a method holds the module
    else:
        names = _names.__wrapped__(forward)
    return names if names or "forward" not in vars(module) else _names(type(module).forward)[1:]


@lru_cache(maxsize=4096)
def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
