"""An expert's share and tokens against counting by hand."""

from collections import Counter, defaultdict
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moedesk.analysis.chunks import Chunks
from moedesk.analysis.experts import expert_share, share_interval, top_tokens
from moedesk.core.columns import RouteFlag
from tests.support.memory_store import memory_store


def test_top_tokens_are_those_counted_by_hand() -> None:
    store = memory_store(passes=40, seed=2)
    store.streams["main"]["token_id"][5] = -1
    store.layers[1].flags[7] = RouteFlag.ABSENT
    store.layers[1].experts[7] = -1
    tokens, experts, weights = store.read_tokens(), store.experts(1), store.weights(1)
    seen, went, given_weight = Counter(), Counter(), defaultdict(list)
    for row, token in enumerate(tokens):
        if token["is_padding"] or token["token_id"] < 0 or row == 7 or not 3 <= token["pass"] < 35:
            continue
        seen[int(token["token_id"])] += 1
        for expert, weight in zip(experts[row], weights[row], strict=True):
            if expert == 2:
                went[int(token["token_id"])] += 1
                given_weight[int(token["token_id"])].append(float(weight))

    result = top_tokens(store, 1, 2, 3, 35, limit=100)
    assert {top.token_id: top.count for top in result.tokens} == went
    assert [top.count for top in result.tokens] == sorted(went.values(), reverse=True)
    for top in result.tokens:
        assert top.share == pytest.approx(went[top.token_id] / seen[top.token_id])
        assert top.mean_weight == pytest.approx(sum(given_weight[top.token_id]) / went[top.token_id])
        assert top.text == store.vocabulary[top.token_id].decode(errors="backslashreplace")
    assert result.seen == sum(went.values())
    assert result.different == len(went)
    assert result.left_out == 0
    assert result.note == ""
    assert top_tokens(store, 1, 2, 3, 35, limit=3).tokens == result.tokens[:3]


def test_a_sample_says_what_it_left_out() -> None:
    store = memory_store(passes=100, seed=2)
    shares = []

    class Ticket:
        def check(self, done: float | None = None) -> None:
            shares.append(done)

    result = top_tokens(store, 0, 0, sample=50, ticket=Ticket())
    assert result.rows + result.left_out == store.n_tokens()
    assert 40 <= result.rows <= 50
    assert result.note == f"From an even sample of {result.rows} of {store.n_tokens()} token rows"
    assert shares == sorted(shares)
    assert shares[-1] == 1


@given(st.integers(0, 500), st.integers(0, 500), st.none() | st.integers(1, 300), st.integers(1, 200))
def test_pieces_cover_all_or_an_even_sample(i, length, limit, rows) -> None:
    chunks = Chunks(i, i + length, limit, rows)
    read = [row for start, stop in chunks.pieces for row in range(start, stop)]
    assert read == sorted(set(read))
    assert all(i <= row < i + length for row in read)
    assert all(0 < stop - start <= rows for start, stop in chunks.pieces)
    assert chunks.left_out == length - len(read)
    if limit is None or length <= limit:
        assert len(read) == length
    else:
        assert 0 < len(read) <= limit


def test_share_of_an_expert() -> None:
    store = memory_store(passes=20, seed=1)
    counts = store.window_counts(5, 15)[1]
    share = expert_share(store, 1, 0, 5, 15)
    assert (share.count, share.slots) == (counts[0], counts.sum())
    assert share.low < share.share < share.high
    assert share.utilization == pytest.approx(counts[0] * 8 / counts.sum())


@pytest.mark.parametrize("total", [30, 400])
@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9])
def test_the_interval_covers_the_true_share_as_often_as_it_says(share: float, total: int) -> None:
    """By the exact binomial distribution; Wilson's interval is right on average, near the ends within a few points."""
    covered = 0.0
    for count in range(total + 1):
        low, high = share_interval(count, total)
        assert 0 <= low <= count / total <= high <= 1
        if low <= share <= high:
            covered += comb(total, count) * share**count * (1 - share) ** (total - count)
    assert covered == pytest.approx(0.95, abs=0.03)


def test_without_data_the_share_can_be_anything() -> None:
    assert share_interval(0, 0) == (0, 1)
