"""Passes that were spared their entropies and margins, since the model ran too fast to work them out."""

import numpy as np

from moedesk.analysis.chunks import ROWS, Chunks
from moedesk.core.columns import PassFlag
from moedesk.core.store import Store


def spared_passes(store: Store) -> int:
    """Return of how many passes entropies and margins were given up."""
    chunks = Chunks(0, store.n_passes, rows=ROWS).walk()
    return sum(int(np.count_nonzero(store.read_passes(i, j)["flags"] & PassFlag.SPARED)) for i, j in chunks)


def spared_note(spared: int, passes: int) -> str:
    """Return that so many of the passes lack entropies and margins, for where these are averaged; empty for none."""
    if not spared:
        return ""
    return (
        f"{spared:,} of {passes:,} passes came too fast for entropies and margins (is:spared): these are of the others"
    )
