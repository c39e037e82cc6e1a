"""The Network panel while a model runs: what it says after growing is what a fresh view of the same passes says."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from moedesk.core.filter import parse
from moedesk.core.selection import Kind, Selection
from moedesk.panels.network import model_search
from moedesk.panels.network.model_overview import View, picture_of
from moedesk.panels.network.model_passes import COLUMNS, column, read_rows, sort_keys
from moedesk.panels.network.model_search import find
from moedesk.panels.network.model_tokens import Question, read_page
from moedesk.panels.network.view import NetworkPanel
from moedesk.session.jobs import Ticket
from tests.support.live_stage import LiveStage
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.published_store import PublishedStore
from tests.support.stage import Stage

SHOWN = {column.id: place for place, column in enumerate(COLUMNS)}
PASSES = 120


@pytest.fixture(scope="module")
def whole() -> MemoryStore:
    return memory_store(passes=PASSES, layers=3, experts=8, tokens=6)


@pytest.fixture
def stage(qtbot: QtBot, whole: MemoryStore) -> Iterator[LiveStage]:
    with LiveStage(qtbot, PublishedStore(whole, 40), NetworkPanel) as stage:
        yield stage


def grow(stage: LiveStage, passes: int) -> None:
    """Publish, and wait until table and picture have taken it in."""
    stage.publish(passes)
    picture = stage.panel.overview.heatmap
    stage.until(lambda: picture.picture is not None and int(picture.picture.pass_edges[-1]) == passes)
    if stage.session.window is None and not stage.session.filter:
        stage.until(lambda: len(stage.panel.passes.table.numbers) == passes)
    stage.settle()


def said(stage: Stage, number: int) -> list[str | None]:
    """All that the table says of a pass."""
    table = stage.panel.passes.table
    row = table.row_of(number)
    assert row is not None
    table.text(row, SHOWN["entropy"])
    stage.settle()
    return [table.text(row, place) for place in range(len(COLUMNS))]


def at_end(stage: LiveStage) -> bool:
    bar = stage.panel.passes.verticalScrollBar()
    return bar.value() == bar.maximum() > 0


def test_after_growing_it_says_what_a_fresh_view_says(stage: LiveStage, qtbot: QtBot, whole: MemoryStore) -> None:
    rng = np.random.default_rng(1)
    for passes in [*sorted(rng.choice(np.arange(41, PASSES), 6, replace=False).tolist()), PASSES]:
        grow(stage, passes)
    assert list(stage.panel.passes.table.numbers) == list(range(PASSES))
    with Stage(qtbot, whole, NetworkPanel) as fresh:
        for number in (0, 39, 40, 77, PASSES - 1):
            assert said(stage, number) == said(fresh, number)
        mine, other = stage.panel.overview.heatmap.picture, fresh.panel.overview.heatmap.picture
        assert np.array_equal(mine.image, other.image)
        assert np.array_equal(mine.pass_edges, other.pass_edges)
        extents = [panel.overview.heatmap.extent() for panel in (stage.panel, fresh.panel)]
        assert (extents[0].passes, extents[0].rows) == (extents[1].passes, extents[1].rows)


def test_new_passes_cost_what_they_cost(stage: LiveStage) -> None:
    grow(stage, 60)
    stage.store.reads.clear()
    grow(stage, 63)
    blocks = [(first, last) for column, first, last in stage.store.reads if column == "blocks"]
    assert blocks
    assert all(first >= 60 for first, _ in blocks)


def test_selection_scroll_and_columns_stay(stage: LiveStage) -> None:
    view = stage.panel.passes
    stage.live.set_follow(False)
    stage.session.select(Selection(Kind.PASS, pass_id=11))
    view.verticalScrollBar().setValue(37)
    view.setColumnWidth(SHOWN["time"], 123)
    resets: list[int] = []
    view.table.modelReset.connect(lambda: resets.append(1))
    grow(stage, 100)
    assert view.currentIndex().row() == 11
    assert [index.row() for index in view.selectionModel().selectedRows()] == [11]
    assert view.verticalScrollBar().value() == 37
    assert view.columnWidth(SHOWN["time"]) == 123
    assert not resets


def test_the_end_is_followed_until_the_user_scrolls_back(stage: LiveStage) -> None:
    bar = stage.panel.passes.verticalScrollBar()
    grow(stage, 60)
    assert at_end(stage)
    bar.setValue(bar.maximum() // 2)
    assert not stage.live.follow
    kept = bar.value()
    grow(stage, 80)
    assert bar.value() == kept
    bar.setValue(bar.maximum())
    assert stage.live.follow
    grow(stage, 100)
    assert at_end(stage)


def test_the_follow_button_goes_back_to_the_end(stage: LiveStage) -> None:
    grow(stage, 60)
    stage.panel.passes.verticalScrollBar().setValue(0)
    stage.qtbot.mouseClick(stage.panel.live_bar.follow, Qt.MouseButton.LeftButton)
    assert stage.live.follow
    assert at_end(stage)


def test_a_smaller_table_is_no_scrolling_back(stage: LiveStage) -> None:
    grow(stage, 60)
    stage.panel.resize(1000, 500)
    stage.settle()
    assert stage.live.follow
    assert at_end(stage)
    stage.live.set_follow(False)
    stage.panel.passes.verticalScrollBar().setValue(10)
    stage.session.set_filter(parse("pass:3"))
    stage.settle()
    assert not stage.live.follow


def test_a_sorted_table_takes_new_passes_in_and_keeps_the_selection(stage: LiveStage, whole: MemoryStore) -> None:
    view = stage.panel.passes
    view._click_header(SHOWN["time"])
    stage.settle()
    stage.session.select(Selection(Kind.PASS, pass_id=20))
    far = 0 if view.currentIndex().row() > 20 else view.verticalScrollBar().maximum()
    view.verticalScrollBar().setValue(far)
    stage.publish(90)
    stage.until(lambda: len(view.table.numbers) == 90)
    expected = sort_keys(whole, range(90), column("time"), Ticket()).order(False)
    assert list(view.table.numbers) == expected.tolist()
    assert view.table.numbers[view.currentIndex().row()] == 20
    assert view.verticalScrollBar().value() == far


def test_a_filter_searches_what_has_come_since(stage: LiveStage, whole: MemoryStore) -> None:
    chosen = parse("expert:3 layer:0..1")
    stage.session.set_filter(chosen)
    stage.settle()
    for passes in (47, 48, 90, PASSES):
        stage.publish(passes)
        stage.until(lambda passes=passes: stage.panel.search.result.searched == passes)  # type: ignore[misc]
        stage.settle()
    found, anew = stage.panel.search.result, find(whole, chosen, Ticket())
    assert found.passes.tolist() == anew.passes.tolist() == list(stage.panel.passes.table.numbers)
    assert found.events.tolist() == anew.events.tolist()
    assert found.out_of == anew.out_of
    assert np.array_equal(found.blocks.counts, anew.blocks.counts)
    assert np.array_equal(found.totals, anew.totals)


@pytest.mark.parametrize("seed", range(4))
def test_a_search_in_steps_finds_what_one_search_finds(
    whole: MemoryStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(model_search, "BLOCKS", 10)
    store, rng = PublishedStore(whole, 0), np.random.default_rng(seed)
    chosen = parse("expert:2,5 -layer:1")
    found = None
    for passes in sorted({*rng.integers(0, PASSES, 8).tolist(), PASSES}):
        store.publish(passes)
        store.reads.clear()
        start = 0 if found is None else whole.token_span(0, found.searched)[1]
        found = find(store, chosen, Ticket(), found)
        assert all(first >= start for name, first, _ in store.reads if name == "experts")
    assert found is not None
    anew = find(whole, chosen, Ticket())
    assert (found.passes.tolist(), found.events.tolist()) == (anew.passes.tolist(), anew.events.tolist())
    assert (found.out_of, found.searched, found.unsearched) == (anew.out_of, PASSES, anew.unsearched)
    edges = found.blocks.edges
    assert edges[0] == 0
    assert edges[-1] == PASSES
    assert len(edges) <= 21
    for place, (first, last) in enumerate(pairwise(edges.tolist())):
        fresh = model_search.matching_passes(whole, chosen, first, last)
        assert np.array_equal(found.blocks.counts[place], np.concatenate(fresh.slots))
        assert found.totals[place].tolist() == [int(c.sum()) for c in whole.window_counts(first, last)]


def test_a_search_of_other_layers_begins_anew(whole: MemoryStore) -> None:
    store = PublishedStore(whole, 30, layers=2)
    before = find(store, parse("expert:3"), Ticket())
    store.describe(3)
    store.publish(31)
    after = find(store, parse("expert:3"), Ticket(), before)
    assert after.blocks.counts.shape[1] == 24


def test_sort_keys_read_only_what_is_new(whole: MemoryStore) -> None:
    store = PublishedStore(whole, 60)
    known = sort_keys(store, range(60), column("entropy"), Ticket())
    store.publish(100)
    store.reads.clear()
    keys = sort_keys(store, range(100), column("entropy"), Ticket(), known=known)
    assert min(first for name, first, _ in store.reads if name == "entropy") == whole.token_span(60, 61)[0]
    assert keys.values.tolist() == read_rows(whole, range(100)).entropy.astype(float).tolist()


def test_a_brushed_window_stays(stage: LiveStage) -> None:
    stage.session.brush((5, 12))
    stage.settle()
    stage.publish(100)
    stage.settle()
    assert stage.session.window == (5, 12)
    assert list(stage.panel.passes.table.numbers) == list(range(5, 12))


def test_zoomed_to_the_newest_the_picture_moves_on(stage: LiveStage) -> None:
    heatmap = stage.panel.overview.heatmap
    heatmap._plot.setXRange(20, 40, padding=0)
    stage.settle()
    grow(stage, 70)
    assert heatmap.extent().passes == (50, 70)
    assert heatmap.picture.pass_edges.tolist() == list(range(50, 71))
    heatmap._plot.setXRange(10, 30, padding=0)  # the user looks back: the view stays there
    stage.settle()
    stage.publish(90)
    stage.settle()
    assert heatmap.extent().passes == (10, 30)
    stage.live.set_follow(False)
    stage.live.set_follow(True)
    assert heatmap.extent().passes == (70, 90)


def test_a_picture_is_extended_by_the_new_columns_alone(whole: MemoryStore) -> None:
    store = PublishedStore(whole, 50)
    older = picture_of(store, View(0, 50, 200, 24, (0, 24)), None)
    store.publish(70)
    store.reads.clear()
    newer = picture_of(store, View(0, 70, 200, 24, (0, 24)), None, older)
    assert [read[1:] for read in store.reads if read[0] == "blocks"] == [(50, 70)]
    fresh = picture_of(store, View(0, 70, 200, 24, (0, 24)), None)
    assert np.array_equal(newer.image, fresh.image)
    assert np.array_equal(newer.ratios, fresh.ratios, equal_nan=True)
    other_rows = picture_of(store, View(0, 70, 200, 24, (0, 8)), None, older)
    assert other_rows.image.shape[0] == 8
    coarse = picture_of(store, View(0, 70, 30, 24, (0, 24)), None, older)
    assert coarse.image.shape[1] <= 30


def test_the_tokens_of_a_pass_are_read_once(stage: LiveStage) -> None:
    stage.session.select(Selection(Kind.PASS, pass_id=10))
    stage.settle()
    page = stage.panel.details.tokens.text.page
    stage.store.reads.clear()
    grow(stage, 60)
    assert stage.panel.details.tokens.text.page is page
    assert not [read for read in stage.store.reads if read[0] in ("experts", "weights")]


def test_with_nothing_selected_the_newest_text_is_shown(stage: LiveStage, whole: MemoryStore) -> None:
    tokens = stage.panel.details.tokens
    stage.publish(99)  # 95 is a prefill of two sequences, 96 to 98 decode one token of each
    first, last = whole.token_span(95, 96)[0], whole.token_span(98, 99)[1]
    stage.until(lambda: tokens.text.page is not None and tokens.text.page.passes == (95, 99))
    page = tokens.text.page
    assert (page.tokens.first, page.tokens.first + len(page)) == (first, last)
    assert "Newest: passes 95–98" in tokens.note.text()
    stage.live.set_follow(False)
    stage.settle()
    stage.publish(110)
    stage.settle()
    assert (tokens.text.page.passes, len(tokens.text.page)) == ((95, 99), len(page))


def test_the_newest_pages_rows_are_those_of_its_sequences(whole: MemoryStore) -> None:
    for passes in (1, 5, 6, 50, PASSES):
        page = read_page(PublishedStore(whole, passes), Question(1, (0, 1), newest=True), parse(""))
        ours = set(whole.streams["main"]["sequence"][slice(*whole.token_span(passes - 1, passes))].tolist())
        rows = [n for n, row in enumerate(whole.streams["main"]) if row["sequence"] in ours and row["pass"] < passes]
        assert [page.tokens.first, page.tokens.first + len(page)] == [rows[0], rows[-1] + 1]


def test_more_layers_are_taken_in(qtbot: QtBot, whole: MemoryStore) -> None:
    with LiveStage(qtbot, PublishedStore(whole, 30, layers=1), NetworkPanel) as stage:
        assert stage.panel.overview.heatmap.picture.image.shape[0] == 8
        stage.store.describe(3)
        stage.publish(31)
        stage.settle()
        assert stage.panel.overview.heatmap.picture.image.shape[0] == 24
        assert stage.panel.details.tokens.layer_box.count() == 3


def test_empty_sessions_say_what_to_do(qtbot: QtBot, whole: MemoryStore) -> None:
    with LiveStage(qtbot, PublishedStore(whole, 0, layers=0), NetworkPanel) as stage:
        stage.live.attach(False)
        assert "moe.attach()" in stage.panel.empty.text()
        stage.live.attach(True)
        assert "test-moe is attached and has not run yet" in stage.panel.empty.text()
        stage.live.set_recording(False)
        assert "Recording is off" in stage.panel.empty.text()
        stage.live.end("The kernel ended.")
        assert "The kernel ended." in stage.panel.empty.text()
        stage.store.describe(3)
        stage.publish(5)
        stage.settle()
        assert len(stage.panel.passes.table.numbers) == 5
        assert stage.panel.overview.heatmap.picture is not None


def test_ctrl_l_clears(stage: LiveStage) -> None:
    stage.panel.activateWindow()
    stage.qtbot.keyClick(stage.panel.passes, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
    assert stage.live.cleared == 1


def test_a_filter_becomes_a_breakpoint(stage: LiveStage) -> None:
    button = stage.panel.breaking
    assert not button.isVisible()
    stage.session.set_filter(parse("layer:1 expert:2"))
    assert button.isVisible()
    button.click()
    assert [(topic, value["do"], value["text"]) for topic, value in stage.live.orders] == [
        ("breakpoints", "add", "layer:1 expert:2")
    ]
    stage.session.set_filter(parse("layer:1 is:failed"))
    button.click()
    assert len(stage.live.orders) == 1
    assert stage.shell.said[-1].startswith("No breakpoint set: is:failed can't break")
    stage.live.attach(False)
    assert not button.isVisible()
