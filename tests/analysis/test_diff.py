"""The routing difference: numbers against plain loops, alignment of edited and reordered texts, the published example."""

import json
import math
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moedesk.analysis.diff import gather as gathering
from moedesk.analysis.diff import sample as sampling
from moedesk.analysis.diff.align import align
from moedesk.analysis.diff.layer_diff import Rows, Side
from moedesk.analysis.diff.report import diff
from moedesk.analysis.diff.sample import Sample
from moedesk.analysis.diff.sequences import Sequences, read_sequences
from moedesk.core.acted import Acted
from moedesk.core.columns import RouteFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from tests.support.memory_store import MemoryStore, memory_store, spare


def side(experts: list[list[int]], weights: list[list[float]] | None = None) -> Side:
    ids = np.array(experts, np.int8)
    given_weights = np.full(ids.shape, 0.5) if weights is None else np.array(weights)
    return Side(ids, given_weights.astype(np.float32), np.zeros(len(ids), np.float32), np.ones(len(ids), bool))


def test_the_published_example() -> None:
    rows = Rows.of(side([[1, 2]]), side([[2, 3]]))
    assert rows.overlap.tolist() == [0.5]
    assert rows.flip.tolist() == [True]
    assert (rows.overlap / (2 - rows.overlap)).tolist() == [pytest.approx(1 / 3)]


SLOTS = st.lists(st.permutations(range(5)).map(lambda p: list(p[:3])), min_size=1, max_size=8)


@given(SLOTS, st.data())
def test_each_token_by_plain_sets(left: list[list[int]], data: st.DataObject) -> None:
    right = [list(data.draw(st.permutations(range(5)))[:3]) for _ in left]
    drop = data.draw(st.lists(st.booleans(), min_size=len(left), max_size=len(left)))
    left = [[-1, *row[1:]] if dropped else row for row, dropped in zip(left, drop, strict=True)]
    weights = st.floats(0.0625, 1, width=32)
    w = [[data.draw(weights) if e >= 0 else 0.0 for e in row] for row in left]
    v = [[data.draw(weights) for _ in row] for row in right]
    rows = Rows.of(side(left, w), side(right, v))
    for n in range(len(left)):
        a = {e: x for e, x in zip(left[n], w[n], strict=True) if e >= 0}
        b = {e: x for e, x in zip(right[n], v[n], strict=True) if e >= 0}
        assert rows.flip[n] == (a.keys() != b.keys())
        assert rows.overlap[n] == pytest.approx(len(a.keys() & b.keys()) / max(len(a), len(b)))
        assert rows.tv[n] == pytest.approx(
            sum(abs(a.get(e, 0) - b.get(e, 0)) for e in range(5)) / 2, rel=1e-5, abs=1e-7
        )
        agreed = [abs(a[e] - b[e]) / a[e] for e in a.keys() & b.keys()]
        assert rows.agreed_error[n] == pytest.approx(
            np.mean(agreed) if agreed else math.nan, nan_ok=True, rel=1e-4, abs=1e-6
        )
    back = Rows.of(side(right, v), side(left, w))
    assert (rows.flip == back.flip).all()
    assert rows.overlap == pytest.approx(back.overlap)
    assert rows.tv == pytest.approx(back.tv)


def sequences(*texts: list[int], numbers: list[int] | None = None) -> Sequences:
    starts = np.cumsum([0, *map(len, texts)])
    ids = np.array([one for text in texts for one in text], np.int64)
    return Sequences(np.array(numbers or range(len(texts)), np.int64), starts, np.arange(len(ids)), ids)


def shared(a: Sequences, b: Sequences) -> list[tuple[int, int]]:
    aligned = align(a, b)
    assert (a.ids[aligned.a] == b.ids[aligned.b]).all()
    assert aligned.only_a == len(a.ids) - len(aligned.a)
    assert len(set(aligned.a.tolist())) == len(set(aligned.b.tolist())) == len(aligned.a)
    return list(zip(aligned.a.tolist(), aligned.b.tolist(), strict=True))


