"""A call of a block that can be made again: a KV cache among its arguments is as it was before the call."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from torch import nn


class RepeatableCall:
    """The arguments of a block's call; made before it.

    Parameters
    ----------
    args, kwargs
        Caches among them are copied, the rest is not.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._args, self._kwargs = _copied(args, kwargs)

    def make(self, block: nn.Module) -> Any:
        """Return what the block returns, called with these arguments; as often as wanted."""
        args, kwargs = _copied(self._args, self._kwargs)
        return block(*args, **kwargs)


def _copied(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(map(_fresh, args)), {name: _fresh(value) for name, value in kwargs.items()}


def _fresh(value: Any) -> Any:
    """A cache is what transformers' caches are: something that says its length and takes keys and values."""
    return deepcopy(value) if hasattr(value, "get_seq_length") and hasattr(value, "update") else value
