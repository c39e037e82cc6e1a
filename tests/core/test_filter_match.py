"""What a filter keeps, against a slow evaluation of one event after another."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moedesk.core.columns import PassFlag, Phase, RouteFlag
from moedesk.core.filter import Filter, LayerRows, Match, Term, match, match_passes, parse
from moedesk.core.label import Label, labelled
from tests.support.filters import terms
from tests.support.memory_store import MemoryStore, memory_store


def varied_store() -> MemoryStore:
    """A small store in which every flag, NaN, unknown and dropped slot occurs."""
    store = memory_store(passes=10, tokens=5, layers=3, experts=6, top_k=2, seed=7, padding=0.2)
    rng = np.random.default_rng(7)
    rows = store.n_tokens()
    store.passes["flags"][[3, 5]] = [PassFlag.FAILED, PassFlag.FAILED | PassFlag.TOKENS_UNKNOWN]
    store.passes["phase"][5:7] = [Phase.TRAIN, Phase.EVAL]
    store.streams["main"]["position"][rng.random(rows) < 0.1] = -1
    store.streams["main"]["token_id"][rng.random(rows) < 0.1] = -1
    for columns in store.layers:
        columns.flags[:] = rng.choice([0, 0, 0, 1, 2, 3, 8], rows).astype(np.uint8)
        columns.experts[columns.flags & RouteFlag.DROPPED != 0, 1] = -1
        absent = rng.random(rows) < 0.15
        columns.flags[absent] = RouteFlag.ABSENT
        columns.experts[absent] = -1
        columns.weights[columns.experts < 0] = 0
        columns.weights[columns.flags & RouteFlag.NONFINITE != 0, 0] = np.nan
        columns.entropy[rng.random(rows) < 0.2] = np.nan
        columns.margin[rng.random(rows) < 0.2] = np.nan
    return store


LABELS = (
    Label("code", 0, 4),
    Label("prose", 4, 6),
    Label("odd", 7, 21, "main"),
    Label("odd", 0, 99, "other"),
    Label("two words", 9, 10),
)
STORE = varied_store()
LOADS = [
    np.random.default_rng(layer).choice(np.array([0.5, 1, 2, np.nan], np.float32), STORE.experts(layer).shape)
    for layer in range(3)
]


def evaluate(filter: Filter, layer: int) -> Match:
    passes, tokens = STORE.read_passes(), STORE.read_tokens()
    columns = {"experts": STORE.experts, "weights": STORE.weights, "entropy": STORE.entropy, "margin": STORE.margin}
    read = {name: column(layer) for name, column in columns.items() if name in filter.columns}
    if "loads" in filter.columns:
        read["loads"] = LOADS[layer]
    rows = LayerRows(STORE.model.layers[layer], STORE.flags(layer), **read)
    return match(
        filter, rows, tokens, passes, STORE.token_text, lambda name: labelled(LABELS, name, "main", 0, tokens["pass"])
    )


# The slow evaluation: from the language's description, one term and one event at a time, on plain Python values.


def inside(value, numbers, dtype=None) -> bool:
    for one in numbers.intervals:
        low, high = one.low, one.high
        if dtype is not None:  # a typed number means the nearest one a column can hold
            low, high = (None if end is None else dtype(end) for end in (low, high))
        if low is not None and not (value > low or (value == low and not one.low_open)):
            continue
        if high is not None and not (value < high or (value == high and not one.high_open)):
            continue
        if value == value:
            return True
    return False


def text_is(text: str, pattern) -> bool:
    return {
        "stripped": text.strip() == pattern.text,
        "exact": text == pattern.text,
        "contains": pattern.text.lower() in text.lower(),
        "regex": pattern.kind == "regex" and bool(re.search(pattern.text, text)),
    }[pattern.kind]


def flag_is(name: str, row: int, layer: int) -> bool:
    token = STORE.read_tokens()[row]
    flags = RouteFlag(int(STORE.flags(layer)[row]))
    header = PassFlag(int(STORE.read_passes()[token["pass"]]["flags"]))
    return {
        "padding": bool(token["is_padding"]),
        "dropped": RouteFlag.DROPPED in flags,
        "overridden": RouteFlag.OVERRIDDEN in flags,
        "absent": RouteFlag.ABSENT in flags,
        "nonfinite": RouteFlag.NONFINITE in flags,
        "failed": PassFlag.FAILED in header,
        "countsonly": PassFlag.COUNTS_ONLY in header,
        "rewound": PassFlag.REWOUND in header,
        "spared": PassFlag.SPARED in header,
    }[name]


def holds(term: Term, row: int, layer: int) -> bool:
    """Whether a term that isn't about slots holds, its negation aside."""
    token = STORE.read_tokens()[row]
    match term.key:
        case "layer" if hasattr(term.value, "names"):
            path = STORE.model.layers[layer].path
            return any(f"{path}.".startswith(f"{name}.") for name in term.value.names)
        case "layer":
            return inside(layer, term.value)
        case "pass":
            return inside(int(token["pass"]), term.value)
        case "phase":
            phase = ["prefill", "decode", "train", "eval"][STORE.read_passes()[token["pass"]]["phase"]]
            return phase in term.value.names
        case "is":
            return any(flag_is(name, row, layer) for name in term.value.names)
        case "token":
            return token["token_id"] >= 0 and text_is(STORE.token_text([token["token_id"]])[0], term.value)
        case "id" | "sequence" | "position":
            value = int(token["token_id" if term.key == "id" else term.key])
            return value >= 0 and inside(value, term.value)
        case "label":
            spans = [(label, row if label.stream else token["pass"]) for label in LABELS if label.stream != "other"]
            return any(label.name in term.value.names and label.first <= at < label.last for label, at in spans)
        case "entropy":
            return inside(STORE.entropy(layer)[row], term.value, np.float32)
        case "margin":
            return inside(STORE.margin(layer)[row], term.value, np.float32)
    raise AssertionError(term.key)