def test_the_same_texts_in_another_order() -> None:
    x, y = [1, 2, 3, 4, 5], [1, 2, 9, 9]
    assert shared(sequences(x, y), sequences(y, x)) == [
        (0, 4),
        (1, 5),
        (2, 6),
        (3, 7),
        (4, 8),
        (5, 0),
        (6, 1),
        (7, 2),
        (8, 3),
    ]


def test_twice_the_same_text_is_paired_in_order() -> None:
    assert shared(sequences([1, 2], [1, 2]), sequences([1, 2], [1, 2])) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_an_edit_in_the_middle() -> None:
    a, b = [1, 2, 3, 4, 5, 6, 7], [1, 2, 8, 9, 5, 6, 7]
    assert shared(sequences(a), sequences(b)) == [(0, 0), (1, 1), (4, 4), (5, 5), (6, 6)]
    assert shared(sequences(a), sequences([1, 2, 3, 3, 3, 4, 5, 6, 7])) == [
        (n, n if n < 3 else n + 2) for n in range(7)
    ]
    assert align(sequences(a), sequences(b)).edited == 1


def test_a_longer_answer_shares_its_beginning() -> None:
    assert shared(sequences([1, 2, 3, 4], numbers=[7]), sequences([1, 2, 3, 4, 5, 6], numbers=[0])) == [
        (n, n) for n in range(4)
    ]


def test_texts_that_have_nothing_in_common_are_not_compared() -> None:
    assert shared(sequences([1, 2, 3]), sequences([4, 5, 6])) == []


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 3), max_size=30))
def test_an_edited_text_keeps_as_much_as_difflib_finds(a: list[int], b: list[int]) -> None:
    """A common beginning and end never cost more than what lies between them could give."""
    pairs = shared(sequences(a), sequences(b))
    assert pairs == sorted(pairs)
    assert [j for _, j in pairs] == sorted(j for _, j in pairs)
    found = sum(size for _, _, size in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())
    if a and b and found >= 0.3 * min(len(a), len(b)) and len(pairs):
        head = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        assert len(pairs) >= head


def test_sequences_are_put_together_from_prefill_and_decoding() -> None:
    store = memory_store(passes=10, seed=2)
    tokens = store.streams["main"]
    found = read_sequences(store, "main")
    assert len(found) == 4
    for place in range(len(found)):
        rows = [
            i
            for i in range(len(tokens))
            if tokens["sequence"][i] == found.numbers[place] and not tokens["is_padding"][i]
        ]
        rows.sort(key=lambda i: int(tokens["column"][i]))
        assert found.rows_of(place).tolist() == rows


def test_a_slot_that_was_filled_again_counts_once() -> None:
    store = memory_store(passes=2, seed=2, padding=0)
    store.streams["main"]["column"][-2:] = 3
    found = read_sequences(store, "main")
    assert len(found.ids_of(0)) == 12
    assert found.rows_of(0)[3] == len(store.streams["main"]) - 2


def other(store: MemoryStore, seed: int) -> MemoryStore:
    """The same tokens, with some decisions and weights changed."""
    rng = np.random.default_rng(seed)
    layers = []
    for layer in store.layers:
        experts, weights = layer.experts.copy(), layer.weights.copy()
        for i in np.flatnonzero(rng.random(len(experts)) < 0.2):
            free = [e for e in range(8) if e not in experts[i]]
            experts[i, rng.integers(2)] = rng.choice(free)
        layers.append(replace(layer, experts=experts, weights=weights * np.float32(1.001), flags=layer.flags.copy()))
    return replace(store, layers=layers, name="other")


