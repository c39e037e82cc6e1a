"""What one expert does, against plain loops over the store's columns."""

from collections import Counter
from math import sqrt

import numpy as np
import pytest

from moedesk.analysis.expert.contexts import contexts
from moedesk.analysis.expert.friends import alike, friends, friendship
from moedesk.analysis.expert.paths import NONE, OTHERS, paths
from moedesk.analysis.expert.repetition import again
from moedesk.analysis.expert.share import share_over_time
from moedesk.analysis.expert.survey import survey
from moedesk.analysis.expert.vocabulary import expert_vocabulary
from moedesk.analysis.experts import share_interval
from moedesk.analysis.token_bytes import whole_characters
from moedesk.core.columns import RouteFlag
from moedesk.core.label import Label
from tests.support.memory_store import MemoryStore, memory_store


@pytest.fixture
def store() -> MemoryStore:
    made = memory_store(passes=40, experts=8, top_k=3, seed=5)
    made.labels = (Label("even", 0, 17), Label("late", 30, 40), Label("rows", 5, 50, "main"))
    made.layers[1].flags[9] = RouteFlag.ABSENT
    made.layers[1].experts[9] = -1
    made.layers[1].experts[20:22, 1] = -1
    return made


def rows_of(store: MemoryStore, layer: int, first: int, last: int) -> list[tuple[int, np.void, set[int]]]:
    """(row, token, its experts) of what counts."""
    found = []
    for row, token in enumerate(store.read_tokens()):
        absent = store.layers[layer].flags[row] & RouteFlag.ABSENT
        if first <= token["pass"] < last and not token["is_padding"] and not absent:
            found.append((row, token, {e for e in store.layers[layer].experts[row].tolist() if e >= 0}))
    return found


def test_share_over_time_is_each_pass_counted(store: MemoryStore) -> None:
    over = share_over_time(store, 1, 4, 3, 33, columns=10)
    by_pass = store.counts(1, "pass")
    assert over.edges[0] == 3
    assert over.edges[-1] == 33
    for block, (first, last) in enumerate(zip(over.edges[:-1], over.edges[1:], strict=True)):
        count, slots = by_pass[first:last, 4].sum(), by_pass[first:last].sum()
        assert (over.counts[block], over.slots[block]) == (count, slots)
        assert (over.low[block], over.high[block]) == pytest.approx(share_interval(int(count), int(slots)))
        assert over.shares[block] == pytest.approx(count / slots)
    assert len(share_over_time(store, 1, 4, 3, 3).counts) == 0


def test_a_survey_in_pieces_counts_what_a_loop_counts(store: MemoryStore) -> None:
    rows = rows_of(store, 1, 3, 36)
    found = survey(store, 1, 3, 36, rows=7)
    assert found.tokens == len(rows)
    assert found.left_out == 0
    for i in range(8):
        assert found.alone[i] == sum(i in experts for _, _, experts in rows)
        for j in range(8):
            assert found.together[i, j] == (sum({i, j} <= experts for _, _, experts in rows) if i != j else 0)
    named = dict(zip(found.labels, found.label_counts, strict=True))
    ours = [experts for row, _, experts in rows if 5 <= row < 50]
    assert named["rows"].tolist() == [sum(e in experts for experts in ours) for e in range(8)]
    early = [experts for _, token, experts in rows if token["pass"] < 17]
    assert named["even"].tolist() == [sum(e in experts for experts in early) for e in range(8)]
    assert found.label_tokens.tolist() == [len(early), sum(t["pass"] >= 30 for _, t, _ in rows), len(ours)]


def test_repetition_counts_neighbours_within_sequences(store: MemoryStore) -> None:
    rows = rows_of(store, 1, 0, 40)
    at = {(int(token["sequence"]), int(token["column"])): experts for _, token, experts in rows}
    pairs = [(experts, at[s, c + 1]) for (s, c), experts in at.items() if (s, c + 1) in at]
    got = survey(store, 1, rows=11).repetition
    assert got["pairs"] == len(pairs)
    for e in range(8):
        assert got["had"][e] == sum(e in before for before, _ in pairs)
        assert got["has"][e] == sum(e in after for _, after in pairs)
        assert got["both"][e] == sum(e in before and e in after for before, after in pairs)


