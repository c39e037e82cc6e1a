"""The heatmap against loops over experts and passes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moedesk.analysis.heatmap import DEAD, IDLE, ColourScale, extend, load_heatmap, reduce_blocks
from moedesk.core.store import LoadBlocks
from tests.support.memory_store import memory_store


def blocks_of(layers: list[np.ndarray]) -> LoadBlocks:
    counts = np.concatenate(layers, axis=1).astype(np.uint32)
    offsets = np.cumsum([0] + [layer.shape[1] for layer in layers])
    return LoadBlocks(np.arange(len(counts) + 1, dtype=np.int64), counts, offsets.astype(np.int64))


def brute_ratio(layers: list[np.ndarray], experts: range, passes: range) -> float:
    """The busiest of some experts (numbered through all layers), each over its own layer's even share."""
    flat = [(layer, expert) for layer in layers for expert in range(layer.shape[1])]
    best = float("nan")
    for number in experts:
        layer, expert = flat[number]
        total = sum(int(layer[one].sum()) for one in passes)
        if total:
            ratio = sum(int(layer[one, expert]) for one in passes) * layer.shape[1] / total
            best = ratio if np.isnan(best) else max(best, ratio)
    return best


@st.composite
def pictures(draw):
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    passes = draw(st.integers(1, 12))
    seed = draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    layers = [rng.integers(0, 3, (passes, size)) * (rng.random((passes, 1)) < 0.7) for size in sizes]
    total = sum(sizes)
    start = draw(st.integers(0, total - 1))
    stop = draw(st.integers(start + 1, total))
    return layers, draw(st.integers(1, 15)), draw(st.integers(1, 30)), (start, stop)


@given(pictures())
def test_every_pixel_is_what_loops_say(picture) -> None:
    layers, columns, rows, row_range = picture
    heatmap = reduce_blocks(blocks_of(layers), columns, rows, row_range)

    height, width = heatmap.image.shape
    assert height <= rows
    assert width <= columns
    assert (heatmap.row_edges[0], heatmap.row_edges[-1]) == row_range
    assert (heatmap.pass_edges[0], heatmap.pass_edges[-1]) == (0, len(layers[0]))
    assert (np.diff(heatmap.row_edges) > 0).all()
    assert (np.diff(heatmap.pass_edges) > 0).all()
    for row in range(height):
        for column in range(width):
            expected = brute_ratio(
                layers,
                range(heatmap.row_edges[row], heatmap.row_edges[row + 1]),
                range(heatmap.pass_edges[column], heatmap.pass_edges[column + 1]),
            )
            assert heatmap.ratios[row, column] == pytest.approx(expected, rel=1e-5, nan_ok=True)
            index = heatmap.image[row, column]
            assert (index == IDLE) == np.isnan(expected)
            assert (index == DEAD) == (expected == 0)


def test_a_row_never_mixes_layers_when_there_is_room() -> None:
    layers = [np.ones((3, 100)), np.ones((3, 7)), np.ones((3, 64))]
    heatmap = reduce_blocks(blocks_of(layers), 3, 40)
    for row in range(len(heatmap.image)):
        cell = heatmap.at(row, 0)
        assert cell.first[0] == cell.last[0]
    assert [band[0] for band in heatmap.layer_bands()] == [0, 1, 2]
    assert heatmap.layer_bands()[0][1] == 0
    assert heatmap.layer_bands()[-1][2] == len(heatmap.image) <= 40


def test_a_pixel_tells_its_experts_and_passes_and_back() -> None:
    store = memory_store(passes=20, layers=3, experts=8)
    heatmap = load_heatmap(store, 0, 20, columns=5, rows_px=12)
    for layer in range(3):
        for expert in range(8):
            row = heatmap.row_of(layer, expert)
            assert row is not None
            cell = heatmap.at(row, 0)
            assert cell.first <= (layer, expert) <= cell.last
    for number in range(20):
        column = heatmap.column_of(number)
        assert column is not None
        first, last = heatmap.at(0, column).passes
        assert first <= number < last
    assert heatmap.column_of(20) is None
    assert "busiest of up to 2 experts" in heatmap.reduction
    assert "mean over up to 4 passes" in heatmap.reduction


def test_an_unreduced_picture_says_so() -> None:
    heatmap = load_heatmap(memory_store(), 0, 20, columns=100, rows_px=100)
    assert "a row is one expert, a column is one pass" in heatmap.reduction
    assert heatmap.image.shape == (24, 20)


@pytest.mark.parametrize("kind", ["log", "linear"])
def test_indexes_read_back_as_ratios_to_half_a_step(kind) -> None:
    scale = ColourScale(kind, 0.125, 8)
    ratios = np.geomspace(0.125, 8, 999, dtype=np.float32)
    indexes = scale.indexes(ratios)
    assert indexes[0] == 1
    assert indexes[-1] == 254
    assert (np.diff(indexes.astype(int)) >= 0).all()
    for ratio, index in zip(ratios, indexes.tolist(), strict=True):
        step = scale.ratio(index + 1) - scale.ratio(index)
        assert abs(scale.ratio(index) - ratio) <= 0.51 * step
    assert scale.indexes(np.array([0, 1e-9, 1e9, np.nan], np.float32)).tolist() == [DEAD, 1, 254, IDLE]


def test_a_live_picture_grows_as_if_drawn_at_once() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 5, (30, 12)).astype(np.uint32)
    offsets = np.array([0, 4, 12])

    def picture(first: int, last: int):
        return reduce_blocks(LoadBlocks(np.arange(first, last + 1), counts[first:last], offsets), 100, 5)

    grown = extend(picture(0, 10), picture(10, 30), columns=25)
    assert np.array_equal(grown.image, picture(5, 30).image)
    assert np.array_equal(grown.pass_edges, np.arange(5, 31))
    replaced = extend(picture(0, 12), picture(10, 30), columns=25)  # the last block had grown meanwhile
    assert np.array_equal(replaced.image, grown.image)
    with pytest.raises(ValueError, match="continue"):
        extend(picture(0, 8), picture(10, 30), columns=25)
    with pytest.raises(ValueError, match="continue"):
        extend(picture(0, 10), reduce_blocks(LoadBlocks(np.arange(10, 13), counts[10:12], offsets), 9, 12), 25)


def test_no_passes_give_an_empty_picture() -> None:
    heatmap = load_heatmap(memory_store(), 3, 3, columns=10, rows_px=24)
    assert heatmap.image.shape[1] == 0
    assert heatmap.row_of(0, 0) == 0
