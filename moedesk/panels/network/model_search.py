"""What matches a filter, as the panel needs it: passes, events, and slots in blocks for the heatmap. No Qt."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from moedesk.analysis.search import Matches, matching_passes
from moedesk.core.filter import Filter
from moedesk.core.store import LoadBlocks, Store
from moedesk.session.jobs import Ticket

HEADERS = 1 << 15  # passes read at once
CELLS = 4_000_000  # of the blocks that are kept for the heatmap: 16 MB
BLOCKS = 4096


@dataclass(frozen=True)
class Found:
    """What a filter keeps of a capture.

    Attributes
    ----------
    passes : (M,) int64
        Matching passes, in order.
    events : (M,) int64
        Matching events (token × layer) of each.
    out_of : int
        Events of the capture: tokens kept × layers of their stream, padding left out.
    blocks : LoadBlocks
        Matching slots per expert, over blocks of passes.
    totals : (B, L) int64
        All slots per block and layer, matching or not: what a uniform share is measured by.
    note : str
        What could not be searched; empty if nothing.
    """

    passes: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]
    out_of: int
    blocks: LoadBlocks
    totals: npt.NDArray[np.int64]
    note: str = ""

    @property
    def total(self) -> int:
        """Matching events in all."""
        return int(self.events.sum())


def find(store: Store, chosen: Filter, ticket: Ticket) -> Found:
    """Search the whole capture."""
    edges = block_edges(store)
    matches: Matches = matching_passes(store, chosen, ticket=ticket, edges=edges)
    assert matches.blocks is not None
    numbers = matches.numbers
    events, totals = count_events(store, ticket), block_totals(store, edges, ticket)
    return Found(numbers, matches.events[numbers], events, matches.blocks, totals, matches.note)


def block_edges(store: Store) -> npt.NDArray[np.int64]:
    """Return the edges of blocks of passes, as fine as memory allows."""
    passes = store.n_passes
    rows = max(sum(layer.experts for layer in store.model.layers), 1)
    step = -(-passes // max(min(passes, BLOCKS, CELLS // rows), 1))
    return np.append(np.arange(0, passes, max(step, 1)), passes).astype(np.int64)


def block_totals(store: Store, edges: npt.NDArray[np.int64], ticket: Ticket) -> npt.NDArray[np.int64]:
    """Return (B, L) all slots per block of passes and layer."""
    blocks = store.load_blocks(0, store.n_passes, len(edges) - 1)
    if np.array_equal(blocks.edges, edges):
        return np.add.reduceat(blocks.counts, blocks.offsets[:-1], axis=1, dtype=np.int64)
    totals = np.zeros((len(edges) - 1, len(store.model.layers)), np.int64)
    for place, (first, last) in enumerate(pairwise(edges.tolist())):
        ticket.check()
        totals[place] = [int(counts.sum()) for counts in store.window_counts(first, last)]
    return totals


def count_events(store: Store, ticket: Ticket) -> int:
    """Return the events of a capture: tokens kept, padding left out, × layers of their stream."""
    streams = store.model.streams
    total = 0
    for first in range(0, store.n_passes, HEADERS):
        ticket.check()
        last = min(first + HEADERS, store.n_passes)
        if len(streams) == 1:
            headers = store.read_passes(first, last)
            kept = headers["n_tokens"] > 0
            total += int((headers["n_tokens"] - headers["n_padding"])[kept].sum()) * len(store.model.layers)
            continue
        for stream in streams:
            layers = sum(layer.stream == stream for layer in store.model.layers)
            tokens = store.read_tokens(*store.token_span(first, last, stream), stream)
            total += int((~tokens["is_padding"]).sum()) * layers
    return total


def found_blocks(found: Found, first: int, last: int) -> tuple[LoadBlocks, npt.NDArray[np.int64]]:
    """Return the blocks of matching slots that cover passes first…last, and all slots of each block and layer."""
    edges = found.blocks.edges
    low = max(int(np.searchsorted(edges, first, side="right")) - 1, 0)
    high = min(max(int(np.searchsorted(edges, last)), low + 1), len(edges) - 1)
    return LoadBlocks(edges[low : high + 1], found.blocks.counts[low:high], found.blocks.offsets), found.totals[
        low:high
    ]


def common_texts(store: Store, rows: int = 20_000, limit: int = 400) -> list[str]:
    """Return the most frequent token texts among the first ``rows`` tokens, for the completion."""
    ids = store.read_tokens(0, min(store.n_tokens(), rows))["token_id"]
    values, counts = np.unique(ids[ids >= 0], return_counts=True)
    chosen = values[np.argsort(-counts, kind="stable")][:limit]
    return store.token_text(chosen) if len(chosen) else []
