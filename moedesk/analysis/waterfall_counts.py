"""Exact counts of columns of passes, as far as the store has them."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from moedesk.core.store import LoadBlocks, Store


def column_counts(store: Store, edges: npt.NDArray[np.int64]) -> tuple[np.ndarray, int]:
    """Return (N, R) counts of columns of passes, and how many passes a stored block has if that is more than a column.

    Columns are alike but for the last one, which may be shorter. A block wider than a column counts in each of its columns, by
    its share.
    """
    widths = np.diff(edges)
    whole = len(widths) - (len(widths) > 1 and widths[-1] < widths[0])
    parts = [_spread(store.load_blocks(int(edges[0]), int(edges[whole]), whole), edges[: whole + 1])]
    if whole < len(widths):
        parts.append(_spread(store.load_blocks(int(edges[whole]), int(edges[-1]), 1), edges[whole:]))
    return np.concatenate([counts for counts, _ in parts]), max(coarse for _, coarse in parts)


def _spread(blocks: LoadBlocks, edges: npt.NDArray[np.int64]) -> tuple[np.ndarray, int]:
    if np.array_equal(blocks.edges, edges):
        return blocks.counts, 0
    starts = blocks.edges[:-1]
    counts = np.empty((len(edges) - 1, blocks.counts.shape[1]))
    for column, (start, stop) in enumerate(pairwise(edges.tolist())):
        first, last = np.searchsorted(starts, (start, stop))
        if first >= last:  # it lies within a block, or begins in the one before
            first = max(int(np.searchsorted(starts, start, side="right")) - 1, 0)
            last = first + 1
        share = (stop - start) / int(blocks.edges[last] - blocks.edges[first])
        counts[column] = blocks.counts[first:last].sum(0, dtype=np.float64) * share
    return counts, int(np.diff(blocks.edges).max())
