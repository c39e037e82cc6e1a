"""Reads a capture for its audit: all rows for what is cheap, an even sample of a long one's for the rest."""

from collections.abc import Mapping, Sequence

import numpy as np

from moedesk.analysis.checks.check import Check
from moedesk.analysis.checks.evidence import Evidence, LayerEvidence, RankTime, noise_of
from moedesk.analysis.chunks import ROWS, Chunks, Part, Ticket
from moedesk.analysis.measures.measure import Sums
from moedesk.analysis.measures.rows import Rows
from moedesk.core.columns import PassFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.store import Store

SAMPLE = 1 << 18
"""Token rows of a stream that checks with partial results see; of more, whole pieces, evenly spaced."""
PIECE = 1 << 15
BLOCKS = 240
"""Blocks of passes whose exact counts are told apart."""
LIGHT = 0.6
"""Share of the work that reading all rows is."""

Partials = dict[int, Sums]
"""Partial results by the layer's place."""


def gather(store: Store, ticket: Ticket | None = None) -> Evidence:
    """Read a whole capture once, piece by piece."""
    model = store.model
    layers = tuple(
        LayerEvidence(layer, counts, noise=noise_of(layer, model.dtype))
        for layer, counts in zip(model.layers, store.window_counts(), strict=False)
    )
    whole = Part(ticket)
    streams = model.streams
    for number, stream in enumerate(streams):
        part = whole.part(number / len(streams), 1 / len(streams))
        for i, j in Chunks(0, store.n_tokens(stream), rows=ROWS).walk(part):
            tokens = store.read_tokens(i, j, stream)
            padding, ids = tokens["is_padding"].copy(), tokens["token_id"].copy()
            for layer in layers:
                if layer.layer.stream == stream:
                    part.check()
                    layer.add(store, padding, ids, i, j)
    counted, ranks = _passes(store)
    return Evidence(
        layers, store.complete, store.notes, store.n_passes, **counted,
        model=model, blocks=store.load_blocks(0, store.n_passes, BLOCKS) if store.n_passes else None, ranks=ranks,
        labels=store.labels, overrides=store.overrides, store=store,
        rows_read=sum(_sample(store, stream).read for stream in streams),
        rows_left_out=sum(_sample(store, stream).left_out for stream in streams),
    )  # fmt: skip


def gather_partials(
    store: Store, checks: Sequence[Check], ticket: Ticket | None = None
) -> Mapping[int, Mapping[int, Sums] | Exception]:
    """Return the partial results of each check, by its place in ``checks``; the error of one that failed."""
    gathered: dict[int, Partials | Exception] = {n: {} for n, check in enumerate(checks) if check.reads_rows}
    streams = store.model.streams
    for number, stream in enumerate(streams if gathered else ()):
        part = Part(ticket, number / len(streams), 1 / len(streams))
        layers = [layer for layer in store.model.layers if layer.stream == stream]
        for i, j in _sample(store, stream).walk(part):
            tokens = store.read_tokens(i, j, stream)
            for place, layer in enumerate(layers):
                part.check()
                rows = Rows(store, layer, i, j, tokens, layers[place + 1] if place + 1 < len(layers) else None)
                for n, check in enumerate(checks):
                    known = gathered.get(n)
                    if isinstance(known, dict):
                        gathered[n] = _added(check, known, rows)
    return gathered


def _added(check: Check, known: Partials, rows: Rows) -> Partials | Exception:
    place = rows.layer.place
    try:
        partial = check.partial(rows)
        known[place] = check.combine(known[place], partial) if place in known else partial
    except (MoedeskError, OSError):
        raise  # an unreadable file is everybody's
    except Exception as error:
        return error
    return known


def _sample(store: Store, stream: str) -> Chunks:
    return Chunks(0, store.n_tokens(stream), SAMPLE, PIECE)


_COUNTED = {
    "failed": PassFlag.FAILED,
    "counts_only": PassFlag.COUNTS_ONLY,
    "sampled": PassFlag.SAMPLED,
    "spared": PassFlag.SPARED,
}
"""Fields of ``Evidence`` that count the passes with a flag."""


def _passes(store: Store) -> tuple[dict[str, int], tuple[RankTime, ...]]:
    """Return the passes that are ``_COUNTED``, and the time that each rank took; failed passes left out."""
    counted = dict.fromkeys(_COUNTED, 0)
    ranks: dict[int, np.ndarray] = {}
    for i, j in Chunks(0, store.n_passes, rows=ROWS).walk():
        passes = store.read_passes(i, j)
        flags = passes["flags"]
        for name, flag in _COUNTED.items():
            counted[name] += int(np.count_nonzero(flags & flag))
        fine = passes[(flags & (PassFlag.FAILED | PassFlag.LATE)) == 0]
        for rank in np.unique(fine["rank"]).tolist():
            mine = fine[fine["rank"] == rank]
            nanoseconds = (mine["t1_ns"] - mine["t0_ns"]).sum()
            row = np.array([len(mine), nanoseconds, mine["n_seen"].sum()], np.int64)
            ranks[rank] = ranks.get(rank, 0) + row
    times = tuple(RankTime(rank, int(n), float(ns) / 1e9, int(seen)) for rank, (n, ns, seen) in sorted(ranks.items()))
    return counted, times
