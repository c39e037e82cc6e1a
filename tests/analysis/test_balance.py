"""Balance of many columns against ``analysis.load``'s metrics of each set of counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from moedesk.analysis.balance import BALANCE, SLOTS_AN_EXPERT, balance, sliding, window_of_slots
from moedesk.analysis.load import METRICS
from moedesk.analysis.waterfall import Frame, offsets_of, read_columns
from tests.support.memory_store import memory_store


@given(arrays(np.uint32, (5, 9), elements=st.integers(0, 60)))
def test_each_value_is_the_metric_of_its_counts(counts: np.ndarray) -> None:
    offsets = np.array([0, 3, 4, 9])
    found = balance(counts, offsets)
    for layer in range(3):
        for column in range(5):
            mine = counts[column, offsets[layer] : offsets[layer + 1]].astype(np.int64)
            expected = [METRICS[key].of(mine) for key in BALANCE]
            np.testing.assert_allclose(found[:, layer, column], expected, rtol=1e-5, atol=1e-6)


def test_the_test_vector() -> None:
    cv, maxvio, entropy = balance(np.array([[4, 0, 2, 2]], np.uint32), np.array([0, 4]))[:, 0, 0]
    assert cv == pytest.approx(0.707107, abs=1e-6)
    assert maxvio == pytest.approx(1.0)
    assert entropy == pytest.approx(0.75)


def test_a_sliding_window_is_the_sum_of_its_passes() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 9, (30, 6)).astype(np.uint32)
    window = 7
    found = sliding(counts[3:10].sum(0, dtype=np.int64), counts[10:20], counts[3:13])
    expected = [counts[end - window : end].sum(0) for end in range(11, 21)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("passes", "window", "first"), [(1, 1, 0), (1, 5, 0), (1, 5, 11), (3, 9, 2), (4, 6, 0)])
def test_curves_are_the_metrics_of_the_exact_counts_of_their_window(passes: int, window: int, first: int) -> None:
    store = memory_store(passes=23, layers=2, experts=8)
    columns = read_columns(store, Frame("load", passes, (0, 16), 9, window), first, 99, 23)
    rounded = -(-window // passes) * passes
    assert columns.frame.window == rounded
    for place in range(columns.fields["balance"].shape[-1]):
        whole = (first + place + 1) * passes
        for layer, counts in enumerate(store.window_counts(max(0, whole - rounded), min(whole, 23))):
            expected = [METRICS[key].of(counts) for key in BALANCE]
            np.testing.assert_allclose(columns.fields["balance"][:, layer, place], expected, rtol=1e-5, atol=1e-6)


def test_an_automatic_window_holds_enough_slots_on_average() -> None:
    store = memory_store(passes=400, layers=2, experts=8)
    window = window_of_slots(store, 400)
    assert window & (window - 1) == 0
    slots = min(int(counts.sum()) for counts in store.window_counts()) / 400
    assert window * slots >= SLOTS_AN_EXPERT * 8 > window * slots / 2
    assert window_of_slots(store, 0) == 1
    assert offsets_of(store.model).tolist() == [0, 8, 16]
