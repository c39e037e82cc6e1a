"""Where a filter's events are: in which passes, at which layers and experts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import ROWS, Chunks, Part, Ticket
from moedesk.analysis.pass_load import PassLoads
from moedesk.analysis.unsearched import Unsearched
from moedesk.core.filter import (
    Filter,
    Labelled,
    LayerRows,
    Match,
    match,
    match_passes,
    match_routes,
    match_tokens,
    match_unjudged,
)
from moedesk.core.label import labelled
from moedesk.core.model import LayerInfo
from moedesk.core.store import LayerLike, LoadBlocks, Store

PASSES = 1 << 15
"""Passes looked at between two reports."""


@dataclass(frozen=True)
class Matches:
    """What a filter keeps of the passes ``first`` to ``last`` (end excluded).

    An event is one token row at one layer; padding is no event unless the filter names it.

    Attributes
    ----------
    filter : Filter
    first, last : int
    passes : (P,) bool
        Passes with a matching event; for a filter about passes alone, those it holds for.
    events : (P,) int64
        Matching events per pass.
    tokens : (P,) int64
        Token rows per pass with a matching event at any layer.
    slots : tuple of (E,) int64
        For each layer the matching slots per expert: those that satisfy the slot terms, else all of the matching events.
    layer_events : (L,) int64
        Matching events per layer.
    unjudged : (P,) bool
        Passes with events that are left out only since an entropy or a margin that the filter asks for is not known.
    unsearched : Unsearched
        How many passes could not be judged, and why.
    blocks : LoadBlocks or None
        Matching slots per expert over the blocks of passes that were asked for.
    """

    filter: Filter
    first: int
    last: int
    passes: npt.NDArray[np.bool_]
    events: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    slots: tuple[npt.NDArray[np.int64], ...]
    layer_events: npt.NDArray[np.int64]
    unjudged: npt.NDArray[np.bool_]
    unsearched: Unsearched
    blocks: LoadBlocks | None = None

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """The numbers of the matching passes, in order."""
        return np.flatnonzero(self.passes) + self.first


def matching_passes(
    store: Store,
    filter: Filter,
    first: int = 0,
    last: int | None = None,
    ticket: Ticket | None = None,
    edges: npt.NDArray[np.int64] | None = None,
) -> Matches:
    """Search passes first…last (end excluded) for a filter's events, in bounded memory.

    Passes and layers that the filter rules out are not read.

    Parameters
    ----------
    edges : (B + 1,) int64 or None
        Count matching slots also per block of passes, from ``edges[b]`` to ``edges[b + 1]``; they cover first…last.
    """
    last = store.n_passes if last is None else last
    found = Matches(
        filter,
        first,
        last,
        np.zeros(last - first, bool),
        np.zeros(last - first, np.int64),
        np.zeros(last - first, np.int64),
        tuple(np.zeros(layer.experts, np.int64) for layer in store.model.layers),
        np.zeros(len(store.model.layers), np.int64),
        np.zeros(last - first, bool),
        Unsearched(),
        None if edges is None else _empty_blocks(store, edges),
    )
    layers = [layer for layer in store.model.layers if filter.wants_layer(layer)]
    unsearched = Unsearched()
    whole, loads = Part(ticket), PassLoads(store)
    for start in range(first, last, PASSES):
        part = whole.part((start - first) / (last - first), min(PASSES, last - start) / (last - first))
        part.check(0)
        headers = store.read_passes(start, min(start + PASSES, last))
        kept = match_passes(filter, headers)
        if filter.asks_passes_only:
            found.passes[start - first : start - first + len(headers)] |= kept
        numbers = np.flatnonzero(kept)
        if len(numbers) and layers:
            _search(store, found, layers, headers[numbers[0] : numbers[-1] + 1], part, loads)
        unjudged = found.unjudged[start - first : start - first + len(headers)]
        unsearched += Unsearched.of(filter, headers["flags"], kept, unjudged)
    np.logical_or(found.passes, found.events > 0, out=found.passes)
    return replace(found, unsearched=unsearched)


def matching_tokens(store: Store, filter: Filter, layer: LayerLike, i: int, j: int) -> Match:
    """Return which of the token rows i…j of a layer's stream a filter keeps at that layer, and which of their slots."""
    info = store.model.layer(layer)
    tokens = store.read_tokens(i, j, info.stream)
    if not len(tokens):
        return Match(np.zeros(0, bool), np.zeros((0, info.top_k), bool))
    passes = store.read_passes(int(tokens["pass"].min()), int(tokens["pass"].max()) + 1)
    rows = _rows(store, filter, info, i, j, tokens["pass"], PassLoads(store))
    return match(filter, rows, tokens, passes, store.token_text, _labelled(store, filter, info.stream, i, tokens))


