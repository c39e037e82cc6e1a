"""The load of each slot's expert in its pass, as a multiple of the fair share."""

import numpy as np
import numpy.typing as npt

from moedesk.core.filter.load import load_of, slot_loads
from moedesk.core.model import LayerInfo
from moedesk.core.store import Store

PASSES = 256
"""Passes whose counts are read at once."""
CELLS = 1 << 22
"""Counts that are remembered at most, 16 MB, but those of one reading."""


class PassLoads:
    """Reads loads from the exact counts of passes, and remembers some for the next layer.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, list[npt.NDArray[np.float32]]] = {}

    def of(
        self, layer: LayerInfo, passes: npt.NDArray[np.integer], experts: npt.NDArray[np.signedinteger]
    ) -> npt.NDArray[np.float32]:
        """Return (T, k) loads of the experts of (T, k) slots in (T,) passes, which are sorted; NaN where there is no expert."""
        found = np.full(experts.shape, np.nan, np.float32)
        blocks = passes // PASSES
        for block in np.unique(blocks).tolist():
            rows = slice(int(np.searchsorted(blocks, block)), int(np.searchsorted(blocks, block, side="right")))
            found[rows] = slot_loads(self._read(block)[layer.place], experts[rows], passes[rows] - block * PASSES)
        return found

    def _read(self, block: int) -> list[npt.NDArray[np.float32]]:
        """(P, E) loads of every layer in the passes of a block."""
        known = self._known.get(block)
        if known is None:
            first, last = block * PASSES, min((block + 1) * PASSES, self._store.n_passes)
            counts = self._counts(first, last)
            known = [load_of(layer) for layer in counts]
            size = sum(layer.size for layer in known)
            if size * (len(self._known) + 1) > CELLS:
                self._known.clear()
            self._known[block] = known
        return known

    def _counts(self, first: int, last: int) -> list[npt.NDArray[np.integer]]:
        """(P, E) counts of every layer in passes first…last."""
        blocks = self._store.load_blocks(first, last, last - first)
        if np.array_equal(blocks.edges, np.arange(first, last + 1)):
            return np.split(blocks.counts.astype(np.int64), blocks.offsets[1:-1], axis=1)
        windows = [self._store.window_counts(number, number + 1) for number in range(first, last)]
        return [np.stack(layer) for layer in zip(*windows, strict=True)]
