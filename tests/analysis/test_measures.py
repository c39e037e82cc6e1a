"""Every measure against plain loops over the rows, however they are cut into pieces; and the published examples."""

import json
import math
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moedesk.analysis.load import METRICS
from moedesk.analysis.measures.cache import lfu_hits, lru_hits
from moedesk.analysis.measures.load import load_values
from moedesk.analysis.measures.pairs import FEWEST as PAIR_TOKENS
from moedesk.analysis.measures.repetition import chance_of_any
from moedesk.analysis.measures.report import MEANINGS, measure
from moedesk.analysis.measures.vocabulary import FEWEST as ID_TOKENS
from moedesk.core.columns import RouteFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.label import Label
from tests.support.memory_store import MemoryStore, memory_store, spare


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    """Three layers with logits, padding, drops and a token that a layer did not see."""
    made = memory_store(passes=40, logits=True, seed=5)
    layer = made.layers[1]
    layer.experts[3, 1] = -1
    layer.weights[3, 1] = 0
    layer.flags[3] |= RouteFlag.DROPPED
    layer.flags[5] |= RouteFlag.ABSENT
    layer.experts[5] = -1
    layer.flags[9] |= RouteFlag.NONFINITE
    layer.weights[9, 0] = np.nan
    return made


def seen(store: MemoryStore, place: int) -> list[int]:
    tokens, flags = store.streams["main"], store.layers[place].flags
    return [i for i in range(len(tokens)) if not tokens["is_padding"][i] and not flags[i] & RouteFlag.ABSENT]


def chosen(store: MemoryStore, place: int, i: int) -> set[int]:
    return {e for e in store.layers[place].experts[i].tolist() if e >= 0}


def first(store: MemoryStore, place: int, i: int) -> int:
    ids, weights = store.layers[place].experts[i].tolist(), store.layers[place].weights[i].tolist()
    best = [
        (-(w if w == w else -math.inf), slot) for slot, (e, w) in enumerate(zip(ids, weights, strict=True)) if e >= 0
    ]
    return ids[min(best)[1]] if best else -1


def test_passes_without_entropies_are_said(store: MemoryStore) -> None:
    assert measure(store).note == ""
    lacking = memory_store(passes=40, logits=True, seed=5)
    spare(lacking, range(30, 40))
    found = measure(lacking)
    assert found.note.startswith("10 of 40 passes came too fast for entropies and margins (is:spared)")
    assert found.to_json()["note"] == found.note
    kept = [i for i in seen(lacking, 1) if lacking.streams["main"]["pass"][i] < 30]
    assert found.layers[1].values["margin_mean"] == pytest.approx(lacking.layers[1].margin[kept].mean(dtype=float))
    assert measure(lacking, keys=["cv", "gini"]).note == ""


def values(store: MemoryStore, place: int = 1, **options) -> dict[str, float]:
    return dict(measure(store, **options).layers[place].values)


def neighbours(store: MemoryStore, place: int) -> list[tuple[int, int]]:
    tokens = store.streams["main"]
    at = {(int(tokens["sequence"][i]), int(tokens["column"][i])): i for i in seen(store, place)}
    return [(i, at[s, c + 1]) for (s, c), i in at.items() if (s, c + 1) in at]


@pytest.mark.parametrize("rows", [7, 50, 100_000])
def test_it_does_not_matter_how_the_rows_are_cut(store: MemoryStore, rows: int) -> None:
    whole = measure(store, rows=10**6, threads=1)
    cut = measure(store, rows=rows, threads=3)
    for a, b in zip(whole.layers, cut.layers, strict=True):
        assert a.tokens == b.tokens
        assert a.values == pytest.approx(b.values, nan_ok=True)


def test_confidence(store: MemoryStore) -> None:
    got, layer = values(store), store.layers[1]
    rows = seen(store, 1)
    entropies = []
    for i in rows:
        z = [float(v) for v in layer.logits[i]]
        norm = sum(math.exp(v) for v in z)
        entropies.append(-sum(math.exp(v) / norm * math.log(math.exp(v) / norm) for v in z))
    assert got["token_entropy"] == pytest.approx(np.mean(entropies), rel=1e-5)
    assert got["token_entropy_normalized"] == pytest.approx(np.mean(entropies) / math.log(8), rel=1e-5)
    margins = [float(layer.margin[i]) for i in rows]
    assert got["margin_mean"] == pytest.approx(np.mean(margins), rel=1e-6)
    assert got["near_tie_share"] == pytest.approx(np.mean([m < 1e-4 for m in margins]))
    totals = [float(layer.weights[i].sum()) for i in rows if np.isfinite(layer.weights[i]).all()]
    assert got["weight_sum_mean"] == pytest.approx(np.mean(totals), rel=1e-6)
    inner = []
    for i in rows:
        w = layer.weights[i].tolist()
        if all(v == v for v in w):
            inner.append(-sum(v / sum(w) * math.log(v / sum(w)) for v in w if v))
    assert got["token_entropy_topk"] == pytest.approx(np.mean(inner), rel=1e-5)


