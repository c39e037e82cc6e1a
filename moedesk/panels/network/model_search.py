"""Everything that matches a filter: passes, how many events of each, and the load of the matching slots. No Qt."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.core.filter import Filter, LayerRows, match_passes, match_routes, match_tokens
from moedesk.core.model import LayerInfo
from moedesk.core.store import LoadBlocks, Store
from moedesk.panels.network.model_passes import runs
from moedesk.session.jobs import Ticket

ROWS = 1 << 16  # token rows looked at between two checks for a newer question
HEADERS = 1 << 14
CELLS = 4_000_000  # of the blocks that are kept for the heatmap: 16 MB
BLOCKS = 4096


@dataclass(frozen=True)
class Found:
    """What a filter keeps.

    Attributes
    ----------
    passes : (M,) int64
        Passes with at least one matching event, in order; for a filter that asks about passes only, all that match.
    events : (M,) int64
        Matching events (token × layer) of each.
    total : int
        Matching events in all.
    out_of : int
        Events of the capture: tokens kept × layers of their stream, padding left out.
    blocks : LoadBlocks
        Matching slots per expert, over blocks of passes.
    """

    passes: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]
    total: int
    out_of: int
    blocks: LoadBlocks


class _Tally:
    """Counts matches by pass, and matching slots by block and expert."""

    def __init__(self, store: Store) -> None:
        self.offsets = np.cumsum([0, *(layer.experts for layer in store.model.layers)]).astype(np.int64)
        passes, rows = max(store.n_passes, 1), max(int(self.offsets[-1]), 1)
        blocks = max(min(passes, BLOCKS, CELLS // rows), 1)
        self.step = -(-passes // blocks)
        self.edges = np.append(np.arange(0, passes, self.step), passes).astype(np.int64)
        self.counts = np.zeros((len(self.edges) - 1, rows), np.uint32)
        self.events = np.zeros(passes, np.int64)

    def add(
        self, layer: LayerInfo, numbers: npt.NDArray, rows: npt.NDArray, experts: npt.NDArray, slots: npt.NDArray
    ) -> None:
        """Add the matching rows and slots of a layer; ``numbers`` is the pass of each row."""
        if not rows.any():
            return
        first, last = int(numbers[0]), int(numbers[-1]) + 1
        self.events[first:last] += np.bincount(numbers[rows] - first, minlength=last - first)
        where, _ = np.nonzero(slots)
        block = numbers[where] // self.step
        start, stop = first // self.step, (last - 1) // self.step + 1
        flat = (block - start) * layer.experts + experts[slots]
        counted = np.bincount(flat, minlength=(stop - start) * layer.experts).reshape(stop - start, layer.experts)
        low = self.offsets[layer.place]
        self.counts[start:stop, low : low + layer.experts] += counted.astype(np.uint32)


def find(store: Store, chosen: Filter, ticket: Ticket) -> Found:
    """Look at every event that the filter could keep; columns that it does not ask for are not read."""
    tally = _Tally(store)
    kept, out_of = [], 0
    for first in range(0, store.n_passes, HEADERS):
        last = min(first + HEADERS, store.n_passes)
        headers = store.read_passes(first, last)
        out_of += _events(store, headers, first, last)
        wanted = np.flatnonzero(match_passes(chosen, headers)) + first
        kept.append(wanted)
        for start, stop in runs(wanted):
            for piece in _pieces(headers["n_seen"][start - first : stop - first], start):
                ticket.check(piece[0] / store.n_passes)
                _look(store, chosen, headers[piece[0] - first : piece[1] - first], piece, tally)
    matching = np.flatnonzero(tally.events)
    if chosen.asks_passes_only and kept:
        matching = np.concatenate(kept)  # passes of which only counts were kept match too
    events = tally.events[matching]
    blocks = LoadBlocks(tally.edges, tally.counts, tally.offsets)
    return Found(matching.astype(np.int64), events, int(events.sum()), out_of, blocks)


def _pieces(rows: npt.NDArray, start: int) -> Iterator[tuple[int, int]]:
    """Yield pass ranges of about ``ROWS`` token rows each; at least a pass each."""
    ends = np.cumsum(rows)
    place, taken = 0, 0
    while place < len(rows):
        stop = max(int(np.searchsorted(ends, taken + ROWS, side="right")), place + 1)
        yield start + place, start + stop
        place, taken = stop, int(ends[stop - 1])


def _events(store: Store, headers: np.ndarray, first: int, last: int) -> int:
    """Return the events of some passes: tokens kept, padding left out, × layers of their stream."""
    streams = store.model.streams
    if len(streams) <= 1:
        kept = headers["n_tokens"] > 0
        return int((headers["n_tokens"] - headers["n_padding"])[kept].sum()) * len(store.model.layers)
    total = 0
    for stream in streams:
        layers = sum(layer.stream == stream for layer in store.model.layers)
        total += int((~store.read_tokens(*store.token_span(first, last, stream), stream)["is_padding"]).sum()) * layers
    return total


def _look(store: Store, chosen: Filter, headers: np.ndarray, passes: tuple[int, int], tally: _Tally) -> None:
    for stream in store.model.streams:
        layers = [layer for layer in store.model.layers if layer.stream == stream and chosen.wants_layer(layer)]
        i, j = store.token_span(*passes, stream)
        if not layers or j <= i:
            continue
        tokens = store.read_tokens(i, j, stream)
        kept = match_tokens(chosen, tokens, headers, store.token_text)
        if not kept.any():
            continue
        numbers = tokens["pass"].astype(np.int64)
        for layer in layers:
            rows = _read(store, chosen, layer, i, j)
            found = match_routes(chosen, rows, kept, tokens, headers)
            assert rows.experts is not None
            assert found.slots is not None
            tally.add(layer, numbers, found.rows, rows.experts, found.slots)


def _read(store: Store, chosen: Filter, layer: LayerInfo, i: int, j: int) -> LayerRows:
    needs = chosen.columns
    return LayerRows(
        layer,
        store.flags(layer, i, j),
        store.experts(layer, i, j),
        store.weights(layer, i, j) if "weights" in needs else None,
        store.entropy(layer, i, j) if "entropy" in needs else None,
        store.margin(layer, i, j) if "margin" in needs else None,
    )


def found_blocks(found: Found, first: int, last: int) -> LoadBlocks:
    """Return the blocks of matching slots that cover passes first…last."""
    edges = found.blocks.edges
    low = max(int(np.searchsorted(edges, first, side="right")) - 1, 0)
    high = min(max(int(np.searchsorted(edges, last)), low + 1), len(edges) - 1)
    return LoadBlocks(edges[low : high + 1], found.blocks.counts[low:high], found.blocks.offsets)


def common_texts(store: Store, rows: int = 20_000, limit: int = 400) -> list[str]:
    """Return the most frequent token texts among the first ``rows`` tokens, for the completion."""
    ids = store.read_tokens(0, min(store.n_tokens(), rows))["token_id"]
    values, counts = np.unique(ids[ids >= 0], return_counts=True)
    chosen = values[np.argsort(-counts, kind="stable")][:limit]
    return store.token_text(chosen) if len(chosen) else []
