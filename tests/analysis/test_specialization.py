"""Domain specialisation and risk difference, against counting token by token; and what the sample shows."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import moedesk
from moedesk.analysis.measures.report import measure
from moedesk.analysis.specialization import domain_loads, strongest
from moedesk.core.columns import RouteFlag
from moedesk.core.label import Label
from moedesk.core.resources import resource
from tests.support.memory_store import MemoryStore, memory_store

LABELS = (
    Label("code", 0, 15),
    Label("prose", 15, 36),
    Label("odd", 30, 90, "main"),
    Label("code", 38, 40),
    Label("none", 90, 95),
)


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    made = memory_store(passes=40, seed=8)
    made.layers[1].experts[3, 1] = -1
    made.layers[1].flags[5] |= RouteFlag.ABSENT
    return replace(made, labels=LABELS)


def rows_of(store: MemoryStore, layer: int, name: str) -> set[int]:
    """Rows of a label that the layer saw, found one by one."""
    rows = set()
    for row, token in enumerate(store.streams["main"]):
        seen = not token["is_padding"] and not store.layers[layer].flags[row] & RouteFlag.ABSENT
        for label in store.labels:
            place = row if label.stream else token["pass"]
            if seen and label.name == name and label.first <= place < label.last:
                rows.add(row)
    return rows


def test_shares_and_differences(store: MemoryStore) -> None:
    for load in domain_loads(store):
        place, experts = load.layer.place, store.layers[load.layer.place].experts
        assert load.names == ("code", "prose", "odd", "none")
        anyones = set().union(*(rows_of(store, place, name) for name in load.names))
        for number, name in enumerate(load.names):
            rows = rows_of(store, place, name)
            others = anyones - rows
            assert load.tokens[number] == len(rows)
            for expert in range(load.layer.experts):
                mine = sum(expert in experts[row] for row in rows)
                theirs = sum(expert in experts[row] for row in others)
                if not rows:
                    assert math.isnan(load.percent[number, expert])
                    continue
                assert load.percent[number, expert] == pytest.approx(100 * mine / len(rows))
                assert load.risk_difference[number, expert] == pytest.approx(mine / len(rows) - theirs / len(others))


def test_an_experts_labels_are_sorted_by_share(store: MemoryStore) -> None:
    load = domain_loads(store, [1])[0]
    shares = load.by_label(2)
    assert {one.name for one in shares} == {"code", "prose", "odd"}
    assert [one.share for one in shares] == sorted((one.share for one in shares), reverse=True)
    for one in shares:
        low, high = one.interval
        assert low <= one.share <= high
        assert one.times_even == pytest.approx(one.share * load.layer.experts / load.layer.top_k)


def test_some_passes_only(store: MemoryStore) -> None:
    load = domain_loads(store, [0], 10, 20)[0]
    passes = store.streams["main"]["pass"]
    expected = [row for row in rows_of(store, 0, "code") if 10 <= passes[row] < 20]
    assert load.tokens[0] == len(expected)


def test_without_labels(store: MemoryStore) -> None:
    loads = domain_loads(replace(store, labels=()))
    assert all(not load.names and not load.favourites() for load in loads)
    assert strongest(loads) is None


def test_few_tokens_are_not_the_strongest(store: MemoryStore) -> None:
    """One token that goes to an expert is a share of 100 %, and says nothing."""
    experts = store.layers[0].experts.copy()
    experts[:] = np.arange(experts.shape[1])  # every token: the first experts
    layers = [replace(store.layers[0], experts=experts), *store.layers[1:]]
    rare = replace(store, layers=layers, labels=(Label("rare", 7, 8, "main"), Label("all", 0, 40)))
    found = strongest(domain_loads(rare, [0]))
    assert found is not None
    assert found.name == "all"


def test_the_report_by_domain(store: MemoryStore) -> None:
    report = json.loads(json.dumps(measure(store, by="domain", keys=["cv"]).to_json(), allow_nan=False))
    assert [load["path"] for load in report["domains"]] == [layer.path for layer in store.model.layers]
    label = report["domains"][0]["labels"][0]
    assert (label["name"], len(label["share_percent"])) == ("code", store.model.layers[0].experts)
    assert "domains" not in measure(store, keys=["cv"]).to_json()


@pytest.mark.parametrize("name", ["tinymoe", "tinymoe-sick"])
def test_the_samples_domains(name: str) -> None:
    """Each label holds the texts of its folder, and nothing else."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(resource("sample", name, "tokenizer.json")))
    with moedesk.open(resource("sample", f"{name}.h5")) as capture:
        folders = [folder for folder in sorted(resource("sample", "domains").iterdir()) if folder.is_dir()]
        assert [label.name for label in capture.labels] == [folder.name for folder in folders]
        for label, folder in zip(capture.labels, folders, strict=True):
            texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))[:2]]
            expected = [token for text in texts for token in tokenizer.encode(text).ids]
            rows = capture.token_span(label.first, label.last)
            assert capture.read_tokens(*rows)["token_id"].tolist() == expected
