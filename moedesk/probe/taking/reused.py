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
_FREE = 3
"""References to a block that nobody uses: the list's, the loop's and the argument's."""


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
            for block in self._blocks:
                if nbytes <= block.nbytes <= 2 * nbytes and sys.getrefcount(block) == _FREE:
                    return block
            self._blocks = [block for block in self._blocks if sys.getrefcount(block) > _FREE]  # of another size
            block = np.empty(nbytes, np.uint8)
            if nbytes + sum([kept.nbytes for kept in self._blocks]) <= KEPT_BYTES:
                self._blocks.append(block)
        return block