def test_friends_by_each_convention(store: MemoryStore) -> None:
    rows = rows_of(store, 1, 0, 40)
    found, tokens = survey(store, 1), [experts for _, _, experts in rows]
    n = {e: sum(e in experts for experts in tokens) for e in range(8)}
    for convention in ("directed", "lift", "jaccard"):
        expected = {}
        for j in range(8):
            both = sum({2, j} <= experts for experts in tokens)
            value = {
                "directed": both / n[2],
                "lift": both * len(tokens) / (n[2] * n[j]),
                "jaccard": both / (n[2] + n[j] - both),
            }[convention]
            if j != 2 and both and (convention != "lift" or n[2] * n[j] / len(tokens) >= 20):
                expected[j] = value
        got = friends(found, 2, convention)
        assert {friend.expert: friend.value for friend in got} == pytest.approx(expected)
        assert [friend.value for friend in got] == sorted((friend.value for friend in got), reverse=True)
    assert np.isnan(np.diagonal(friendship(found, "jaccard"))).all()
    assert friends(found, 2, "directed", limit=3) == friends(found, 2, "directed")[:3]


def test_alike_is_the_cosine_of_discounted_token_counts(store: MemoryStore) -> None:
    rows = rows_of(store, 1, 0, 40)
    seen = Counter(int(token["token_id"]) for _, token, _ in rows)
    vectors = {
        e: {x: sum(e in experts and token["token_id"] == x for _, token, experts in rows) / sqrt(seen[x]) for x in seen}
        for e in range(8)
    }

    def cosine(i: int, j: int) -> float:
        a, b = vectors[i], vectors[j]
        return sum(a[x] * b[x] for x in a) / sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))

    got = {friend.expert: friend.value for friend in alike(survey(store, 1), 0)}
    assert got == pytest.approx({j: cosine(0, j) for j in range(1, 8) if cosine(0, j) > 0})


def test_a_survey_of_nothing_and_of_a_sample(store: MemoryStore) -> None:
    nothing = survey(store, 1, 4, 4)
    assert nothing.tokens == 0
    assert not nothing.alone.any()
    assert friends(nothing, 0) == ()
    assert alike(nothing, 0) == ()
    some = survey(store, 1, sample=30, rows=10)
    assert some.rows + some.left_out == store.n_tokens()
    assert f"an even sample of {some.rows} of {store.n_tokens()}" in some.sample


def test_contexts_are_the_text_around_in_the_same_sequence(store: MemoryStore) -> None:
    rows = rows_of(store, 1, 0, 40)
    mine = [(row, token) for row, token, experts in rows if 3 in experts]
    weight = {
        row: float(w)
        for row, _ in mine
        for e, w in zip(store.layers[1].experts[row], store.layers[1].weights[row], strict=True)
        if e == 3
    }
    result = contexts(store, 1, 3, limit=1000, around=4)
    assert result.found == len(mine)
    assert [one.row for one in result.contexts] == sorted(weight, key=lambda row: (-weight[row], row))
    tokens = store.read_tokens()
    for one in result.contexts:
        token = tokens[one.row]
        assert one.weight == pytest.approx(weight[one.row])
        near = {
            int(t["column"]): store.vocabulary[int(t["token_id"])]
            for t in tokens
            if t["sequence"] == token["sequence"] and not t["is_padding"]
        }
        here = int(token["column"])
        before = [near[c] for c in range(here - 4, here) if c in near]
        after = [near[c] for c in range(here + 1, here + 5) if c in near]
        whole = b"".join([*before, near[here], *after])
        text = whole.decode(errors="replace")
        shown = one.before + one.token + one.after
        assert shown.strip("�") == text.strip("�")
        own = near[here].decode(errors="ignore")
        assert own in one.token