def slot_holds(term: Term, expert: int, weight: float, load: float) -> bool:
    if expert < 0:
        return False
    if term.key == "expert":
        return inside(expert, term.value)
    return inside(weight if term.key == "weight" else load, term.value, np.float32)


def slow_match(filter: Filter, row: int, layer: int) -> tuple[bool, list[bool]]:
    """Whether an event matches, and which of its slots to point out."""
    columns = STORE.experts(layer)[row].tolist(), STORE.weights(layer)[row], LOADS[layer][row]
    slots = list(zip(*columns, strict=True))
    filled = [expert >= 0 for expert, _, _ in slots]
    if not filter.terms:
        return True, filled
    nothing = [False] * len(slots)
    for flag in ("padding", "absent"):
        named = any(term.key == "is" and flag in term.value.names for term in filter.terms)
        if flag_is(flag, row, layer) and not named:
            return False, nothing
    slot_terms = [term for term in filter.terms if term.key in ("expert", "weight", "load")]
    for term in filter.terms:
        if term not in slot_terms and holds(term, row, layer) == term.negated:
            return False, nothing
        if term in slot_terms and term.negated and any(slot_holds(term, *slot) for slot in slots):
            return False, nothing
    experts = [term for term in slot_terms if term.key == "expert" and not term.negated]
    weights = [term for term in slot_terms if term.key != "expert" and not term.negated]
    if not experts and not weights:
        return True, filled
    shown = [False] * len(slots)
    for choice in experts or [None]:
        good = [
            slot[0] >= 0
            and (choice is None or slot_holds(choice, *slot))
            and all(slot_holds(term, *slot) for term in weights)
            for slot in slots
        ]
        if not any(good):
            return False, nothing
        shown = [a or b for a, b in zip(shown, good, strict=True)]
    return True, shown


def compare(filter: Filter) -> int:
    """Compare every event; return how many match."""
    found = 0
    for layer in range(3):
        result = evaluate(filter, layer)
        for row in range(STORE.n_tokens()):
            kept, shown = slow_match(filter, row, layer)
            assert bool(result.rows[row]) == kept, (filter.to_text(), layer, row)
            if result.slots is not None:
                assert result.slots[row].tolist() == shown, (filter.to_text(), layer, row)
            found += kept
    return found


