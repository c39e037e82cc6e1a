"""What narrows the Network panel: filter, brush and cursor, against the store's own columns."""

import numpy as np

from moedesk.core.filter import parse
from moedesk.core.selection import Kind, Selection
from tests.support.memory_store import spare
from tests.support.network_panel import SHOWN, cell, click_row, network_stage, twenty_passes, type_filter  # noqa: F401


def test_a_filter_narrows_table_heatmap_and_tokens(stage, store):
    type_filter(stage, "layer:1 expert:3")
    hit = (store.layers[1].experts == 3).any(1) & ~store.streams["main"]["is_padding"]
    events = np.bincount(store.streams["main"]["pass"][hit], minlength=20)
    assert np.asarray(stage.panel.passes.table.numbers).tolist() == np.flatnonzero(events).tolist()
    total = int((~store.streams["main"]["is_padding"]).sum()) * 3
    assert stage.panel.filter_bar.counts.text() == (
        f"{(events > 0).sum()} of 20 passes · {events.sum()} of {total} events match"
    )
    first = int(np.flatnonzero(events)[0])
    assert cell(stage, first, "matches") == str(events[first])
    picture = stage.panel.overview.heatmap.picture
    assert not picture.ratios[[row for row in range(24) if row != 8 + 3]].any()
    assert np.allclose(picture.ratios[8 + 3], events * 8 / store.counts(1, "pass").sum(1))
    stage.session.select(Selection(Kind.PASS, pass_id=first, layer=1))
    stage.settle()
    page = stage.panel.details.tokens.text.page
    assert page.matched.tolist() == hit[slice(*store.token_span(first, first + 1))].tolist()


def test_clearing_the_filter_shows_everything_again(stage):
    type_filter(stage, "phase:prefill")
    assert stage.panel.passes.table.rowCount() == 4
    stage.panel.filter_bar.clear_button.click()
    stage.settle()
    assert stage.panel.passes.table.rowCount() == 20
    assert stage.panel.passes.isColumnHidden(SHOWN["matches"])


def test_a_filter_that_finds_nothing_says_so(stage):
    type_filter(stage, "pass:99")
    assert stage.panel.no_match.isVisible()
    assert "matches the filter" in stage.panel.no_match.text()
    type_filter(stage, "pass:9")
    assert not stage.panel.no_match.isVisible()


def test_passes_that_a_filter_cannot_judge_are_said(stage, store):
    spare(store, range(17, 20))
    type_filter(stage, "pass:17.. margin>=0")
    said = "3 passes without margins are left out (is:spared)"
    assert said in stage.panel.no_match.text()
    assert said in stage.panel.filter_bar.counts.toolTip()
    type_filter(stage, "margin>=0")
    assert list(stage.panel.passes.table.numbers) == list(range(17))
    assert stage.panel.filter_bar.counts.text().endswith("⚠")
    type_filter(stage, "is:spared")
    assert list(stage.panel.passes.table.numbers) == [17, 18, 19]
    assert "⚠" not in stage.panel.filter_bar.counts.text()


def test_a_filter_set_elsewhere_is_taken_over(stage):
    stage.session.set_filter(parse("phase:prefill"))
    stage.settle()
    assert stage.panel.filter_bar.edit.text() == "phase:prefill"
    assert stage.panel.passes.table.rowCount() == 4


def test_brushing_restricts_the_table(stage):
    stage.session.brush((5, 9))
    stage.settle()
    assert list(stage.panel.passes.table.numbers) == [5, 6, 7, 8]
    assert stage.panel.overview.brush_button.isVisible()
    stage.panel.overview.brush_button.click()
    stage.settle()
    assert stage.panel.passes.table.rowCount() == 20


def test_the_cursor_is_followed(stage, store):
    stage.session.seek(12)
    stage.settle()
    assert stage.panel.passes.currentIndex().row() == 12
    assert stage.panel.details.tokens.text.page.passes == (12, 13)
    click_row(stage, 4)
    assert stage.session.cursor == 4
