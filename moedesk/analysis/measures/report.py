"""Every metric of a capture: reads its rows once, piece by piece, in threads, in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from typing import Any

import numpy as np

from moedesk.analysis.chunks import Chunks, Part, Ticket
from moedesk.analysis.measures.cache import Cache
from moedesk.analysis.measures.confidence import Confidence, Losses
from moedesk.analysis.measures.domains import Domains
from moedesk.analysis.measures.faults import Faults
from moedesk.analysis.measures.group import By, Groups, groups_of
from moedesk.analysis.measures.load import Load, PassLoad, load_values
from moedesk.analysis.measures.measure import Meaning, Measure
from moedesk.analysis.measures.pairs import Coactivation
from moedesk.analysis.measures.repetition import Repetition
from moedesk.analysis.measures.rows import Rows
from moedesk.analysis.measures.transition import Transition
from moedesk.analysis.measures.vocabulary import NextVocabulary, Vocabulary
from moedesk.analysis.spared import spared_note, spared_passes
from moedesk.analysis.specialization import DomainLoad, domain_loads
from moedesk.core.errors import MoedeskError
from moedesk.core.model import LayerInfo
from moedesk.core.store import Store

LOAD, PASS_LOAD = Load(), PassLoad()
ROW_MEASURES: tuple[Measure, ...] = (
    Confidence(), Losses(), Faults(), Coactivation(), Repetition(), Transition(), Vocabulary(), NextVocabulary(), Cache(),
    Domains(),
)  # fmt: skip
MEANINGS: Mapping[str, Meaning] = {
    meaning.key: meaning
    for meanings in (LOAD.meanings, PASS_LOAD.meanings, *(of.meanings for of in ROW_MEASURES))
    for meaning in meanings
}
"""What every key of a report means."""

ROWS = 1 << 15
PASSES = 256
"""Passes whose counts are read at a time."""


@dataclass(frozen=True)
class LayerMetrics:
    """The numbers of one layer, or of one group of its tokens.

    Attributes
    ----------
    layer : LayerInfo
    group : str
        Pass, label or rank; empty for the whole capture.
    tokens : int
        Tokens that the numbers about rows are from; padding left out.
    slots : int
        Slots that the numbers about load are from: exact counts, those of passes included of which only counts were kept.
    values : mapping of str to float
        By key of ``MEANINGS``; NaN where the capture doesn't hold what it takes.
    """

    layer: LayerInfo
    group: str
    tokens: int
    slots: int
    values: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; what is unknown is null."""
        metrics = {
            key: {"value": value if isfinite(value) else None, "convention": MEANINGS[key].convention}
            for key, value in self.values.items()
        }
        layer = self.layer
        return {
            "path": layer.path, "experts": layer.experts, "top_k": layer.top_k, "tokens": self.tokens, "slots": self.slots,
            "group": self.group or None, "metrics": metrics,
        }  # fmt: skip