def test_losses(store: MemoryStore) -> None:
    got, layer, rows = values(store), store.layers[1], seen(store, 1)
    counts: Counter[int] = Counter(e for i in rows for e in chosen(store, 1, i))
    z = np.array([layer.logits[i] for i in rows], np.float64)
    shares = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    switch = 8 * sum(counts[e] / (len(rows) * 2) * shares[:, e].mean() for e in range(8))
    assert got["aux_loss_switch"] == pytest.approx(switch)
    assert got["aux_loss_mixtral"] == pytest.approx(2 * switch)
    assert got["z_loss"] == pytest.approx(np.mean(np.log(np.exp(z).sum(1)) ** 2))
    mass = [sum(shares[n, e] for e in chosen(store, 1, i)) for n, i in enumerate(rows)]
    assert got["topk_mass"] == pytest.approx(np.mean(mass))


def test_the_published_examples_of_losses() -> None:
    even = _with_logits([[math.log(0.75), math.log(0.25)], [math.log(0.5), math.log(0.5)]], [[0], [0]])
    assert values(even, 0)["aux_loss_switch"] == pytest.approx(1.25)
    assert values(_with_logits([[math.log(3), 0], [0, 0]], [[0], [0]]), 0)["z_loss"] == pytest.approx(
        1.2011325, abs=1e-6
    )


def _with_logits(logits: list[list[float]], ids: list[list[int]]) -> MemoryStore:
    made = memory_store(passes=1, tokens=1, layers=1, experts=2, top_k=1, logits=True, padding=0)
    made.layers[0].logits[:] = logits
    made.layers[0].experts[:] = ids
    return made


def test_faults(store: MemoryStore) -> None:
    got, rows = values(store), seen(store, 1)
    assert got["dropped_slot_share"] == pytest.approx(1 / (2 * len(rows)))
    assert got["dropped_token_share"] == pytest.approx(1 / len(rows))
    assert got["nonfinite_token_share"] == pytest.approx(1 / len(rows))


def test_coactivation(store: MemoryStore) -> None:
    got, rows = values(store), seen(store, 1)
    alone: Counter[int] = Counter(e for i in rows for e in chosen(store, 1, i))
    together: Counter[tuple[int, int]] = Counter()
    for i in rows:
        for a, b in combinations(sorted(chosen(store, 1, i)), 2):
            together[a, b] += 1
            together[b, a] += 1
    pairs = [(a, b) for a in range(8) for b in range(8) if a != b]
    enough = [(a, b) for a, b in pairs if alone[a] >= PAIR_TOKENS]
    assert got["coactivation_max"] == pytest.approx(max(together[p] / alone[p[0]] for p in enough))
    both = [(a, b) for a, b in enough if alone[b] >= PAIR_TOKENS]
    jaccard = max(together[a, b] / (alone[a] + alone[b] - together[a, b]) for a, b in both)
    assert got["coactivation_jaccard_max"] == pytest.approx(jaccard)
    lifts = [
        together[a, b] * len(rows) / (alone[a] * alone[b])
        for a, b in pairs
        if alone[a] * alone[b] / len(rows) >= PAIR_TOKENS
    ]
    assert (
        got["coactivation_lift_max"] == pytest.approx(max(lifts)) if lifts else math.isnan(got["coactivation_lift_max"])
    )


def test_repetition(store: MemoryStore) -> None:
    got, pairs = values(store), neighbours(store, 1)
    assert len(pairs) > 50
    shared = [len(chosen(store, 1, a) & chosen(store, 1, b)) for a, b in pairs]
    assert got["repetition_first"] == pytest.approx(
        np.mean([first(store, 1, a) == first(store, 1, b) for a, b in pairs])
    )
    assert got["repetition_any"] == pytest.approx(np.mean([n > 0 for n in shared]))
    assert got["repetition_overlap"] == pytest.approx(np.mean(shared))


@pytest.mark.parametrize(
    ("experts", "k", "chance"), [(8, 2, 0.4643), (64, 8, 0.6791), (128, 8, 0.4123), (256, 8, 0.2271)]
)
def test_published_chances_of_repetition(experts: int, k: int, chance: float) -> None:
    assert chance_of_any(experts, k) == pytest.approx(chance, abs=5e-5)


