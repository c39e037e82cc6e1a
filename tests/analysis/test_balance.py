"""Balance of many columns against ``analysis.load``'s metrics of each set of counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from moedesk.analysis.balance import BALANCE, balance, band
from moedesk.analysis.balance_window import LONGEST, SLOTS_AN_EXPERT
from moedesk.analysis.load import METRICS
from moedesk.analysis.waterfall import Frame, read_columns
from tests.support.growing_store import growing_store


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


@given(arrays(np.float32, (3, 5, 2), elements=st.one_of(st.floats(0, 9, width=32), st.just(np.nan))))
def test_the_band_is_least_median_and_most_of_the_layers_that_have_a_value(values: np.ndarray) -> None:
    found = band(values)
    for metric in range(3):
        for column in range(2):
            known = values[metric, :, column][np.isfinite(values[metric, :, column])]
            expected = (known.min(), np.median(known), known.max()) if known.size else (np.nan,) * 3
            np.testing.assert_allclose(found[metric, :, column], expected, rtol=1e-6)


@pytest.mark.parametrize(("passes", "window", "first"), [(1, 1, 0), (1, 5, 0), (1, 5, 11), (3, 9, 2), (4, 6, 0)])
def test_curves_are_the_metrics_of_the_exact_counts_of_their_window(passes: int, window: int, first: int) -> None:
    store = growing_store(passes=23, layers=2, experts=8)
    columns = read_columns(store, Frame("load", passes, (0, 16), 9, window), first, 99, 23)
    rounded = -(-window // passes) * passes
    for place in range(columns.fields["balance"].shape[-1]):
        whole = (first + place + 1) * passes
        assert columns.fields["window"][place] == min(whole, 23) - max(0, whole - rounded)
        for layer, counts in enumerate(store.window_counts(max(0, whole - rounded), min(whole, 23))):
            expected = [METRICS[key].of(counts) for key in BALANCE]
            np.testing.assert_allclose(columns.fields["balance"][:, layer, place], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("passes", "first"), [(1, 0), (1, 33), (4, 0), (4, 7)])
def test_a_window_by_slots_is_the_shortest_that_holds_enough(passes: int, first: int) -> None:
    store = growing_store(passes=150, tokens=7, layers=2, experts=4)
    counts = np.stack([store.counts(layer, "pass") for layer in range(2)])
    needed = SLOTS_AN_EXPERT * 4
    columns = read_columns(store, Frame("load", passes, (0, 8), 8), first, 99, 150)
    for place in range(columns.fields["balance"].shape[-1]):
        column = first + place
        end = min((column + 1) * passes, 150)
        start = column
        while start > 0 and counts[:, start * passes : end].sum((1, 2)).min() < needed:
            start -= 1
        assert columns.fields["window"][place] == end - start * passes
        for layer in range(2):
            mine = counts[layer, start * passes : end].sum(0)
            expected = [METRICS[key].of(mine) for key in BALANCE]
            np.testing.assert_allclose(columns.fields["balance"][:, layer, place], expected, rtol=1e-5, atol=1e-6)
    assert columns.fields["window"].max() >= 4 * passes
    assert LONGEST >= 150
