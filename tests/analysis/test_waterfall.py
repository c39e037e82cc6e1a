"""Columns of the waterfall against plain loops over the store's ids, weights, entropies and margins."""

from itertools import pairwise
from math import isnan, log

import numpy as np
import pytest

from moedesk.analysis import waterfall
from moedesk.analysis.heatmap import DEAD, IDLE
from moedesk.analysis.waterfall import Columns, Frame, new_ring, offsets_of, read_columns
from moedesk.analysis.waterfall_measure import MEASURES, NONE
from moedesk.core.columns import PassFlag
from moedesk.core.store import LoadBlocks
from tests.support.growing_store import growing_store
from tests.support.memory_store import MemoryStore, memory_store

LAYERS, EXPERTS = 3, 8
ALL = (0, LAYERS * EXPERTS)


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    store = growing_store(passes=23, layers=LAYERS, experts=EXPERTS)
    store.layers[1].entropy[:40] = np.nan
    return store


def slots_of(store: MemoryStore, layer: int, passes: range) -> list[tuple[int, int, int]]:
    """(row, slot, expert) of all that counts in some passes."""
    tokens, ids = store.streams["main"], store.layers[layer].experts
    return [
        (row, slot, int(ids[row, slot]))
        for row in range(len(tokens))
        if int(tokens["pass"][row]) in passes and not tokens["is_padding"][row]
        for slot in range(ids.shape[1])
        if ids[row, slot] >= 0
    ]


def plain(store: MemoryStore, measure: str, layer: int, expert: int, passes: range) -> float:
    """The value of one expert over some passes."""
    chosen = slots_of(store, layer, passes)
    mine = [(row, slot) for row, slot, e in chosen if e == expert]
    if measure == "load":
        return len(mine) * EXPERTS / len(chosen) if chosen else float("nan")
    if not chosen:
        return float("nan")
    if not mine:
        return NONE
    columns = store.layers[layer]
    values = {
        "weight": lambda row, slot: columns.weights[row, slot],
        "entropy": lambda row, _: columns.entropy[row] / log(EXPERTS),
        "margin": lambda row, _: columns.margin[row],
    }[measure]
    known = [float(values(*place)) for place in mine if not isnan(values(*place))]
    return sum(known) / len(known) if known else float("nan")


def peak(values: list[float], measure: str) -> float:
    real = [value for value in values if not isnan(value) and value != NONE]
    if real:
        return min(real) if MEASURES[measure].peak == "smallest" else max(real)
    return float("nan") if any(map(isnan, values)) else NONE