@pytest.mark.parametrize("piece", [13, 1 << 15])
def test_a_whole_difference_by_plain_loops(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "PIECE", piece)
    a = memory_store(passes=30, seed=4)
    b = other(a, 1)
    b.layers[1].flags[2] |= RouteFlag.ABSENT
    found = diff(a, b)
    tokens = a.streams["main"]
    rows = [i for i in range(len(tokens)) if not tokens["is_padding"][i]]
    flips = {
        place: [
            i
            for i in rows
            if not (place == 1 and i == 2) and set(a.layers[place].experts[i]) != set(b.layers[place].experts[i])
        ]
        for place in range(3)
    }
    assert found.tokens_aligned == len(rows)
    assert [layer.flips for layer in found.layers] == [len(flips[place]) for place in range(3)]
    assert [layer.tokens for layer in found.layers] == [len(rows), len(rows) - (not tokens["is_padding"][2]), len(rows)]
    assert found.token_flip_rate == pytest.approx(len(set().union(*flips.values())) / len(rows))
    firsts = [len(set(flips[p]).difference(*(flips[q] for q in range(p)))) for p in range(3)]
    assert list(found.first_divergent.values()) == firsts
    for place, layer in enumerate(found.layers):
        margins = a.layers[place].margin[flips[place]]
        assert layer.median_margin_at_flip == pytest.approx(np.median(margins))
        for counts, one in ((layer.counts_a, a), (layer.counts_b, b)):
            ids = [e for i in rows if not (place == 1 and i == 2) for e in one.layers[place].experts[i].tolist()]
            assert counts.tolist() == [ids.count(e) for e in range(8)]
    answer = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {"verdict", "tokens_aligned", "flip_rate", "token_flip_rate", "layers", "first_divergent"} <= answer.keys()
    assert {"path", "flip_rate", "median_margin_at_flip", "weight_tv"} <= answer["layers"][0].keys()
    back = diff(b, a)
    assert back.flip_rate == pytest.approx(found.flip_rate)
    assert back.weight_tv == pytest.approx(found.weight_tv)


def test_a_capture_is_the_same_as_itself() -> None:
    store = memory_store(passes=10, seed=4)
    found = diff(store, store)
    assert found.judgement.verdict == "same"
    assert found.flip_rate == found.token_flip_rate == found.weight_tv == 0
    assert all(1 - layer.slot_mismatch == 1 for layer in found.layers)


def test_what_ran_under_overrides_is_said() -> None:
    ablate = Override(OverrideKind.ABLATE, (1,), (3,), name="idea")
    warmer = Override(OverrideKind.TEMPERATURE, value=2.0)
    store = memory_store(passes=10, seed=4)
    plain = diff(store, store)
    assert plain.overridden == ""
    assert plain.to_json()["overrides_a"] == plain.to_json()["overrides_b"] == []
    under = replace(store, overrides=(Acted(ablate, ((2, 5),)), Acted(warmer, ((4, 5), (7, 9)))))
    found = diff(store, under)
    alone = "ablate expert 3 in layer 1 (passes 2–4); router temperature 2 in all layers (passes 4, 7–8)"
    assert found.overridden == f"only B ran under overrides: {alone}"
    assert diff(under, store).overridden == f"only A ran under overrides: {alone}"
    assert found.to_json()["overrides_b"][0] == {**ablate.to_json(), "passes": [[2, 5]]}
    some = replace(store, overrides=(Acted(replace(ablate, name=""), ((0, 1),)),))
    both = "both ran under overrides: ablate expert 3 in layer 1 (A pass 0, B passes 2–4)"
    assert diff(some, under).overridden == (
        f"only B ran under overrides: router temperature 2 in all layers (passes 4, 7–8) · {both}"
    )


