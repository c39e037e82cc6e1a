"""What the Network panel shows, against plain loops over the store's columns."""

import csv
import io
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import moedesk
from moedesk.core.filter import parse
from moedesk.core.selection import Kind, Selection
from moedesk.core.visible import visible_text
from moedesk.panels.network import model_copy, model_passes, model_search, model_tokens
from moedesk.panels.network.model_copy import Subject, as_csv, as_json, as_python, extract
from moedesk.panels.network.model_layout import lay_out
from moedesk.panels.network.model_numbers import read_numbers
from moedesk.panels.network.model_passes import column, read_rows, runs, sort_keys
from moedesk.panels.network.model_search import block_step, find, found_blocks
from moedesk.panels.network.model_tokens import Question, read_page, shares
from moedesk.session.jobs import Cancelled, Ticket
from moedesk.ui.token_layout import cells
from tests.support.memory_store import MemoryStore, memory_store


@pytest.fixture
def store() -> MemoryStore:
    return memory_store(passes=20, layers=3, experts=8)


def events_of(store: MemoryStore):
    """Every (token row, layer) that is an event, one by one."""
    for row, token in enumerate(store.streams["main"]):
        if not token["is_padding"]:
            for layer in range(len(store.layers)):
                yield row, int(token["pass"]), layer


def test_runs_of_numbers():
    assert list(runs([3, 4, 5, 9, 8, 2, 3])) == [(3, 6), (9, 10), (8, 9), (2, 4)]
    assert list(runs([])) == []


def test_rows_say_what_the_columns_hold(store):
    numbers = [4, 5, 6, 0, 11]
    rows = read_rows(store, numbers)
    assert rows.header["id"].tolist() == numbers
    for place, number in enumerate(numbers):
        entropies = [store.layers[layer].entropy[row] for row, at, layer in events_of(store) if at == number]
        assert rows.entropy[place] == pytest.approx(np.mean(entropies), rel=1e-5)
        violations, deviations = [], []
        for layer in range(3):
            counts = store.counts(layer, "pass")[number].tolist()
            mean = sum(counts) / len(counts)
            violations.append(max(counts) / mean - 1)
            deviations.append((sum((count - mean) ** 2 for count in counts) / len(counts)) ** 0.5 / mean)
        assert rows.max_violation[place] == pytest.approx(np.mean(violations), rel=1e-5)
        assert rows.cv[place] == pytest.approx(np.mean(deviations), rel=1e-5)


def test_pass_counts_do_without_blocks_of_one_pass(store, monkeypatch):
    expected = model_passes.pass_counts(store, 3, 9)
    coarse = store.load_blocks(3, 9, 2)
    monkeypatch.setattr(MemoryStore, "load_blocks", lambda *_: coarse)
    for exact, blocks in zip(model_passes.pass_counts(store, 3, 9), expected, strict=True):
        assert np.array_equal(exact, blocks)


@pytest.mark.parametrize("key", ["time", "tokens", "entropy", "max_violation", "phase"])
@pytest.mark.parametrize("descending", [False, True])
def test_sorting(store, key, descending):
    numbers = [7, 3, 12, 0, 5, 19]
    values = column(key).value(read_rows(store, numbers)).astype(float).tolist()
    expected = [
        number for _, number in sorted(zip(values, numbers, strict=True), key=lambda pair: pair[0], reverse=descending)
    ]
    result = sort_keys(store, np.array(numbers), column(key), Ticket()).order(descending).tolist()
    by_number = dict(zip(numbers, values, strict=True))
    assert [by_number[number] for number in result] == [by_number[number] for number in expected]
    assert sorted(result) == sorted(numbers)


def test_sorting_stops_when_nobody_waits(store):
    ticket = Ticket()
    ticket.cancel()
    with pytest.raises(Cancelled):
        sort_keys(store, range(20), column("time"), ticket)


def test_durations():
    assert [model_passes.duration_text(ns) for ns in (0, 1_500, 12_345_678, 3_000_000_000, 123_456_000_000)] == [
        "0",
        "1.50 µs",
        "12.3 ms",
        "3.00 s",
        "123 s",
    ]


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("expert:3", lambda s, row, number, layer: 3 in s.layers[layer].experts[row]),
        ("layer:1 entropy>1.5", lambda s, row, number, layer: layer == 1 and s.layers[1].entropy[row] > 1.5),
        ("phase:decode", lambda s, row, number, layer: s.passes["phase"][number] == 1),
        ("is:dropped", lambda s, row, number, layer: s.layers[layer].flags[row] & 1),
        ("pass:99", lambda s, row, number, layer: False),
    ],
)
def test_search_finds_what_a_loop_finds(store, text, keep):
    found = find(store, parse(text), Ticket())
    expected = [event for event in events_of(store) if keep(store, *event)]
    assert found.passes.tolist() == sorted({number for _, number, _ in expected})
    assert found.events.tolist() == [sum(at == number for _, at, _ in expected) for number in found.passes.tolist()]
    assert found.total == len(expected)
    assert found.out_of == len(list(events_of(store)))


