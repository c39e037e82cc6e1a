"""Where hooks copy what is alike in a long pass on the host: one tensor behind the other, so that nobody need stack them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moedesk.probe.taking.reused import MEMORY

MOST_BYTES = 4 << 20
"""Of one shelf, but for its last tensor."""

Kind = tuple[str, torch.Size, torch.dtype]
"""Column, shape of a row and type."""


class Shelves:
    """Takes copies of tensors on the host until it is dropped; each lies behind the one before of its column, shape and type.

    Parameters
    ----------
    lengths : dict
        The most tensors of each kind that one of its predecessors took: so long its shelves are.
    """

    __slots__ = ("_lengths", "_slots", "_taken")

    def __init__(self, lengths: dict[Kind, int]) -> None:
        self._lengths = lengths
        self._slots: dict[tuple[str, torch.Size, torch.dtype], list[Tensor]] = {}
        self._taken: dict[Kind, int] = {}

    def copy(self, column: str, tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return a copy that has no gradient, in ``dtype`` if given."""
        shape, dtype = tensor.shape, dtype or tensor.dtype
        slots = self._slots.get((column, shape, dtype))
        if not slots:
            slots = self._slots[column, shape, dtype] = self._make(column, shape, dtype)
        return slots.pop().copy_(tensor.detach() if tensor.requires_grad else tensor)

    def _make(self, column: str, shape: torch.Size, dtype: torch.dtype) -> list[Tensor]:
        kind = column, shape[1:], dtype
        taken = self._taken.get(kind, 0)
        length = max(1, self._lengths.get(kind, 1) - taken)
        length = min(length, 1 + MOST_BYTES // (shape.numel() * dtype.itemsize))
        self._taken[kind] = taken + length
        if self._taken[kind] > self._lengths.get(kind, 0):
            self._lengths[kind] = self._taken[kind]
        return list(MEMORY.empty((length, *shape), dtype).unbind())[::-1]


def together(tensors: Sequence[Tensor]) -> Tensor | None:
    """Return the tensors stacked, without a copy, if each lies behind the one before."""
    first = tensors[0]
    step, place = first.numel(), first.data_ptr()
    if not first.is_cpu or not first.is_contiguous():
        return None
    nbytes, shape, dtype = step * first.itemsize, first.shape, first.dtype
    for tensor in tensors:
        if tensor.data_ptr() != place or tensor.shape != shape or tensor.dtype != dtype:
            return None
        place += nbytes
    memory = first.untyped_storage()
    if not nbytes or place > memory.data_ptr() + memory.nbytes() or not tensors[-1].is_contiguous():
        return None
    return first.as_strided((len(tensors), *shape), (step, *first.stride()))
