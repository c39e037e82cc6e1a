"""Tensors compared bit by bit, so that NaN equals itself and -0 is not 0."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have the same shape, dtype and bits."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(torch.equal(_bytes(one), _bytes(other)))


def differing_rows(one: Tensor, other: Tensor) -> Tensor:
    """Return (N,) whether rows of two (N, D) tensors of the same dtype differ in any bit."""
    rows = one.shape[0]
    return (_bytes(one).reshape(rows, -1) != _bytes(other).reshape(rows, -1)).any(-1)


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in a model's output, with where it was found: ``logits``, ``hidden_states[2]``."""
    if isinstance(value, Tensor):
        yield name or "output", value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_in(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple | list):
        for place, item in enumerate(value):
            yield from tensors_in(item, f"{name}[{place}]")


def first_difference(one: Any, other: Any) -> str:
    """Return where two outputs differ, and by how much; empty if every bit is the same."""
    left, right = dict(tensors_in(one)), dict(tensors_in(other))
    if left.keys() != right.keys():
        return f"one has {', '.join(left)}, the other {', '.join(right)}"
    for name, tensor in left.items():
        if not same_bits(tensor, right[name]):
            if tensor.shape != right[name].shape or tensor.dtype != right[name].dtype:
                return f"{name} is {_kind(tensor)} in one and {_kind(right[name])} in the other"
            apart = (tensor.double() - right[name].double()).abs()
            return f"{name} differs in {int((apart != 0).sum()):,} of {tensor.numel():,} values, by {_largest(apart):.3g} at most"
    return ""


def _largest(apart: Tensor) -> float:
    finite = apart[torch.isfinite(apart)]
    return float(finite.max()) if finite.numel() else float("nan")


def _kind(tensor: Tensor) -> str:
    return f"{'×'.join(map(str, tensor.shape))} {str(tensor.dtype).removeprefix('torch.')}"


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1).contiguous().view(torch.uint8)
