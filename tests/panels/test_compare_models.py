"""What the Compare panel draws, without a window: against plain loops, and on the sample captures."""

import csv
import io
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import moedesk
from moedesk.cli import diff as command
from moedesk.core.resources import resource
from moedesk.panels.compare import model_text
from moedesk.panels.compare.model import Comparison, Question, compare, numbers
from moedesk.panels.compare.model_copy import as_csv, as_json, command_line
from moedesk.panels.compare.model_layers import COLUMNS, in_order, layer_rows
from moedesk.panels.compare.model_margins import margin_plot, margin_text
from moedesk.panels.compare.model_text import contents, lay_out, page_of, read_page
from moedesk.panels.compare.model_token import token_layers
from moedesk.ui.load_pair import LoadPair
from tests.panels.test_compare import changed
from tests.support.memory_store import MemoryStore, memory_store, spare


@pytest.fixture
def a() -> MemoryStore:
    return memory_store(passes=30, seed=4)


@pytest.fixture
def b(a: MemoryStore) -> MemoryStore:
    return changed(a)


@pytest.fixture
def found(a: MemoryStore, b: MemoryStore) -> Comparison:
    return compare(Question(a, b))


@pytest.fixture(scope="module")
def samples() -> Iterator[Comparison]:
    healthy, sick = resource("sample", "tinymoe.h5"), resource("sample", "tinymoe-sick.h5")
    with moedesk.open(healthy) as one, moedesk.open(sick) as other:
        yield compare(Question(one, other))


def test_margins_that_nobody_has_are_no_router_s_fault(a: MemoryStore, b: MemoryStore) -> None:
    a = replace(a, passes=a.passes.copy())  # b's are the same array
    spare(a, range(30))
    found = compare(Question(a, b)).found
    said = margin_text(found.layers[0], found.spared)
    assert said.startswith("The margins of this layer are unknown: 30 passes of A and 0 of B came too fast")
    assert any(found.spared in number.convention for number in numbers(found))


def test_the_sick_sample_is_another_logic_than_the_healthy_one(samples: Comparison) -> None:
    rows = layer_rows(samples)
    assert samples.found.judgement.verdict == "logic"
    assert all(row.unexplained for row in rows)
    flips = [row.values[1] for row in rows]
    assert flips.index(max(flips)) == 3, "the layer whose router is stuck"
    plot = margin_plot(samples.pairs[3].layer, "float32")
    assert plot is not None
    assert plot.flips.sum() > 0.8 * plot.tokens.sum(), "nearly all tokens flip there, at whatever margin"
    load = LoadPair.of(samples.pairs[3].layer.counts_a, samples.pairs[3].layer.counts_b)
    assert load is not None
    assert load.b[0] == pytest.approx(0.5, abs=0.01), "every token goes to one expert"
    assert load.a[0] < 0.1


def test_numbers_of_the_header(found: Comparison, a: MemoryStore, b: MemoryStore) -> None:
    real = np.flatnonzero(~a.streams["main"]["is_padding"])
    flips = [[set(x.experts[i]) != set(y.experts[i]) for i in real] for x, y in zip(a.layers, b.layers, strict=True)]
    values = {number.name: number.value for number in numbers(found.found)}
    assert values["Tokens aligned"] == f"{len(real):,}"
    assert values["Decisions that flip"] == f"{np.mean(flips):.3%}"
    assert values["Tokens that flip"] == f"{np.mean(np.any(flips, axis=0)):.3%}"
    assert values["Left out"] == "0 of A, 0 of B"


def test_rows_are_sorted_with_unknown_values_last(found: Comparison) -> None:
    rows = list(layer_rows(found))
    margin = next(place for place, column in enumerate(COLUMNS) if column.key == "margin_at_flip")
    values = list(rows[0].values)
    values[margin] = float("nan")
    rows[0] = replace(rows[0], values=tuple(values))
    for falling in (False, True):
        ordered = in_order(rows, margin, falling)
        known = [row.values[margin] for row in ordered[:-1]]
        assert known == sorted(known, reverse=falling)
        assert ordered[-1] is rows[0]


def test_histograms_count_every_token_once(found: Comparison, a: MemoryStore, b: MemoryStore) -> None:
    real = np.flatnonzero(~a.streams["main"]["is_padding"])
    for place, pair in enumerate(found.pairs):
        plot = margin_plot(pair.layer, "float32")
        assert plot is not None
        flipped = [i for i in real if set(a.layers[place].experts[i]) != set(b.layers[place].experts[i])]
        for counts, rows in ((plot.tokens, real), (plot.flips, flipped)):
            margins = a.layers[place].margin[rows]
            for n, count in enumerate(counts):
                low = plot.edges[n] if n else -1
                last = n == len(counts) - 1
                inside = (margins >= low) & ((margins < plot.edges[n + 1]) | last)
                assert count == pytest.approx(np.count_nonzero(inside), abs=1)
            assert counts.sum() == pytest.approx(len(rows))
        assert plot.edges[0] < plot.reach < plot.edges[-1]


def test_without_margins_there_is_no_plot(a: MemoryStore, b: MemoryStore) -> None:
    for layer in (*a.layers, *b.layers):
        layer.margin[:] = np.nan
    found = compare(Question(a, b))
    assert margin_plot(found.pairs[0].layer, "float32") is None


def test_loads_are_sorted_by_difference(found: Comparison) -> None:
    for pair in found.pairs:
        load = LoadPair.of(pair.layer.counts_a, pair.layer.counts_b)
        assert load is not None
        change = load.b - load.a
        assert change.tolist() == sorted(change.tolist(), reverse=True)
        assert load.slots_a.tolist() == pair.layer.counts_a[load.experts].tolist()
        assert load.a.sum() == pytest.approx(1)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("tokens", [5, 4096])