def test_passes_without_margins_are_said() -> None:
    a, b = memory_store(passes=10, seed=4), other(memory_store(passes=10, seed=4), 1)
    assert (diff(a, b).spared, diff(a, b).left_out) == ("", "")
    for layer in b.layers:
        layer.entropy, layer.margin = layer.entropy.copy(), layer.margin.copy()
    b = replace(b, passes=b.passes.copy())
    spare(b, (2, 3))
    found = diff(a, b)
    assert found.spared.startswith("0 passes of A and 2 of B came too fast for margins")
    assert found.spared in found.to_json()["left_out"]
    tokens = a.streams["main"]
    lacking = np.isin(tokens["pass"], (2, 3)) & ~tokens["is_padding"]
    for layer in found.layers:
        assert layer.margins.total == layer.tokens - np.count_nonzero(lacking)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layers": 2, "path": "other"}, "none of the same path"),
        ({"experts": 16}, "8 experts in memory and 16 in memory"),
        ({"ids": 100}, "no token in common"),
    ],
)
def test_what_cannot_be_compared_is_one_line(changes: dict[str, int], says: str) -> None:
    a = memory_store(passes=4)
    b = memory_store(passes=4, layers=changes.get("layers", 3), experts=changes.get("experts", 8))
    if "path" in changes:
        layers = tuple(replace(layer, path=f"other.{layer.place}") for layer in b.model.layers)
        b.model = replace(b.model, layers=layers)
    b.streams["main"]["token_id"] += changes.get("ids", 0)
    with pytest.raises(MoedeskError, match=says) as caught:
        diff(a, b)
    assert "\n" not in str(caught.value)


def edited(store: MemoryStore, place: int) -> tuple[MemoryStore, list[int]]:
    """The same routing but for one token of the first sequence, and other experts at all tokens after it; those rows."""
    tokens = store.streams["main"].copy()
    real = [i for i in range(len(tokens)) if tokens["sequence"][i] == 0 and not tokens["is_padding"][i]]
    rows = sorted(real, key=lambda i: int(tokens["column"][i]))
    tokens["token_id"][rows[place]] += 100
    layers = [replace(layer, experts=layer.experts.copy()) for layer in store.layers]
    for layer in layers:
        for i in rows[place + 1 :]:
            layer.experts[i] = [e for e in range(8) if e not in layer.experts[i]][:2]
    return replace(store, streams={"main": tokens}, layers=layers), rows


def test_tokens_after_an_edit_count_in_rates_and_not_for_the_verdict() -> None:
    """Another text before a token routes it elsewhere in the very same model."""
    a = memory_store(passes=30, seed=4)
    b, rows = edited(a, 4)
    found = diff(a, b)
    assert found.tokens_aligned == int((~a.streams["main"]["is_padding"]).sum()) - 1
    assert [layer.flips for layer in found.layers] == [len(rows) - 5] * 3
    assert found.judgement.verdict == "same"
    assert "with the same text before it" in found.judgement.reason
    assert f"{len(rows) - 5} tokens come after such a difference" in found.left_out
    alignment = found.streams[0].alignment
    assert alignment.a[~alignment.same_before].tolist() == sorted(rows[5:])


def test_an_edit_at_the_very_beginning_leaves_all_tokens_to_judge_by() -> None:
    a = memory_store(passes=2, tokens=12, seed=4, padding=0)
    tokens = a.streams["main"].copy()
    tokens["token_id"][tokens["column"] == 0] += 100
    b = other(replace(a, streams={"main": tokens}), 1)
    found = diff(a, b)
    assert found.tokens_aligned == len(tokens) - 2
    assert found.judgement.verdict == "logic"


@given(st.lists(st.lists(st.floats(0, 1, width=32), max_size=70), max_size=12))
def test_a_sample_of_parts_keeps_every_nth_number(parts: list[list[float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "LIMIT", 64)
        joined = Sample()
        for part in parts:
            joined = joined + Sample.of(np.array(part))
    whole = [one for part in parts for one in part]
    assert joined.total == len(whole)
    assert len(joined) <= 64
    assert set(joined.values.tolist()) <= set(whole)
    if len(whole) <= 64:
        assert joined.values.tolist() == whole
        assert joined.above(0.5) == sum(one > 0.5 for one in whole)
    else:
        assert len(joined) == pytest.approx(len(whole) / joined.step, abs=len(parts) + 1)


def test_a_sample_of_unequal_parts_is_even() -> None:
    """A part with many flips and one with few count by their numbers."""
    joined = Sample.of(np.zeros(300_000)) + Sample.of(np.ones(100_000))
    assert joined.values.mean() == pytest.approx(0.25, abs=1e-3)
    assert joined.above(0.5) == pytest.approx(100_000, rel=1e-2)