def test_a_choice_spread_over_the_rows(store: MemoryStore) -> None:
    every = sorted(one.row for one in contexts(store, 1, 3, limit=1000).contexts)
    some = [one.row for one in contexts(store, 1, 3, choice="spread", limit=5).contexts]
    assert some == [every[(2 * place + 1) * len(every) // 10] for place in range(5)]
    assert contexts(store, 1, 3, 5, 5).contexts == ()


def test_a_character_split_over_tokens_is_whole_in_the_mark() -> None:
    text = "aé€b".encode()
    for start in range(len(text)):
        before, middle, after = whole_characters(text[:start], text[start : start + 1], text[start + 1 :])
        assert before + middle + after == text
        for part in (before, middle, after):
            part.decode()  # raises on a piece of a character
        assert text[start : start + 1] in middle


def test_a_byte_that_belongs_to_no_character_stays_alone() -> None:
    assert whole_characters(b"x", b"\xa9", b"y") == (b"x", b"\xa9", b"y")
    assert whole_characters(b"\xc3", b"x", b"\xa9") == (b"\xc3", b"x", b"\xa9")
    assert whole_characters(b"", b"\xc3", b"") == (b"", b"\xc3", b"")


def test_a_split_character_is_shown_whole_and_what_merely_looks_like_one_is_not(store: MemoryStore) -> None:
    tokens = store.streams["main"]
    tokens["is_padding"][:12] = False
    store.vocabulary |= {90: b"\xc3", 91: b"\xa9", 92: rb"\xc3", 93: b"x"}
    tokens["token_id"][:6] = [93, 90, 91, 92, 93, 93]
    store.layers[0].experts[:] = 0
    store.layers[0].experts[[1, 3], 0] = 7
    found = {one.row: one for one in contexts(store, 0, 7, around=3).contexts}
    assert (found[1].before, found[1].token, found[1].after[:5]) == ("x", "é", r"\xc3x")
    assert (found[3].before, found[3].token, found[3].after[:2]) == ("xé", r"\xc3", "xx")
    assert found[1].begins
    assert not found[3].ends


def test_vocabulary_of_an_expert(store: MemoryStore) -> None:
    store.streams["main"]["token_id"][::17] = -1
    rows = [
        (int(token["token_id"]), experts) for _, token, experts in rows_of(store, 1, 0, 40) if token["token_id"] >= 0
    ]
    seen = Counter(x for x, _ in rows)
    by_expert = {e: Counter(x for x, experts in rows if e in experts) for e in range(8)}
    for expert in (0, 7):
        mine = by_expert[expert]
        got = expert_vocabulary(survey(store, 1, rows=13), expert, limit=100)
        assert (got.tokens, got.different) == (sum(mine.values()), len(mine))
        each = [
            mine[x] / seen[x] for x, experts in rows if expert in experts
        ]  # of every token, how much of its id is here
        assert got.specialization == pytest.approx(np.mean(each))
        often = [mine[x] / seen[x] for x, experts in rows if expert in experts and seen[x] >= 10]
        assert got.specialization_often == pytest.approx(np.mean(often))
        assert got.chance == pytest.approx(np.mean([expert in experts for _, experts in rows]))
        for counts, effective in ((mine, got.effective), (seen, got.effective_all)):
            p = np.array(list(counts.values())) / sum(counts.values())
            assert effective == pytest.approx(np.prod(p**-p))
        own = [x for x in mine if seen[x] >= 10 and mine[x] == max(of[x] for of in by_expert.values())]
        assert got.own_ids == len(own)
        assert got.often_ids == sum(n >= 10 for n in seen.values())
        assert {(token.token_id, token.count, token.seen) for token in got.own} == {
            (x, mine[x], seen[x]) for x in mine if seen[x] >= 10
        }
        lows = [share_interval(token.count, token.seen)[0] for token in got.own]
        assert lows == sorted(lows, reverse=True)


def test_again_is_against_the_experts_own_load(store: MemoryStore) -> None:
    sums = survey(store, 1).repetition
    got = again(sums, 2)
    assert got.share == sums["both"][2] / sums["had"][2]
    assert got.chance == sums["has"][2] / sums["pairs"]
    assert (got.low, got.high) == share_interval(int(sums["both"][2]), int(sums["had"][2]))
    assert np.isnan(again(survey(store, 1, 4, 4).repetition, 2).chance)


@pytest.mark.parametrize(("layer", "limit"), [(1, 100), (1, 7), (1, 2), (0, 3), (2, 1)])
def test_paths_are_first_choices_followed_by_hand(store: MemoryStore, layer: int, limit: int) -> None:
    def first(place: int, row: int) -> int:
        slots = [
            (w, -s, e)
            for s, (e, w) in enumerate(
                zip(store.layers[place].experts[row], store.layers[place].weights[row], strict=True)
            )
            if e >= 0
        ]
        return int(max(slots)[2]) if slots else NONE

    rows = [row for row, _, _ in rows_of(store, layer, 2, 38)]
    mine = [row for row in rows if first(layer, row) == 3]
    got = paths(store, layer, 3, 2, 38, reach=1, limit=limit)
    assert (got.tokens, got.seen) == (len(mine), len(rows))
    layers = [place for place in range(3) if abs(place - layer) <= 1]
    assert [column[0].layer for column in got.columns] == layers
    node_of = []
    for place, column in zip(layers, got.columns, strict=True):
        counts = Counter(first(place, row) for row in mine)
        named = [node.expert for node in column if node.expert >= 0]
        ranked = sorted((e for e in counts if e >= 0), key=lambda e: (-counts[e], e))
        assert named == (ranked if len(ranked) <= limit + 1 else ranked[:limit])
        for node in column:
            members = {NONE} if node.expert == NONE else {node.expert} if node.expert >= 0 else set(ranked) - set(named)
            assert node.experts == len(members)
            assert node.tokens == sum(counts[e] for e in members)
            everyone = sum(first(place, row) in members for row in rows)
            assert node.chance == pytest.approx(everyone * len(mine) / len(rows))
        names = [node.expert for node in column]
        node_of.append(lambda e, names=names: names.index(e if e in names else OTHERS))
    flows = Counter(
        (c, node_of[c](first(layers[c], row)), node_of[c + 1](first(layers[c + 1], row)))
        for row in mine
        for c in range(len(layers) - 1)
    )
    assert {(flow.column, flow.source, flow.target): flow.tokens for flow in got.flows} == flows


def test_paths_of_nothing(store: MemoryStore) -> None:
    got = paths(store, 1, 3, 4, 4)
    assert got.tokens == 0
    assert got.flows == ()


def test_the_text_after_a_rejected_draft_is_what_was_drafted() -> None:
    made = memory_store(passes=2, tokens=4, layers=1, padding=0)
    tokens = made.streams["main"]
    tokens["token_id"] = np.arange(len(tokens))
    tokens["sequence"][8:10], tokens["column"][8:10] = (
        0,
        [2, 3],
    )  # the second pass takes columns 2 and 3 of sequence 0 back
    made.vocabulary = {number: b"%d," % number for number in range(len(tokens))}
    made.layers[0].experts[:] = 0
    made.layers[0].experts[[1, 2, 8], 0] = 7
    found = {one.row: one for one in contexts(made, 0, 7, around=4).contexts}
    assert (found[2].before, found[2].after) == ("0,1,", "3,")
    assert (found[8].before, found[8].after) == ("0,1,", "9,")
    assert (found[1].before, found[1].after) == ("0,", "8,9,")


def test_a_single_expert_is_named_rather_than_bundled(store: MemoryStore) -> None:
    whole = paths(store, 1, 3, limit=100)
    most = max(len(column) for column in whole.columns)
    assert paths(store, 1, 3, limit=most - 1) == whole
    assert paths(store, 1, 3, limit=most - 2) != whole