def _search(
    store: Store, found: Matches, layers: list[LayerInfo], headers: np.ndarray, ticket: Part, loads: PassLoads
) -> None:
    """Add the events of consecutive passes to ``found``."""
    first, last = int(headers["id"][0]), int(headers["id"][-1]) + 1
    streams = {layer.stream for layer in layers}
    for stream, (i, j), tokens in _token_chunks(store, streams, first, last, ticket):
        has_label = _labelled(store, found.filter, stream, i, tokens)
        kept = match_tokens(found.filter, tokens, headers, store.token_text, has_label)
        rows = np.flatnonzero(kept)
        if not len(rows):
            continue
        some = slice(int(rows[0]), int(rows[-1]) + 1)
        i, j = i + some.start, i + some.stop
        tokens, kept = tokens[some], kept[some]
        place = tokens["pass"] - found.first
        anywhere = np.zeros(len(tokens), bool)
        for layer in layers:
            if layer.stream != stream:
                continue
            ticket.check(None)
            routes = _rows(store, found.filter, layer, i, j, tokens["pass"], loads)
            result = match_routes(found.filter, routes, kept, tokens, headers)
            if found.filter.certainties:
                found.unjudged[place[match_unjudged(found.filter, routes, kept, tokens, headers)]] = True
            if not result.rows.any():
                continue
            anywhere |= result.rows
            _count(found.events, place[result.rows])
            found.layer_events[layer.place] += np.count_nonzero(result.rows)
            assert routes.experts is not None
            chosen = routes.experts[result.slots]
            found.slots[layer.place][:] += np.bincount(chosen, minlength=layer.experts)
            if found.blocks is not None:
                assert result.slots is not None
                _count_blocks(found.blocks, layer, tokens["pass"][np.nonzero(result.slots)[0]], chosen)
        _count(found.tokens, place[anywhere])


def _empty_blocks(store: Store, edges: npt.NDArray[np.int64]) -> LoadBlocks:
    offsets = np.cumsum([0, *(layer.experts for layer in store.model.layers)]).astype(np.int64)
    return LoadBlocks(edges, np.zeros((len(edges) - 1, int(offsets[-1])), np.uint32), offsets)


def _count_blocks(blocks: LoadBlocks, layer: LayerInfo, passes: npt.NDArray, experts: npt.NDArray) -> None:
    """Add 1 per slot to the block of its pass and to its expert; only the blocks that are met are touched."""
    if not len(passes):
        return
    block = np.searchsorted(blocks.edges, passes, side="right") - 1
    low, high = int(block.min()), int(block.max()) + 1
    flat = (block - low) * layer.experts + experts
    counts = np.bincount(flat, minlength=(high - low) * layer.experts).reshape(high - low, layer.experts)
    start = int(blocks.offsets[layer.place])
    blocks.counts[low:high, start : start + layer.experts] += counts.astype(np.uint32)


def _token_chunks(
    store: Store, streams: set[str], first: int, last: int, ticket: Part
) -> Iterator[tuple[str, tuple[int, int], np.ndarray]]:
    for number, stream in enumerate(sorted(streams)):
        part = ticket.part(number / len(streams), 1 / len(streams))
        for i, j in Chunks(*store.token_span(first, last, stream), rows=ROWS).walk(part):
            yield stream, (i, j), store.read_tokens(i, j, stream)


def _rows(
    store: Store,
    filter: Filter,
    layer: LayerInfo,
    i: int,
    j: int,
    passes: npt.NDArray[np.integer],
    loads: PassLoads,
) -> LayerRows:
    columns = filter.columns
    experts = store.experts(layer, i, j)
    return LayerRows(
        layer,
        store.flags(layer, i, j),
        experts,
        store.weights(layer, i, j) if "weights" in columns else None,
        store.entropy(layer, i, j) if "entropy" in columns else None,
        store.margin(layer, i, j) if "margin" in columns else None,
        loads.of(layer, passes, experts) if "loads" in columns else None,
    )


def _labelled(store: Store, filter: Filter, stream: str, i: int, tokens: np.ndarray) -> Labelled | None:
    """Return what tells which of the token rows i… have a label; None for a filter that does not ask."""
    if not filter.names_labels:
        return None
    labels = store.labels
    return lambda name: labelled(labels, name, stream, i, tokens["pass"])


def _count(totals: npt.NDArray[np.int64], places: npt.NDArray[np.integer]) -> None:
    """Add 1 per place; the places are sorted close together, so only their range is touched."""
    if len(places):
        low = int(places.min())
        more = np.bincount(places - low)
        totals[low : low + len(more)] += more