def test_pages_hold_every_token_once_in_the_order_of_the_text(
    a: MemoryStore, b: MemoryStore, swapped: bool, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_text, "TOKENS", tokens)
    found = compare(Question(a, b, swapped))
    pages = contents(found)
    stream = a.streams["main"]
    seen: list[int] = []
    for number in range(len(pages)):
        page = read_page(found, pages, number)
        assert len(page.texts) <= tokens
        assert page.texts == a.token_text(stream["token_id"][page.mine])
        columns = stream["column"][page.a]
        assert (np.diff(columns.astype(int)) > 0).all()
        assert page.gap[1:].tolist() == (np.diff(columns.astype(int)) != 1).tolist()
        for place, row in enumerate(page.a.tolist()):
            differs = [p for p in range(3) if set(a.layers[p].experts[row]) != set(b.layers[p].experts[row])]
            assert page.first[place] == (differs[0] if differs else -1)
            assert page_of(found, pages, int(page.mine[place]), "main") == number
        seen += page.mine.tolist()
    assert sorted(seen) == np.flatnonzero(~stream["is_padding"]).tolist()
    padding = int(np.flatnonzero(stream["is_padding"])[0])
    assert page_of(found, pages, padding, None) is None


def test_pages_with_flips_are_found(a: MemoryStore) -> None:
    b = replace(a, layers=[replace(layer, experts=layer.experts.copy()) for layer in a.layers])
    row = int(np.flatnonzero((a.streams["main"]["sequence"] == 5) & ~a.streams["main"]["is_padding"])[2])
    b.layers[2].experts[row] = [e for e in range(8) if e not in b.layers[2].experts[row]][:2]
    found = compare(Question(a, b))
    pages = contents(found)
    number = pages.next_flip(0, 1)
    assert pages.flips.tolist() == [int(n == number) for n in range(len(pages))]
    page = read_page(found, pages, number)
    assert page.mine[page.first >= 0].tolist() == [row]
    assert pages.next_flip(number, 1) == number
    assert pages.next_flip(len(pages) - 1, -1) == number


def test_an_edit_shows_as_a_gap(a: MemoryStore) -> None:
    tokens = a.streams["main"].copy()
    row = int(np.flatnonzero((tokens["sequence"] == 0) & ~tokens["is_padding"])[3])
    tokens["token_id"][row] += 100
    found = compare(Question(a, replace(a, streams={"main": tokens})))
    page = read_page(found, contents(found), page_of(found, contents(found), row + 1, None) or 0)
    assert row not in page.mine
    assert page.gap[page.place_of(row + 1)]
    assert "the texts differ" in page.title
    layout = lay_out(page, 40)
    assert any(part.place == -1 for part in layout.fragments)
    placed = {part.place for part in layout.fragments} - {-1}
    assert placed == set(range(len(page.texts)))


def test_a_token_in_both(found: Comparison, a: MemoryStore, b: MemoryStore) -> None:
    stream = found.found.streams[0]
    for row in stream.alignment.a[:20].tolist():
        for place, layer in enumerate(token_layers(found, stream, row, row)):
            left, right = a.layers[place], b.layers[place]
            mine = {e for e in left.experts[row].tolist() if e >= 0}
            other = {e for e in right.experts[row].tolist() if e >= 0}
            assert layer.flip == (mine != other)
            assert layer.overlap == f"{len(mine & other)} of {max(len(mine), len(other))}"
            for expert in mine:
                assert (f"[{expert}]" in layer.a) == (expert not in other)
            assert layer.margin_a == left.margin[row]


def test_copies(found: Comparison) -> None:
    assert json.loads(as_json(found)) == found.found.to_json()
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [float(row["flip_rate"]) for row in rows] == [layer.flip_rate for layer in found.found.layers]
    assert [int(row["first_divergent"]) for row in rows] == list(found.found.first_divergent.values())


def test_the_command_line_gives_the_same_answer(capsys: pytest.CaptureFixture[str], samples: Comparison) -> None:
    healthy, sick = resource("sample", "tinymoe.h5"), resource("sample", "tinymoe-sick.h5")
    line = command_line(samples, healthy, sick)
    assert line is not None
    assert command_line(samples, None, sick) is None
    program, name, *paths = shlex.split(line)
    assert (program, name) == ("moedesk", "diff")
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args([*paths, "--json"]))
    assert json.loads(capsys.readouterr().out) == json.loads(as_json(samples))
    swapped = replace(samples, question=replace(samples.question, swapped=True, precision="tf32"))
    assert command_line(swapped, Path("m y.h5"), Path("o.h5")) == "moedesk diff o.h5 'm y.h5' --precision tf32"


def test_rows_of_the_session_are_its_own_where_the_other_has_another_order(a: MemoryStore) -> None:
    order = np.r_[12:24, 0:12, 24 : len(a.streams["main"])]
    names = ("experts", "weights", "entropy", "margin", "flags")
    layers = [replace(layer, **{name: getattr(layer, name)[order] for name in names}) for layer in a.layers]
    b = replace(a, streams={"main": a.streams["main"][order]}, layers=layers)
    for swapped in (False, True):
        found = compare(Question(a, b, swapped))
        page = read_page(found, contents(found), 0)
        assert page.mine.tolist() == (page.b if swapped else page.a).tolist()
        assert page.texts == a.token_text(a.streams["main"]["token_id"][page.mine])
        assert page.a.tolist() != page.b.tolist()