def test_transition(store: MemoryStore) -> None:
    got = values(store, 0)
    tokens = store.streams["main"]
    pairs = [(first(store, 0, i), first(store, 1, i)) for i in range(len(tokens)) if not tokens["is_padding"][i]]
    pairs = [(a, b) for a, b in pairs if a >= 0 and b >= 0]
    joint, before, after = Counter(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    n = len(pairs)
    information = sum(c / n * math.log2(c * n / (before[a] * after[b])) for (a, b), c in joint.items())
    entropy = -sum(c / n * math.log2(c / n) for c in after.values())
    assert got["transition_information"] == pytest.approx(information)
    assert got["transition_information_normalized"] == pytest.approx(information / entropy)
    assert got["transition_bias"] == pytest.approx(49 / (2 * n * math.log(2)))
    assert math.isnan(values(store, 2)["transition_information"])


@pytest.mark.parametrize("following", [False, True])
def test_vocabulary(store: MemoryStore, following: bool) -> None:
    got, ids = values(store), store.streams["main"]["token_id"].tolist()
    pairs = neighbours(store, 1) if following else [(i, i) for i in seen(store, 1)]
    table: dict[int, Counter[int]] = defaultdict(Counter)
    number: Counter[int] = Counter()
    for i, j in pairs:
        number[ids[j]] += 1
        table[ids[j]].update(chosen(store, 1, i))
    most = {x: max(table[x].values(), default=0) for x in number}
    prefix = "next_" if following else ""
    assert got[f"{prefix}vocabulary_specialization"] == pytest.approx(sum(most.values()) / sum(number.values()))
    often = [most[x] / number[x] for x in number if number[x] >= ID_TOKENS]
    assert got[f"{prefix}vocabulary_specialization_min{ID_TOKENS}"] == pytest.approx(np.mean(often))


def test_passes(store: MemoryStore) -> None:
    got = values(store)
    counts = [c for c in store.counts(1, "pass").tolist() if sum(c) >= 8]
    assert got["maxvio_batch"] == pytest.approx(np.mean([max(c) / np.mean(c) - 1 for c in counts]))
    for factor in (1.0, 1.25, 2.0):
        lost = sum(max(0, e - math.ceil(sum(c) / 2 / 8 * factor * 2)) for c in counts for e in c)
        assert got[f"drop_share_at_capacity_{factor:g}"] == pytest.approx(lost / sum(map(sum, counts)))
    each = measure(store, by="pass")
    assert len(each.layers) == 3 * store.n_passes
    one = each.layers[store.n_passes + 7]
    assert (one.layer.place, one.group) == (1, "7")
    assert one.values == pytest.approx(load_values(store.counts(1, "pass")[7], 2), nan_ok=True)


def test_load_of_the_reference_vector() -> None:
    got = load_values(np.array([4, 0, 2, 2]), top_k=1)
    assert got["maxvio_without_top_k"] == pytest.approx(2 / (4 / 3) - 1)
    assert got["zero_share_bound"] == pytest.approx(1 - 0.05 ** (1 / 8))
    assert (got["dead_experts"], got["undersampled_experts"]) == (0, 1)
    assert got["hot_experts"] == 0
    assert got["top_eighth_share"] == 0.5
    plenty = load_values(np.array([4000, 0, 1, 1999]), top_k=1)
    assert (plenty["dead_experts"], plenty["undersampled_experts"], plenty["cold_experts"], plenty["hot_experts"]) == (
        1,
        0,
        2,
        1,
    )


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(-1, 5), min_size=2, max_size=2), max_size=40), st.integers(2, 6))
def test_caches(rows: list[list[int]], size: int) -> None:
    ids = np.array(rows, np.int8).reshape(-1, 2)
    stream = [e for row in rows for e in row if e >= 0]
    if not stream:
        assert math.isnan(lru_hits(ids, size))
        return
    # Least recently used: held iff fewer than ``size`` different experts were used since its last use.
    hits = 0
    for at, expert in enumerate(stream):
        earlier = [n for n in range(at) if stream[n] == expert]
        hits += bool(earlier) and len(set(stream[earlier[-1] + 1 : at])) < size
    assert lru_hits(ids, size) == pytest.approx(hits / len(stream))
    if size >= 6:
        assert lfu_hits(ids, size) == pytest.approx(1 - len(set(stream)) / len(stream))


def test_least_frequently_used_keeps_the_frequent_one() -> None:
    ids = np.array([[0], [0], [1], [2], [0], [1], [2]])
    # Held after each: 0 · 0 · 01 · 02 (1 was used once, 2 is newer) · 02 · 1 for 2 (2 once, 1 twice now) · 2 for 1.
    assert lfu_hits(ids, 2) == pytest.approx(2 / 7)


