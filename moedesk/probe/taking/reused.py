"""Memory for what is on its way from the hooks to whoever takes it.

A large array that is made anew for every pass costs a page fault for each of its pages: 0.3 to 4 µs, more than to fill it.
"""

import sys
import threading
from math import prod

import numpy as np
import torch
from torch import Tensor

KEPT_BYTES = 64 << 20
"""So much is kept; what is needed beyond it is made anew."""


def _references_of_unused() -> int:
    """What ``getrefcount`` says of a list's block that nobody else refers to, asked in a loop: 3 in most versions of Python."""
    for block in [np.empty(0, np.uint8)]:
        count = sys.getrefcount(block)
    return count


_FREE = _references_of_unused()


class ReusedMemory:
    """Gives memory that was given before once nothing refers to it any more. For any thread."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor on the host whose values are anything; it and all views of it hold their memory."""
        nbytes = prod(shape) * dtype.itemsize
        block = self._block(nbytes)
        return torch.from_numpy(block[:nbytes]).view(dtype).view(shape)

    def _block(self, nbytes: int) -> np.ndarray:
        with self._lock:
            found = self._free(nbytes)
            if found is not None:
                return found
            if not self._fits(nbytes):  # those that are free are of other sizes
                self._blocks = [block for block in self._blocks if sys.getrefcount(block) > _FREE]
            new = np.empty(nbytes, np.uint8)
            if self._fits(nbytes):
                self._blocks.append(new)
        return new

    def _free(self, nbytes: int) -> np.ndarray | None:
        """A block of about that size that nobody uses."""
        for block in self._blocks:
            if nbytes <= block.nbytes <= 2 * nbytes and sys.getrefcount(block) == _FREE:
                return block
        return None

    def _fits(self, nbytes: int) -> bool:
        return nbytes + sum([block.nbytes for block in self._blocks]) <= KEPT_BYTES


MEMORY = ReusedMemory()
"""What hooks and couriers of this process share."""
