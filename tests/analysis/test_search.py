"""Searches against every event looked at by itself."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from moedesk.analysis import pass_load, search
from moedesk.analysis.search import matching_passes, matching_tokens
from moedesk.analysis.unsearched import Unsearched
from moedesk.core.columns import PassFlag, RouteFlag
from moedesk.core.filter import LayerRows, match, parse
from tests.support.memory_store import memory_store, spare


class Ticket:
    def __init__(self) -> None:
        self.shares: list[float] = []

    def check(self, done: float | None = None) -> None:
        if done is not None:
            self.shares.append(done)


@pytest.fixture
def store():
    """Two token streams, a pass with counts only, absent rows."""
    store = memory_store(passes=30, layers=3, experts=8, top_k=2, seed=4)
    layers = store.model.layers
    store.model = replace(store.model, layers=(*layers[:2], replace(layers[2], stream="encoder")))
    store.streams["encoder"], store.spans["encoder"] = store.streams["main"].copy(), store.spans["main"]
    store.passes["flags"][4] = PassFlag.FAILED
    store.layers[0].flags[10:14] = RouteFlag.ABSENT
    store.layers[0].experts[10:14] = -1
    return store


def slow_loads(store, layer, tokens) -> np.ndarray:
    """Slots of each slot's expert in its pass, as a multiple of all slots of the pass ÷ E: one after another."""
    experts, counts = store.experts(layer), store.counts(layer, by="pass")
    loads = np.full(experts.shape, np.nan, np.float32)
    for row, slot in np.argwhere(experts >= 0):
        of_pass = counts[tokens["pass"][row]]
        loads[row, slot] = of_pass[experts[row, slot]] * layer.experts / of_pass.sum()
    return loads


def slow(store, text: str, first: int, last: int):
    """Events per pass, tokens per pass, slots per layer, from whole columns."""
    events, tokens = np.zeros(last - first, int), np.zeros(last - first, int)
    slots = [np.zeros(layer.experts, int) for layer in store.model.layers]
    rows_hit = {stream: np.zeros(store.n_tokens(stream), bool) for stream in store.streams}
    for layer in store.model.layers:
        everything = store.read_tokens(stream=layer.stream)
        rows = LayerRows(
            layer,
            store.flags(layer),
            store.experts(layer),
            store.weights(layer),
            store.entropy(layer),
            store.margin(layer),
            slow_loads(store, layer, everything),
        )
        found = match(parse(text), rows, everything, store.read_passes(), store.token_text)
        for row in np.flatnonzero(found.rows):
            number = everything["pass"][row]
            if first <= number < last:
                events[number - first] += 1
                rows_hit[layer.stream][row] = True
                for slot in np.flatnonzero(found.slots[row]):
                    slots[layer.place][store.experts(layer)[row, slot]] += 1
    for stream, hit in rows_hit.items():
        for number in store.read_tokens(stream=stream)["pass"][hit]:
            tokens[number - first] += 1
    return events, tokens, slots


@pytest.mark.parametrize("window", [(0, 30), (7, 19), (5, 6)])
@pytest.mark.parametrize(
    "text",
    [
        "expert:3",
        "expert:3 margin<0.1",
        "layer:1 -expert:0",
        "layer:2",
        "token:/^ /",
        "phase:decode weight>0.6",
        "load>1.5",
        "expert:3 load<=1 weight>0.4",
        "-load>1",
        "pass:8..9 entropy>0.5",
        "is:padding",
        "is:absent",
        "id:99",
        "",
    ],
)
def test_matches_are_those_found_one_by_one(store, monkeypatch, text, window) -> None:
    monkeypatch.setattr(search, "ROWS", 7)  # many pieces, cut anywhere
    monkeypatch.setattr(search, "PASSES", 4)
    ticket = Ticket()
    found = matching_passes(store, parse(text), *window, ticket)
    events, tokens, slots = slow(store, text, *window)
    assert found.events.tolist() == events.tolist()
    assert found.tokens.tolist() == tokens.tolist()
    assert [one.tolist() for one in found.slots] == [one.tolist() for one in slots]
    assert found.layer_events.sum() == events.sum()
    if text:
        assert found.numbers.tolist() == (np.flatnonzero(events) + window[0]).tolist()
    else:
        assert found.numbers.tolist() == list(range(*window))
    assert ticket.shares == sorted(ticket.shares)
    assert all(0 <= share <= 1 for share in ticket.shares)


def test_all_events_of_a_layer_are_its_counts(store) -> None:
    found = matching_passes(store, parse("layer:0..2"))
    for layer in store.model.layers:
        assert np.array_equal(found.slots[layer.place], store.counts(layer))


def test_a_filter_about_passes_finds_those_without_tokens_too(store) -> None:
    store.passes["flags"][6] = PassFlag.COUNTS_ONLY
    assert matching_passes(store, parse("is:countsonly")).numbers.tolist() == [6]
    assert matching_passes(store, parse("is:failed")).numbers.tolist() == [4]
    found = matching_passes(store, parse("expert:0..7"))
    assert found.unsearched == Unsearched(counts_only=1)
    assert found.unsearched.note.startswith("1 pass kept counts only")
    assert matching_passes(store, parse("pass:7.. expert:0")).unsearched.note == ""