@pytest.mark.parametrize("measure", list(MEASURES))
@pytest.mark.parametrize(
    ("passes", "rows", "lines"), [(1, ALL, 24), (3, ALL, 100), (4, ALL, 7), (2, (8, 16), 8), (5, (3, 20), 9)]
)
def test_cells_are_what_a_plain_loop_finds(
    store: MemoryStore, measure: str, passes: int, rows: tuple[int, int], lines: int
) -> None:
    frame = Frame(measure, passes, rows, lines)
    columns = read_columns(store, frame, 1, 99, store.n_passes)
    edges = frame.row_edges(offsets_of(store.model))
    assert len(edges) - 1 <= lines
    count = -(-store.n_passes // passes) - 1
    assert columns.fields["values"].shape == (len(edges) - 1, count)
    expected = np.empty((len(edges) - 1, count))
    for column in range(count):
        span = range((column + 1) * passes, min((column + 2) * passes, store.n_passes))
        assert columns.fields["passes"][column] == len(span)
        for row in range(len(edges) - 1):
            cells = [
                plain(store, measure, expert // EXPERTS, expert % EXPERTS, span)
                for expert in range(edges[row], edges[row + 1])
            ]
            expected[row, column] = peak(cells, measure)
    np.testing.assert_allclose(columns.fields["values"], expected, rtol=2e-6)
    image = columns.fields["image"]
    assert ((image == IDLE) == np.isnan(expected)).all()
    assert ((image == DEAD) == (expected == (NONE if measure != "load" else 0))).all()
    shown = (image != IDLE) & (image != DEAD)
    scale = MEASURES[measure].scale
    for value, index in zip(expected[shown], image[shown], strict=True):
        low, high = scale.ratio(max(int(index) - 1, 1)), scale.ratio(min(int(index) + 1, 254))
        assert low * 0.9999 <= min(max(value, scale.low), scale.high) <= high * 1.0001


@pytest.mark.parametrize("measure", list(MEASURES))
@pytest.mark.parametrize(("passes", "window"), [(1, 1), (1, 4), (2, 6), (3, 0)])
def test_pieces_make_the_same_picture_as_all_at_once(
    store: MemoryStore, measure: str, passes: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_columns(store, Frame(measure, passes, ALL, 10, window), 0, 99, store.n_passes)
    frame = whole.frame
    ring = new_ring(whole, 40)
    monkeypatch.setattr(waterfall, "CHUNK", 2 * LAYERS * EXPERTS)  # two columns a read
    part: Columns | None = None
    for end in (1, 2, 7, 8, 15, 22, 23):  # as passes come; the last column is written again until it is full
        first = 0 if part is None else part.end // passes
        tail = None if part is None else part.tail
        part = read_columns(store, frame, first, -(-end // passes), end, tail)
        ring.put(part.first, part.fields)
    for name, field in whole.fields.items():
        np.testing.assert_array_equal(ring.get(name, 0, 99), field, err_msg=name)


def test_token_rows_beyond_the_budget_are_left_out_evenly_and_counted(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waterfall, "BUDGET", 36 * LAYERS)
    frame = Frame("weight", 1, ALL, 24)
    columns = read_columns(store, frame, 0, 16, store.n_passes)
    read = columns.fields["read"]
    assert 0 < read.sum() < 16
    assert (columns.fields["passes"] == 1).all()
    assert np.isnan(columns.fields["values"][:, read == 0]).all()
    rows = np.diff([0, *[int(span["first"] + span["count"]) for span in store.spans["main"][:16]]])
    assert columns.cut
    whole = (read == 1) & (rows <= columns.cut)
    assert whole.any()
    full = read_columns(replace_budget(monkeypatch, store), frame, 0, 16, store.n_passes)
    np.testing.assert_array_equal(columns.fields["values"][:, whole], full.fields["values"][:, whole])


def replace_budget(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> MemoryStore:
    monkeypatch.setattr(waterfall, "BUDGET", 1 << 19)
    return store


def test_passes_with_counts_only_have_loads_but_no_weights() -> None:
    store = memory_store(passes=5, layers=2, experts=4)
    counts = [store.counts(layer, "pass") for layer in range(2)]
    kept = store.spans["main"][4]["first"]
    store.passes["flags"][4] = PassFlag.COUNTS_ONLY
    store.spans["main"]["count"][4] = 0
    store.streams["main"] = store.streams["main"][:kept]
    for layer in store.layers:
        layer.experts, layer.weights = layer.experts[:kept], layer.weights[:kept]
    store.counts = lambda layer, by="capture": counts[store.model.layer(layer).place]  # type: ignore[method-assign]
    load = read_columns(store, Frame("load", 1, (0, 8), 8), 0, 5, 5)
    assert not np.isnan(load.fields["values"]).any()
    weight = read_columns(store, Frame("weight", 1, (0, 8), 8), 0, 5, 5)
    assert np.isnan(weight.fields["values"][:, 4]).all()
    assert not np.isnan(weight.fields["values"][:, :4]).any()
    assert weight.fields["bare"].tolist() == [0, 0, 0, 0, 1]
    assert weight.fields["read"].tolist() == [1, 1, 1, 1, 0]


class CoarseStore(MemoryStore):
    """Has counts in blocks of five passes only."""

    def load_blocks(self, first: int, last: int, columns: int) -> LoadBlocks:
        edges = np.append(np.arange(first // 5 * 5, last, 5), min(-(-last // 5) * 5, self.n_passes))
        parts = [np.concatenate(self.window_counts(i, j)) for i, j in pairwise(edges)]
        return LoadBlocks(edges, np.array(parts, np.uint32), offsets_of(self.model))


def test_blocks_wider_than_a_column_are_spread_and_said() -> None:
    fine = memory_store(passes=20, layers=2, experts=4)
    coarse = CoarseStore(**vars(fine))
    frame = Frame("load", 2, (0, 8), 8, 4)
    columns = read_columns(coarse, frame, 0, 10, 20)
    assert columns.coarse == 5
    assert columns.tail is None
    block = np.concatenate(fine.window_counts(5, 10)).reshape(2, 4)
    ratios = (block * 4 / block.sum(1, keepdims=True)).ravel()
    np.testing.assert_allclose(columns.fields["values"][:, 3], ratios, rtol=2e-3)  # passes 6 and 7
    assert np.isfinite(columns.fields["balance"]).all()
    exact = read_columns(fine, frame, 0, 10, 20)
    assert exact.coarse == 0


def test_no_columns_is_an_error(store: MemoryStore) -> None:
    with pytest.raises(ValueError, match="no columns"):
        read_columns(store, Frame("load", 1, ALL, 10), 30, 40, store.n_passes)
