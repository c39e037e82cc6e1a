"""Balance by every definition there is to choose, against the definitions themselves, one set of counts at a time."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from moedesk.analysis.balance import BALANCE, balance
from moedesk.analysis.conventions import FAMILIES, Conventions
from moedesk.analysis.load import METRICS, layer_load
from moedesk.analysis.waterfall import Frame, read_columns
from moedesk.panels.elements.model_load import numbers
from moedesk.panels.network.model_numbers import metric_titles, read_numbers
from moedesk.panels.network.model_passes import column, column_title, read_rows, sort_keys
from moedesk.session.jobs import Ticket
from tests.support.memory_store import memory_store

CHOICES = [Conventions(*keys) for keys in product(*FAMILIES.values())]


@pytest.fixture(scope="module")
def store():
    return memory_store(passes=12, layers=3, experts=8)


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: "-".join(chosen.to_json().values()))
def test_curves(chosen: Conventions) -> None:
    rng = np.random.default_rng(3)
    offsets = np.array([0, 8, 13, 14])
    sums = rng.integers(0, 20, (6, 14))
    sums[2, :8] = 0
    found = balance(sums, offsets, chosen)
    for number, key in enumerate(BALANCE):
        for layer, column_ in product(range(2), range(6)):
            counts = sums[column_, offsets[layer] : offsets[layer + 1]]
            expected = METRICS[chosen.of(key)].of(counts)
            assert found[number, layer, column_] == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: "-".join(chosen.to_json().values()))
def test_panels(store, chosen: Conventions) -> None:
    rows = read_rows(store, range(12), "counts", chosen)
    for number in range(12):
        loads = [load.counts for load in layer_load(store, number, number + 1)]
        for values, family in ((rows.cv, "cv"), (rows.max_violation, "maxvio")):
            expected = np.mean([METRICS[chosen.of(family)].of(counts) for counts in loads])
            assert values[number] == pytest.approx(expected, rel=1e-5)
        shown = read_numbers(store, number, chosen)
        for layer, counts in zip(shown.layers, loads, strict=True):
            assert layer.metrics == tuple(
                METRICS[chosen.of(key)].of(counts) for key in ("maxvio", "cv", "entropy_normalized")
            )
    frame = Frame("load", 1, (0, 24), 24, 1, chosen)
    columns = read_columns(store, frame, 0, 12, 12)
    counts = layer_load(store, 3, 4)[1].counts
    assert columns.fields["balance"][0, 1, 3] == pytest.approx(METRICS[chosen.cv].of(counts), rel=1e-5)


def test_what_is_shown_says_which() -> None:
    sample = Conventions(cv="cv_sample", maxvio="load_imbalance", entropy_normalized="kl_uniform")
    assert column_title(column("cv"), Conventions()) == "CV (population)"
    assert column_title(column("cv"), sample) == "CV (sample)"
    assert column_title(column("max_violation"), sample) == "Load imbalance"
    assert [name for name, _ in metric_titles(sample)] == ["Load imbalance", "CV (sample)", "KL to uniform"]
    assert all("ddof=1" in hint for name, hint in metric_titles(sample) if name == "CV (sample)")


def test_elements_tiles(store) -> None:
    load = layer_load(store)[0]
    facts = {fact.label: fact for fact in numbers(load, Conventions(cv="cv_sample"))}
    assert "CV (population)" not in facts
    assert facts["CV (sample)"].value == f"{METRICS['cv_sample'].of(load.counts):.3f}"
    assert "sample standard deviation" in facts["CV (sample)"].hint


def test_sorting_by_a_chosen_definition(store) -> None:
    chosen = Conventions(cv="cv_sample")
    keys = sort_keys(store, range(12), column("cv"), Ticket(), conventions=chosen)
    assert keys.values == pytest.approx(read_rows(store, range(12), "counts", chosen).cv.astype(float))


def test_what_was_kept_comes_back() -> None:
    chosen = Conventions(maxvio="load_imbalance")
    assert Conventions.from_json(chosen.to_json()) == chosen
    for damaged in (None, [], {"cv": "gini"}, {"cv": ["cv"]}, {"maxvio": 3}):
        assert Conventions.from_json(damaged) == Conventions()
    assert chosen.choosing("maxvio") == replace(chosen, maxvio="maxvio") == Conventions()