@settings(max_examples=60)
@given(st.lists(terms(limit=12), max_size=4))
def test_any_filter_keeps_what_the_slow_evaluation_keeps(several: list[Term]) -> None:
    compare(Filter("x", tuple(several)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "expert:3",
        "-expert:0",
        "expert:0 weight>0.5",
        "expert:0 expert:1",
        "expert:0 -weight>0.5",
        "weight>0.6",
        "-weight>0.6 expert:0,2..3",
        "entropy>1.2",
        "-entropy>1.2",
        "margin<0.1 phase:decode",
        "layer:1 is:dropped",
        "layer:model.layers.2 is:nonfinite",
        "-layer:model.layers.2",
        "is:padding",
        "-is:padding",
        "is:absent",
        "is:dropped,padding",
        "is:dropped,failed",
        "is:failed expert:1",
        "is:overridden -is:dropped",
        "token:def",
        'token:" def"',
        "token:/^ r/",
        "router",
        "-the",
        "-⟨",  # unknown ids have no text, so none contains this
        "id:3",
        "position<3",
        "-position<3",
        "sequence:1 pass:0..4",
        "phase:train,eval",
        "label:code",
        "label:odd,prose expert:3",
        "-label:code",
        'label:"two words"',
    ],
)
def test_filters_that_keep_something(text: str) -> None:
    assert compare(parse(text)) > 0


def test_a_filter_and_its_opposite_share_out_the_events() -> None:
    """Padding and absent rows, no events, belong to neither."""
    for text in ("entropy>1.2", "expert:3", "token:the", "phase:decode", "is:dropped", "position<3"):
        for layer in range(3):
            kept = evaluate(parse(text), layer).rows
            opposite = evaluate(parse(f"-{text}"), layer).rows
            events = ~STORE.read_tokens()["is_padding"] & (STORE.flags(layer) & RouteFlag.ABSENT == 0)
            assert not (kept & opposite).any()
            assert np.array_equal(kept | opposite, events)


def test_events_of_an_expert_add_up_to_its_count() -> None:
    for layer in range(3):
        for expert in range(6):
            slots = evaluate(parse(f"expert:{expert}"), layer).slots
            assert slots is not None
            assert slots.sum() == STORE.counts(layer)[expert]


def test_passes_alone() -> None:
    passes = STORE.read_passes()
    assert match_passes(parse("is:failed"), passes).nonzero()[0].tolist() == [3, 5]
    assert match_passes(parse("-phase:decode expert:3"), passes).nonzero()[0].tolist() == [0, 5, 6]
    assert match_passes(parse("pass:2..4 -is:failed"), passes[1:]).nonzero()[0].tolist() == [1, 3]


def test_a_window_of_passes_is_found_by_number() -> None:
    i, j = STORE.token_span(3, 7)
    some = LayerRows(STORE.model.layers[0], STORE.flags(0, i, j))
    found = match(
        parse("pass:4 is:failed,padding,dropped"), some, STORE.read_tokens(i, j), STORE.read_passes(3, 7), str
    )
    assert np.array_equal(found.rows, evaluate(parse("pass:4 is:failed,padding,dropped"), 0).rows[i:j])


def test_a_column_that_was_not_read_is_an_error() -> None:
    rows = LayerRows(STORE.model.layers[0], STORE.flags(0))
    with pytest.raises(ValueError, match="needs entropy"):
        match(parse("entropy>1"), rows, STORE.read_tokens(), STORE.read_passes(), STORE.token_text)


def test_a_filter_names_what_it_reads() -> None:
    assert parse("layer:3 phase:decode id:5").columns == {"flags"}
    assert parse("expert:3 -entropy>2 word").columns == {"flags", "experts", "entropy", "texts"}
    assert parse("weight>2 margin<1").columns == {"flags", "experts", "weights", "margin"}
    assert parse("load>2").columns == {"flags", "experts", "loads"}
    assert parse("pass:3 is:failed -phase:eval").asks_passes_only
    assert not parse("pass:3 is:failed,padding").asks_passes_only