def test_found_slots_lie_in_their_blocks(store, monkeypatch):
    monkeypatch.setattr(model_search, "BLOCKS", 6)
    found = find(store, parse("expert:3 layer:0..1"), Ticket())
    assert len(found.blocks.counts) == 5
    expected = np.zeros_like(found.blocks.counts)
    for row, number, layer in events_of(store):
        if layer < 2 and 3 in store.layers[layer].experts[row]:
            expected[np.searchsorted(found.blocks.edges, number, side="right") - 1, layer * 8 + 3] += 1
    assert np.array_equal(found.blocks.counts, expected)
    part, totals = found_blocks(found, 5, 9)
    for place, (first, last) in enumerate(((4, 8), (8, 12))):
        assert totals[place].tolist() == [int(counts.sum()) for counts in store.window_counts(first, last)]
    assert part.edges.tolist() == [4, 8, 12]
    assert np.array_equal(part.counts, expected[1:3])


def test_blocks_stay_small_for_large_models():
    store = memory_store(passes=40, layers=2, experts=8, tokens=2)
    assert block_step(store.model, 40) == 1
    many = replace(store.model, layers=tuple(replace(store.model.layers[0], experts=512, place=n) for n in range(48)))
    assert 48 * 512 * (100_000 / block_step(many, 100_000)) <= model_search.CELLS


def test_a_page_holds_a_pass(store):
    page = read_page(store, Question(1, (5, 6)), parse(""))
    i, j = store.token_span(5, 6)
    assert page.tokens.first == i
    assert len(page) == j - i
    assert page.matched.all()
    assert page.left_out == ""


def test_a_page_follows_a_token_to_its_pass(store):
    row = store.token_span(10, 11)[0] + 3
    page = read_page(store, Question(1, (0, 1), token=row, follow=True), parse(""))
    assert page.passes == (10, 11)
    assert page.place_of(row) == 3
    assert page.place_of(0) is None


def test_a_long_page_is_cut_around_the_token(store, monkeypatch):
    monkeypatch.setattr(model_tokens, "LIMIT", 10)
    rows = store.n_tokens()
    page = read_page(store, Question(0, (0, 20), token=50), parse(""))
    assert (page.before, len(page), page.after) == (45, 10, rows - 55)
    assert "45–54" in page.left_out
    assert read_page(store, Question(0, (0, 20)), parse("")).before == 0
    assert read_page(store, Question(0, (0, 20), from_end=True), parse("")).after == 0


def test_a_page_marks_what_matches(store):
    page = read_page(store, Question(2, (0, 1)), parse("expert:2"))
    for place, row in enumerate(range(*store.token_span(0, 1))):
        expected = 2 in store.layers[2].experts[row] and not store.streams["main"]["is_padding"][row]
        assert page.matched[place] == expected


def test_shares_of_first_choices(store):
    page = read_page(store, Question(0, (0, 1)), parse(""))
    first = []
    for row in range(*store.token_span(0, 1)):
        if not store.streams["main"]["is_padding"][row]:
            best = max(range(2), key=lambda slot: store.layers[0].weights[row, slot])
            first.append(int(store.layers[0].experts[row, best]))
    for expert, share in shares(page):
        assert share == pytest.approx(first.count(expert) / len(first))
    assert sum(share for _, share in shares(page)) == pytest.approx(1)


def test_weight_of_an_expert(store):
    page = read_page(store, Question(0, (0, 1)), parse(""))
    values = model_tokens.color_values(page, "weight", 1)
    for place, row in enumerate(range(*store.token_span(0, 1))):
        slots = np.flatnonzero(store.layers[0].experts[row] == 1)
        assert values[place] == pytest.approx(store.layers[0].weights[row, slots].sum())


@pytest.mark.parametrize("columns", [8, 13, 40, 200])
@pytest.mark.parametrize("hide", [False, True])
def test_the_layout_keeps_every_character(store, columns, hide):
    page = read_page(store, Question(0, (0, 5)), parse(""))
    layout = lay_out(page, columns, hide)
    laid = {}
    for part in layout.fragments:
        assert part.column + part.width <= layout.columns
        assert part.line < layout.lines
        laid[part.place] = laid.get(part.place, "") + part.text
    padding = page.tokens.tokens["is_padding"]
    wanted = [place for place in page.order.tolist() if not (hide and padding[place])]
    assert list(laid) == wanted
    for place in wanted:
        assert laid[place] == visible_text(page.tokens.texts[place])
    order = [(part.line, part.column) for part in layout.fragments]
    assert order == sorted(order)
    assert len(set(order)) == len(order)
    sequences = page.tokens.tokens["sequence"][wanted]
    assert len(layout.headings) == len(set(sequences.tolist()))