def test_ranks(store: MemoryStore) -> None:
    try:
        store.passes["rank"][20:] = 1
        report = measure(store, by="rank", keys=["cv", "repetition_any"])
    finally:
        store.passes["rank"] = 0
    assert [(one.layer.place, one.group) for one in report.layers] == [(p, g) for p in range(3) for g in "01"]
    tokens = store.streams["main"]
    for one in report.layers:
        rows = [i for i in seen(store, one.layer.place) if (tokens["pass"][i] >= 20) == (one.group == "1")]
        assert one.tokens == len(rows)
        counts = Counter(e for i in rows for e in chosen(store, one.layer.place, i))
        assert one.slots == sum(counts.values())
        each = [counts[e] for e in range(8)]
        assert one.values["cv"] == pytest.approx(np.std(each) / np.mean(each))
        assert set(one.values) == {"cv", "repetition_any"}


@pytest.fixture
def labelled(store: MemoryStore) -> MemoryStore:
    labels = (Label("code", 0, 15), Label("prose", 15, 40), Label("odd", 30, 90, "main"), Label("code", 38, 40))
    return replace(store, labels=labels)


def rows_labelled(store: MemoryStore, name: str) -> set[int]:
    passes = store.streams["main"]["pass"].tolist()
    covered = {"code": lambda i: passes[i] < 15 or passes[i] >= 38, "prose": lambda i: passes[i] >= 15}
    covered["odd"] = lambda i: 30 <= i < 90
    return {i for i in range(len(passes)) if covered[name](i)}


@pytest.mark.parametrize("rows", [11, 10**6])
def test_labels(labelled: MemoryStore, rows: int) -> None:
    report = measure(labelled, by="domain", rows=rows)
    assert [one.group for one in report.layers] == ["code", "prose", "odd"] * 3
    for one in report.layers:
        expected = [i for i in seen(labelled, one.layer.place) if i in rows_labelled(labelled, one.group)]
        assert one.tokens == len(expected)
        counts = Counter(e for i in expected for e in chosen(labelled, one.layer.place, i))
        each = [counts[e] for e in range(8)]
        assert one.values["gini"] == pytest.approx(METRICS["gini"].of(np.array(each)))


def test_distances_of_labels(labelled: MemoryStore) -> None:
    got = values(labelled)
    shares = {}
    for name in ("code", "prose", "odd"):
        counts: Counter[int] = Counter()
        rows = [i for i in seen(labelled, 1) if i in rows_labelled(labelled, name)]
        for i in rows:
            counts.update(chosen(labelled, 1, i))
        shares[name] = [counts[e] / sum(counts.values()) for e in range(8)]
    pairs = list(combinations(shares.values(), 2))

    def kl(p: list[float], q: list[float]) -> float:
        return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a)

    def distance(p: list[float], q: list[float]) -> float:
        m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        return math.sqrt((kl(p, m) + kl(q, m)) / 2)

    assert got["domain_distance_max"] == pytest.approx(max(distance(p, q) for p, q in pairs))
    assert got["domain_distance_mean"] == pytest.approx(np.mean([distance(p, q) for p, q in pairs]))
    tv = max(sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2 for p, q in pairs)
    assert got["domain_tv_max"] == pytest.approx(tv)
    assert math.isnan(values(replace(labelled, labels=()))["domain_tv_max"])


def test_json_holds_a_convention_for_every_number(store: MemoryStore) -> None:
    report = json.loads(json.dumps(measure(store).to_json(), allow_nan=False))
    keys = {
        "cv",
        "cv_sample",
        "maxvio",
        "gini",
        "entropy_normalized",
        "expert_diversity",
        "kl_uniform",
        "jain",
        "min_max_ratio",
    }
    for layer in report["layers"]:
        assert {"path", "experts", "top_k", "tokens", "metrics"} <= layer.keys()
        assert keys <= layer["metrics"].keys()
        assert layer["metrics"].keys() == MEANINGS.keys()
        for key, metric in layer["metrics"].items():
            assert metric["convention"] == MEANINGS[key].convention


def test_a_store_without_tokens_has_no_numbers() -> None:
    empty = memory_store(passes=1, tokens=1, padding=1.0)
    for one in measure(empty).layers:
        assert one.tokens == 0
        assert math.isnan(one.values["cv"])


def test_an_unknown_key_is_named(store: MemoryStore) -> None:
    with pytest.raises(MoedeskError, match="no metric 'speed'; there are cv,"):
        measure(store, keys=["speed"])
