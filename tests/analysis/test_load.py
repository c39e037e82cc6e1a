"""Load metrics against the published vectors, plain Python and the identities they must obey."""

import json
import statistics
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moedesk.analysis.load import METRICS, layer_load, slot_share, utilization
from tests.support.memory_store import memory_store

PUBLISHED = json.loads((Path(__file__).parent.parent / "data" / "published_counts.json").read_text())["rows"]
V = np.array([4, 0, 2, 2])
COUNTS = st.lists(st.integers(0, 10_000), min_size=2, max_size=64).filter(any).map(np.array)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cv", 0.707107),
        ("cv_sample", 0.816497),
        ("maxvio", 1.0),
        ("load_imbalance", 2.0),
        ("gini", 0.375),
        ("entropy_normalized", 0.75),
        ("expert_diversity", 0.707107),
        ("kl_uniform", 0.346574),
        ("jain", 0.666667),
        ("min_max_ratio", 0.0),
    ],
)
def test_the_reference_vector(key: str, value: float) -> None:
    assert METRICS[key].of(V) == pytest.approx(value, abs=5e-7)


def test_utilization_of_the_reference_vector() -> None:
    assert utilization(V).tolist() == [2, 0, 1, 1]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row['model']}-{row['domain']}-{row['layer']}")
def test_published_counts(row) -> None:
    counts = np.array(row["counts"])
    names = {
        "cv_pop": "cv",
        "cv_sample": "cv_sample",
        "maxvio": "maxvio",
        "imbalance_max_over_mean": "load_imbalance",
        "gini": "gini",
        "entropy_norm": "entropy_normalized",
        "exp_entropy_over_N": "expert_diversity",
        "jain": "jain",
        "kl_uniform": "kl_uniform",
        "min_over_max": "min_max_ratio",
    }
    assert set(names.values()) == METRICS.keys()
    for published, key in names.items():
        assert METRICS[key].of(counts) == pytest.approx(row[published], abs=1e-9), key


@given(COUNTS)
def test_against_plain_python(counts) -> None:
    values = counts.tolist()
    mean, total = statistics.fmean(values), sum(values)
    differences = sum(abs(a - b) for a in values for b in values)
    bits = -sum(v / total * log(v / total) for v in values if v)
    expected = {
        "cv": statistics.pstdev(values) / mean,
        "cv_sample": statistics.stdev(values) / mean,
        "maxvio": max(values) / mean - 1,
        "load_imbalance": max(values) / mean,
        "gini": differences / (2 * len(values) ** 2 * mean),  # the mean-difference form
        "entropy_normalized": bits / log(len(values)),
        "expert_diversity": exp(bits) / len(values),
        "kl_uniform": log(len(values)) - bits,
        "jain": total**2 / (len(values) * sum(v * v for v in values)),
        "min_max_ratio": min(values) / max(values),
    }
    assert expected.keys() == METRICS.keys()
    for key, value in expected.items():
        assert METRICS[key].of(counts) == pytest.approx(value, abs=1e-9), key


@given(COUNTS, st.randoms())
def test_identities(counts, random) -> None:
    value = {key: metric.of(counts) for key, metric in METRICS.items()}
    assert value["maxvio"] >= -1e-12
    assert value["jain"] == pytest.approx(1 / (1 + value["cv"] ** 2))
    assert value["kl_uniform"] + value["entropy_normalized"] * log(len(counts)) == pytest.approx(log(len(counts)))
    assert slot_share(counts).sum() == pytest.approx(1)
    shuffled = counts.tolist()
    random.shuffle(shuffled)
    for key, metric in METRICS.items():
        assert metric.of(np.array(shuffled)) == pytest.approx(value[key], abs=1e-9), key


def test_without_a_slot_every_metric_is_unknown() -> None:
    assert all(np.isnan(metric.of(np.zeros(4, np.int64))) for metric in METRICS.values())
    assert np.isnan(slot_share(np.zeros(4, np.int64))).all()


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_window_has_the_counts_of_its_passes(first, last) -> None:
    assume(first <= last)
    store = memory_store(passes=20, seed=3)
    tokens = store.read_tokens()
    for load in layer_load(store, first, last):
        rows = (tokens["pass"] >= first) & (tokens["pass"] < last) & ~tokens["is_padding"]
        chosen = [e for row in store.experts(load.layer)[rows].tolist() for e in row if e >= 0]
        assert load.counts.tolist() == [chosen.count(expert) for expert in range(load.layer.experts)]
        assert load.slots == len(chosen)
        assert load.values().keys() == METRICS.keys()