def unjudged(store, text: str, layer: int, row: int) -> bool:
    """Whether some value in the place of each unknown one would let the event match, though as they are it doesn't."""
    tokens = store.read_tokens(row, row + 1, store.model.layers[layer].stream)
    known = [column(layer, row, row + 1) for column in (store.entropy, store.margin)]
    rows = LayerRows(
        store.model.layers[layer], store.flags(layer, row, row + 1), store.experts(layer, row, row + 1),
        store.weights(layer, row, row + 1), *known,
    )  # fmt: skip
    tried = [
        match(parse(text), replace(rows, entropy=entropy, margin=margin), tokens, store.read_passes(), store.token_text)
        for entropy, margin in product(*(_values(column) for column in known))
    ]
    as_it_is = match(parse(text), rows, tokens, store.read_passes(), store.token_text)
    return any(one.rows[0] for one in tried) and not as_it_is.rows[0]


def _values(known: np.ndarray) -> list[np.ndarray]:
    return [np.full(1, value, np.float32) for value in (0, 0.05, 0.5, 1, 2, 6)] if np.isnan(known[0]) else [known]


@pytest.mark.parametrize(
    "text",
    [
        "margin<0.1",
        "entropy>1 margin<0.1",
        "entropy>5 margin<0.1",
        "expert:3 margin<0.1",
        "layer:0..1 -expert:0 entropy:0..0.7",
        "-margin<0.1",
        "margin<0.1 -margin>0.4 phase:decode",
        "margin<0.1 -is:spared",
        "expert:3",
    ],
)
def test_passes_that_cannot_be_judged_are_counted(store, monkeypatch, text) -> None:
    """Spared passes, which have neither number, and a layer whose margins are not known in some passes."""
    monkeypatch.setattr(search, "ROWS", 7)
    monkeypatch.setattr(search, "PASSES", 4)
    tokens = store.read_tokens()
    spare(store, [8, 9, 21])
    store.layers[0].margin[10:14] = np.nan  # absent
    store.layers[1].margin[np.isin(tokens["pass"], [12, 13])] = np.nan
    found = matching_passes(store, parse(text))
    expected = {
        int(tokens["pass"][row])
        for layer in store.model.layers
        for row in range(store.n_tokens(layer.stream))
        if unjudged(store, text, layer.place, row)
    }
    assert np.flatnonzero(found.unjudged).tolist() == sorted(expected)
    assert found.unsearched.unjudged == len(expected)
    assert found.unsearched.spared == len(expected & {8, 9, 21})
    assert bool(found.unsearched.note) == bool(expected)


def test_what_could_not_be_judged_is_said() -> None:
    assert Unsearched(0, 3, 3, ("margin",)).note == "3 passes without margins are left out (is:spared)"
    assert (
        Unsearched(0, 1, 1, ("entropy", "margin")).note == "1 pass without entropies or margins is left out (is:spared)"
    )
    some = "5 passes without margins, of some tokens at least, are left out there"
    assert Unsearched(0, 5, 2, ("margin",)).note == f"{some} (2 of them is:spared)"
    assert (Unsearched(2) + Unsearched(1, 5, 0, ("margin",))).note.endswith(f"; {some}")


def test_spared_passes_are_found(store) -> None:
    spare(store, [8, 21])
    assert matching_passes(store, parse("is:spared")).numbers.tolist() == [8, 21]
    assert matching_passes(store, parse("is:spared,failed")).numbers.tolist() == [4, 8, 21]


def test_loads_are_the_same_however_they_are_read(store, monkeypatch) -> None:
    """Few passes at once, none remembered, and from a store whose blocks hold several passes."""
    filter = parse("load>1.2")
    expected = matching_passes(store, filter).events
    assert expected.any()
    monkeypatch.setattr(pass_load, "PASSES", 4)
    np.testing.assert_array_equal(matching_passes(store, filter).events, expected)
    monkeypatch.setattr(pass_load, "CELLS", 1)
    np.testing.assert_array_equal(matching_passes(store, filter).events, expected)
    blocks = store.load_blocks
    store.load_blocks = lambda first, last, columns: blocks(first, last, 1)
    np.testing.assert_array_equal(matching_passes(store, filter).events, expected)


def test_what_a_filter_rules_out_is_not_read(store) -> None:
    read = []
    for name in ("experts", "weights", "entropy", "margin", "flags"):
        original = getattr(store, name)

        def spy(layer, i=0, j=None, name=name, original=original):
            read.append((name, layer.place, i, j))
            return original(layer, i, j)

        setattr(store, name, spy)
    matching_passes(store, parse("pass:8 layer:1 entropy>0"))
    span = store.token_span(8, 9)
    assert {(name, layer) for name, layer, _, _ in read} == {("flags", 1), ("experts", 1), ("entropy", 1)}
    assert all(span[0] <= i < j <= span[1] for _, _, i, j in read)


def test_a_cancelled_search_stops(store) -> None:
    class Cancelled(Exception):  # noqa: N818 - as session.jobs names it
        pass

    class Stop:
        def check(self, done: float | None = None) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        matching_passes(store, parse("expert:0"), ticket=Stop())


def test_tokens_of_one_layer(store) -> None:
    found = matching_tokens(store, parse("expert:2 phase:prefill"), 1, 5, 60)
    tokens, experts = store.read_tokens(5, 60), store.experts(1, 5, 60)
    for row in range(55):
        prefill = tokens["pass"][row] % 5 == 0
        expected = prefill and not tokens["is_padding"][row] and 2 in experts[row].tolist()
        assert found.rows[row] == expected
        assert found.slots[row].tolist() == [expected and expert == 2 for expert in experts[row].tolist()]
    assert matching_tokens(store, parse("expert:2"), 1, 5, 5).slots.shape == (0, 2)
