"""Any value as a short text, without reading a GPU's memory."""

import reprlib
import sys
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

LIMIT = 500
"""Characters."""
VALUES = 6
"""Numbers of an array, and entries of a record, that are shown."""


def shorten(value: object, limit: int = LIMIT) -> str:
    """Return a text of at most ``limit`` characters; "…" at its end if there is more.

    A tensor is shown as type, dtype, shape and device, with its first values only if they lie in this machine's memory: what lies
    on a GPU would have to be waited for.
    """
    text = _Short().repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class _Short(reprlib.Repr):
    """Python's own, which stops early in long containers, with tensors, arrays and records."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 4, 300, 60, LIMIT + 1

    def repr1(self, x: Any, level: int) -> str:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(x, torch.Tensor):
            return _tensor(x, torch)
        if isinstance(x, np.ndarray):
            return f"{type(x).__name__} {x.dtype} {x.shape} {_numbers(x.ravel()[: VALUES + 1].tolist())}"
        if isinstance(x, Mapping) and type(x) is not dict:  # what a model returns is one
            return self._record(type(x).__name__, x, x.items(), level)
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return self._record(type(x).__name__, x, zip(x._fields, x, strict=True), level)
        return super().repr1(x, level)

    def _record(self, name: str, x: Any, items: Any, level: int) -> str:
        if level <= 0:
            return f"{name}(…)"
        parts = [f"{key}={self.repr1(value, level - 1)}" for key, value in islice(items, VALUES)]
        return f"{name}({', '.join(parts + ['…'] * (len(x) > VALUES))})"

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            return repr(x)[: self.maxother]  # the beginning; reprlib would keep both ends
        except Exception:
            return f"<{type(x).__name__} whose repr fails>"


def _tensor(tensor: Any, torch: Any) -> str:
    name = f"{type(tensor).__name__} {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
    if tensor.device.type != "cpu":
        return f"{name} {tensor.device}"
    try:
        return f"{name} {_numbers(tensor.detach().flatten()[: VALUES + 1].tolist())}"
    except (RuntimeError, TypeError):  # sparse, quantized, fake: no plain values
        return name


def _numbers(values: list[Any]) -> str:
    shown = [f"{value:.4g}" if isinstance(value, float) else reprlib.repr(value) for value in values[:VALUES]]
    return f"[{', '.join(shown + ['…'] * (len(values) > VALUES))}]"
