"""The names of what a module's forward takes."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn


def argument_names(module: nn.Module) -> tuple[str, ...]:
    """Return the positional arguments of a module's forward, in order; none if nobody can tell.

    Tensor parallelism puts a ``forward(*args, **kwargs)`` in the place of a module's own: then those of its class.
    """
    names = _names(module.forward)
    return names if names or "forward" not in vars(module) else _names(type(module).forward)[1:]


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