@dataclass(frozen=True)
class MetricsReport:
    """The metrics of a capture.

    Attributes
    ----------
    by : str
    layers : tuple of LayerMetrics
        In order of layers, then of groups.
    domains : tuple of DomainLoad
        By domain: where the tokens of each label go, layer by layer.
    note : str
        Which passes the metrics of entropies and margins leave out, in one line; empty if none, or without such metrics.
    """

    by: By
    layers: tuple[LayerMetrics, ...]
    domains: tuple[DomainLoad, ...] = ()
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; fields stay as they are. ``domains`` is there by domain only, ``note`` if any."""
        report: dict[str, Any] = {"by": self.by, "layers": [layer.to_json() for layer in self.layers]}
        if self.note:
            report["note"] = self.note
        if self.domains:
            report["domains"] = [load.to_json() for load in self.domains]
        return report


@dataclass
class _Gathered:
    """Partial results of one layer and group."""

    tokens: int = 0
    partials: dict[int, Any] = field(default_factory=dict)

    def add(self, tokens: int, partials: Mapping[int, Any], measures: Sequence[Measure]) -> None:
        self.tokens += tokens
        for place, partial in partials.items():
            known = self.partials.get(place)
            self.partials[place] = partial if known is None else measures[place].combine(known, partial)


def measure(
    store: Store,
    by: By = "layer",
    keys: Sequence[str] | None = None,
    ticket: Ticket | None = None,
    threads: int = 2,
    rows: int = ROWS,
) -> MetricsReport:
    """Return the metrics of every layer.

    Parameters
    ----------
    by : {"layer", "pass", "domain", "rank"}
        Groups that are told apart; by pass only metrics of load, from exact counts.
    keys : sequence of str or None
        Metrics to compute; None for all.
    threads : int
        Pieces worked on at the same time.
    rows : int
        Token rows of a piece.

    Raises
    ------
    MoedeskError
        If a key is unknown, or the capture has nothing to group by.
    """
    wanted = _wanted(keys)
    if by == "pass":
        return MetricsReport(by, tuple(_by_pass(store, wanted, ticket)))
    groups = groups_of(store, by)
    domains = Domains(store.labels)
    row_measures = [domains if isinstance(of, Domains) else of for of in ROW_MEASURES]
    measures = _chosen(row_measures if by == "layer" else [LOAD, *row_measures], wanted)
    gathered = _gather(store, groups, measures, ticket, threads, rows)
    exact = store.window_counts()
    layers = []
    for layer in store.model.layers:
        for place, name in enumerate(groups.names):
            one = gathered.get((layer.place, place), _Gathered())
            values: dict[str, float] = {}
            slots = 0
            if by == "layer":
                slots = int(exact[layer.place].sum())
                values |= load_values(exact[layer.place], layer.top_k)
                if _chosen((PASS_LOAD,), wanted):
                    values |= _pass_load(store, layer)
            for number, of in enumerate(measures):
                if number in one.partials:
                    values |= of.values(one.partials[number], layer)
                    if of is LOAD:
                        slots = int(one.partials[number]["counts"].sum())
                else:
                    values |= dict.fromkeys((meaning.key for meaning in of.meanings), float("nan"))
            layers.append(
                LayerMetrics(
                    layer,
                    name,
                    one.tokens,
                    slots,
                    {key: values[key] for key in MEANINGS if key in wanted and key in values},
                )
            )
    note = spared_note(spared_passes(store), store.n_passes) if _chosen((Confidence, Losses), wanted) else ""
    return MetricsReport(by, tuple(layers), domain_loads(store, ticket=ticket) if by == "domain" else (), note)


def _wanted(keys: Sequence[str] | None) -> set[str]:
    unknown = sorted(set(keys or ()) - MEANINGS.keys())
    if unknown:
        raise MoedeskError(f"no metric {unknown[0]!r}; there are {', '.join(MEANINGS)}")
    return set(keys or MEANINGS)


def _chosen(measures: Sequence[Any], wanted: set[str]) -> list[Any]:
    return [one for one in measures if any(meaning.key in wanted for meaning in one.meanings)]


def _gather(
    store: Store, groups: Groups, measures: Sequence[Measure], ticket: Ticket | None, threads: int, rows: int
) -> dict[tuple[int, int], _Gathered]:
    gathered: dict[tuple[int, int], _Gathered] = {}
    streams = store.model.streams
    whole = Part(ticket)
    with ThreadPoolExecutor(threads) as pool:
        for number, stream in enumerate(streams if measures else ()):
            part = whole.part(number / len(streams), 1 / len(streams))
            pieces = Chunks(0, store.n_tokens(stream), rows=rows).walk(part)
            layers = [layer for layer in store.model.layers if layer.stream == stream]
            work = (pool.submit(_piece, store, layers, groups, measures, i, j) for i, j in pieces)
            for future in _ahead(work, threads):
                for key, tokens, partials in future.result():
                    gathered.setdefault(key, _Gathered()).add(tokens, partials, measures)
    return gathered


def _ahead(work: Iterator[Any], number: int) -> Iterator[Any]:
    """Yield in order, with so many begun ahead."""
    begun = list(islice(work, number))
    while begun:
        yield begun.pop(0)
        begun += islice(work, 1)


def _piece(
    store: Store, layers: Sequence[LayerInfo], groups: Groups, measures: Sequence[Measure], i: int, j: int
) -> list[tuple[tuple[int, int], int, dict[int, Any]]]:
    """Partial results of rows i…j of the layers of a stream."""
    stream = layers[0].stream if layers else None
    tokens = store.read_tokens(i, j, stream)
    split = groups.split(stream or "", i, tokens["pass"])
    results = []
    for place, layer in enumerate(layers):
        following = layers[place + 1] if place + 1 < len(layers) else None
        for group, mask in split:
            rows = Rows(store, layer, i, j, tokens, following, mask)
            partials = {number: of.partial(rows) for number, of in enumerate(measures)}
            results.append(((layer.place, group), len(rows), partials))
    return results


def _pass_load(store: Store, layer: LayerInfo) -> Mapping[str, float]:
    total = None
    for counts in _pass_counts(store, layer):
        partial = PASS_LOAD.partial(counts, layer.top_k)
        total = partial if total is None else PASS_LOAD.combine(total, partial)
    if total is None:
        total = PASS_LOAD.partial(np.zeros((0, layer.experts), np.int64), layer.top_k)
    return PASS_LOAD.values(total, layer)


def _pass_counts(store: Store, layer: LayerInfo) -> Iterator[np.ndarray]:
    """(passes, E) counts, some passes at a time."""
    for first, last in Chunks(0, store.n_passes, rows=PASSES).walk():
        blocks = store.load_blocks(first, last, last - first)
        if len(blocks.edges) != last - first + 1 or blocks.edges[0] != first:
            yield store.counts(layer, by="pass")[first:last]
        else:
            yield blocks.counts[:, blocks.offsets[layer.place] : blocks.offsets[layer.place + 1]]


def _by_pass(store: Store, wanted: set[str], ticket: Ticket | None) -> Iterator[LayerMetrics]:
    """Metrics of load of every pass and layer, from exact counts."""
    keys = [meaning.key for meaning in LOAD.meanings if meaning.key in wanted]
    for number, layer in enumerate(store.model.layers):
        first = 0
        for counts in _pass_counts(store, layer):
            if ticket is not None:
                ticket.check((number + first / max(1, store.n_passes)) / len(store.model.layers))
            for place, row in enumerate(counts.astype(np.int64)):
                values = load_values(row, layer.top_k)
                slots = int(row.sum())
                yield LayerMetrics(
                    layer, str(first + place), round(slots / layer.top_k), slots, {key: values[key] for key in keys}
                )
            first += len(counts)
