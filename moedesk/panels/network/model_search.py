"""What matches a filter, as the panel needs it: passes, events, and slots in blocks for the heatmap. No Qt."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from moedesk.analysis.search import Matches, matching_passes
from moedesk.analysis.unsearched import Unsearched
from moedesk.core.filter import Filter
from moedesk.core.model import ModelInfo
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
    filter : Filter
    searched : int
        Passes searched: all there were.
    unsearched : Unsearched
        How many of them could not be judged, and why.
    step : int
        Passes in a block, but for the last one.
    """

    passes: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]
    out_of: int
    blocks: LoadBlocks
    totals: npt.NDArray[np.int64]
    filter: Filter
    searched: int
    unsearched: Unsearched
    step: int

    @property
    def note(self) -> str:
        """What could not be searched, in one line; empty if nothing."""
        return self.unsearched.note

    @property
    def total(self) -> int:
        """Matching events in all."""
        return int(self.events.sum())


def find(store: Store, chosen: Filter, ticket: Ticket, known: Found | None = None) -> Found:
    """Search the whole store; with what was found in it before by the same filter, only the passes that have come since."""
    last, model = store.n_passes, store.model
    if known is not None and known.filter == chosen and len(known.totals.T) == len(model.layers):
        return _continue(store, known, last, ticket) if last > known.searched else known
    step = block_step(model, last)
    return _search(store, chosen, np.append(np.arange(0, last, step), last).astype(np.int64), step, ticket)


def _search(store: Store, chosen: Filter, edges: npt.NDArray[np.int64], step: int, ticket: Ticket) -> Found:
    first, last = int(edges[0]), int(edges[-1])
    matches: Matches = matching_passes(store, chosen, first, last, ticket=ticket, edges=edges)
    assert matches.blocks is not None
    numbers = matches.numbers
    events, totals = count_events(store, first, last, ticket), block_totals(store, edges, ticket)
    found = matches.events[numbers - first]
    return Found(numbers, found, events, matches.blocks, totals, chosen, last, matches.unsearched, step)


def _continue(store: Store, known: Found, last: int, ticket: Ticket) -> Found:
    """Search the passes that have come since, and put both together."""
    first, step = known.searched, known.step
    inner = np.arange(-(-(first + 1) // step) * step, last, step)
    newer = _search(store, known.filter, np.concatenate(([first], inner, [last])).astype(np.int64), step, ticket)
    whole = Found(
        np.concatenate((known.passes, newer.passes)),
        np.concatenate((known.events, newer.events)),
        known.out_of + newer.out_of,
        LoadBlocks(
            np.concatenate((known.blocks.edges[:-1], newer.blocks.edges)),
            np.concatenate((known.blocks.counts, newer.blocks.counts)),
            known.blocks.offsets,
        ),
        np.concatenate((known.totals, newer.totals)),
        known.filter,
        last,
        known.unsearched + newer.unsearched,
        step,
    )
    return _joined(whole, block_step(store.model, last))


def _joined(found: Found, step: int) -> Found:
    """Put blocks together that were begun before and went on, and neighbours once there are more than memory allows."""
    if step > found.step:
        step = found.step << (-(-step // found.step) - 1).bit_length()
    else:
        step = found.step
    edges = found.blocks.edges
    starts = np.flatnonzero(np.diff(edges[:-1] // step, prepend=-1))
    if len(starts) == len(edges) - 1:
        return found
    blocks = LoadBlocks(
        np.append(edges[starts], edges[-1]),
        np.add.reduceat(found.blocks.counts, starts, axis=0, dtype=np.uint32),
        found.blocks.offsets,
    )
    return replace(found, blocks=blocks, totals=np.add.reduceat(found.totals, starts, axis=0), step=step)


def block_step(model: ModelInfo, passes: int) -> int:
    """Return how many passes a block has: as few as memory allows."""
    rows = max(sum(layer.experts for layer in model.layers), 1)
    return max(-(-passes // max(min(passes, BLOCKS, CELLS // rows), 1)), 1)


def block_totals(store: Store, edges: npt.NDArray[np.int64], ticket: Ticket) -> npt.NDArray[np.int64]:
    """Return (B, L) all slots per block of passes and layer."""
    blocks = store.load_blocks(int(edges[0]), int(edges[-1]), len(edges) - 1)
    if np.array_equal(blocks.edges, edges) and len(blocks.counts):
        return np.add.reduceat(blocks.counts, blocks.offsets[:-1], axis=1, dtype=np.int64)
    totals = np.zeros((len(edges) - 1, len(blocks.offsets) - 1), np.int64)
    for place, (first, last) in enumerate(pairwise(edges.tolist())):
        ticket.check()
        totals[place] = [int(counts.sum()) for counts in store.window_counts(first, last)[: len(totals.T)]]
    return totals


def count_events(store: Store, first: int, last: int, ticket: Ticket) -> int:
    """Return the events of passes first…last: tokens kept, padding left out, × layers of their stream."""
    model = store.model
    total = 0
    for start in range(first, last, HEADERS):
        ticket.check()
        stop = min(start + HEADERS, last)
        if len(model.streams) == 1:
            headers = store.read_passes(start, stop)
            kept = headers["n_tokens"] > 0
            total += int((headers["n_tokens"] - headers["n_padding"])[kept].sum()) * len(model.layers)
            continue
        for stream in model.streams:
            layers = sum(layer.stream == stream for layer in model.layers)
            tokens = store.read_tokens(*store.token_span(start, stop, stream), stream)
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


def common_texts(store: Store, rows: int, limit: int = 400) -> list[str]:
    """Return the most frequent token texts among the first ``rows`` tokens, for the completion."""
    ids = store.read_tokens(0, min(store.n_tokens(), rows))["token_id"]
    values, counts = np.unique(ids[ids >= 0], return_counts=True)
    chosen = values[np.argsort(-counts, kind="stable")][:limit]
    return store.token_text(chosen) if len(chosen) else []