def test_a_line_break_ends_the_line(store):
    page = read_page(store, Question(0, (0, 5)), parse(""))
    parts = lay_out(page, 500, False).fragments
    for part, following in pairwise(parts):
        same_sequence = page.tokens.tokens["sequence"][part.place] == page.tokens.tokens["sequence"][following.place]
        if same_sequence:
            assert (following.line > part.line) == part.text.endswith("↵")


def test_points_find_their_token(store):
    layout = lay_out(read_page(store, Question(0, (0, 2)), parse("")), 30, False)
    for part in layout.fragments:
        assert layout.at(part.line, part.column + part.width / 2) == part.place
    assert layout.at(layout.lines + 5, 1) is None
    assert layout.at(layout.fragments[0].line, 29.9) is None or layout.fragments[0].width >= 29


def test_wide_and_combining_characters():
    assert [cells(text) for text in ("ab", "日本", "e\u0301", "")] == [2, 4, 1, 0]


def test_control_characters_are_shown():
    assert visible_text(" a\n\t\r\x00\x1b") == "·a↵→␍␀␛"


def test_numbers_of_a_pass(store):
    numbers = read_numbers(store, 5)
    fields = dict(numbers.header)
    assert fields["Phase"] == "prefill"
    assert fields["Token rows"].startswith("24")
    for layer in numbers.layers:
        counts = store.counts(layer.layer, "pass")[5]
        assert (layer.slots, layer.used, layer.busiest) == (counts.sum(), (counts > 0).sum(), counts.argmax())
        assert layer.metrics[0] == pytest.approx(counts.max() / counts.mean() - 1)
        assert layer.metrics[1] == pytest.approx(counts.std() / counts.mean())
        share = counts[counts > 0] / counts.sum()
        assert layer.metrics[2] == pytest.approx(-(share * np.log(share)).sum() / np.log(8))


SUBJECTS = [
    Subject(Selection(Kind.TOKEN, pass_id=0, layer=1, token=7), 1, (0, 20)),
    Subject(Selection(Kind.PASS, pass_id=5), 2, (0, 20)),
    Subject(Selection(Kind.EXPERT, layer=1, expert=3), 1, (4, 9)),
    Subject(Selection(Kind.LAYER, layer=2), 2, (4, 9)),
]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_python_reads_what_was_copied(store, subject, monkeypatch):
    monkeypatch.setattr(moedesk, "open", lambda path: store, raising=False)
    names: dict = {}
    exec(as_python(store, None, subject), names)
    table = extract(store, subject)
    column_of = {name: [row[place] for row in table.rows] for place, name in enumerate(table.columns)}
    match subject.selection.kind:
        case Kind.TOKEN:
            flat = np.concatenate([names["experts"][layer.path] for layer in store.model.layers])
            assert flat.tolist() == column_of["expert"]
        case Kind.PASS:
            assert names["experts"].ravel().tolist() == column_of["expert"]
            assert names["weights"].ravel().tolist() == pytest.approx(column_of["weight"])
            assert names["text"] == store.text(*store.token_span(5, 6))
        case Kind.EXPERT:
            assert names["slots"].tolist() == column_of["slots"]
        case Kind.LAYER:
            assert names["counts"].tolist() == column_of["slots"]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_csv_and_json_hold_the_same_rows(store, subject):
    table = extract(store, subject)
    assert table.rows
    lines = list(csv.reader(io.StringIO(as_csv(table))))
    assert lines[0] == list(table.columns)
    assert [tuple(line) for line in lines[1:]] == [tuple(map(str, row)) for row in table.rows]
    assert [tuple(row.values()) for row in json.loads(as_json(table))] == [tuple(row) for row in table.rows]


def test_long_copies_are_cut_and_say_so(store, monkeypatch):
    monkeypatch.setattr(model_copy, "LIMIT", 5)
    table = extract(store, SUBJECTS[1])
    assert (len(table.rows), table.cut) == (5, True)
    assert model_copy.as_text(table).endswith("…")


def test_json_has_no_nan():
    table = model_copy.Extract("x", ("a",), ((float("nan"),), (1.5,)), False)
    assert json.loads(as_json(table)) == [{"a": None}, {"a": 1.5}]
