"""The Network panel, driven by mouse and keyboard, against the store's own columns."""

from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu

from moedesk.core.columns import PassFlag
from moedesk.core.errors import CaptureError
from moedesk.core.filter import parse
from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.model_passes import COLUMNS
from moedesk.panels.network.view import NetworkPanel
from moedesk.session.panel import load_view, panel_specs
from moedesk.ui.theme import DARK
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.stage import Stage

LEFT = Qt.MouseButton.LeftButton
SHOWN = {column.id: place for place, column in enumerate(COLUMNS)}


@pytest.fixture
def store() -> MemoryStore:
    return memory_store(passes=20, layers=3, experts=8)


@pytest.fixture
def stage(qtbot, store):
    with Stage(qtbot, store, NetworkPanel) as stage:
        yield stage


def cell(stage, number: int, column: str) -> str:
    """What the table says of a pass."""
    table = stage.panel.passes.table
    index = table.index(table.row_of(number), SHOWN[column])
    stage.panel.passes.scrollTo(index)
    index.data()
    stage.settle()
    return index.data()


def click_heatmap(stage, layer: int, expert: int, number: int) -> None:
    heatmap = stage.panel.overview.heatmap
    stage.qtbot.mouseClick(heatmap.viewport(), LEFT, pos=heatmap.position_of(layer, expert, number))
    stage.settle()


def click_row(stage, number: int) -> None:
    view = stage.panel.passes
    index = view.table.index(view.table.row_of(number), 1)
    view.scrollTo(index)
    stage.qtbot.mouseClick(view.viewport(), LEFT, pos=view.visualRect(index).center())
    stage.settle()


def click_token(stage, row: int) -> None:
    text = stage.panel.details.tokens.text
    stage.qtbot.mouseClick(text.viewport(), LEFT, pos=text.rect_of(row).center().toPoint())
    stage.settle()


def type_filter(stage, text: str) -> None:
    edit = stage.panel.filter_bar.edit
    edit.selectAll()
    stage.qtbot.keyClicks(edit, text)
    edit.popup.hide()
    stage.settle()


def test_the_declaration_loads():
    spec = next(spec for spec in panel_specs() if spec.id == "network")
    assert load_view(spec) is NetworkPanel
    assert spec.reveals == {Kind.PASS, Kind.LAYER, Kind.EXPERT, Kind.TOKEN}


def test_the_heatmap_shows_the_counts(stage, store):
    picture = stage.panel.overview.heatmap.picture
    for layer in range(3):
        counts = store.counts(layer, "pass")
        expected = counts * 8 / counts.sum(1, keepdims=True)
        assert np.allclose(picture.ratios[layer * 8 : layer * 8 + 8].T, expected)
    assert "Load ÷ uniform share" in stage.panel.overview.caption.text()


def test_hovering_reads_the_cell_with_its_slots(stage, store):
    heatmap = stage.panel.overview.heatmap
    counts = store.counts(1, "pass")[5]
    stage.qtbot.mouseMove(heatmap.viewport(), heatmap.position_of(1, 2, 5) + QPoint(1, 0))
    stage.settle()
    text = stage.panel.overview.readout.text()
    for part in ("model.layers.1.mlp", "expert 2", "pass 5", f"{counts[2]:,} of {counts.sum():,} slots"):
        assert part in text
    assert f"{counts[2] * 8 / counts.sum():.2f} × uniform share" in text or counts[2] == 0


def test_a_click_in_the_heatmap_selects_expert_layer_and_pass(stage):
    click_heatmap(stage, 2, 6, 11)
    selected = stage.session.selection
    assert (selected.kind, selected.layer, selected.expert, selected.pass_id) == (Kind.EXPERT, 2, 6, 11)
    assert stage.panel.passes.currentIndex().row() == 11
    assert stage.panel.details.tokens.layer_box.currentIndex() == 2
    assert stage.panel.details.tokens.text.page.passes == (11, 12)


def test_a_click_on_many_experts_takes_the_busiest(qtbot):
    store = memory_store(passes=4, layers=4, experts=256, tokens=40)
    with Stage(qtbot, store, NetworkPanel, size=(800, 420)) as stage:
        heatmap = stage.panel.overview.heatmap
        picture = heatmap.picture
        assert picture.image.shape[0] < 1024
        click_heatmap(stage, 2, 100, 0)
        at = picture.at(picture.row_of(2, stage.session.selection.expert), 0)
        counts = store.counts(2, "pass")[0][at.first[1] : at.last[1] + 1]
        assert at.first[1] + counts.argmax() == stage.session.selection.expert


def test_the_table_says_what_the_headers_say(stage, store):
    assert stage.panel.passes.table.rowCount() == 20
    for number in (0, 7, 19):
        header = store.passes[number]
        assert cell(stage, number, "id") == str(number)
        assert cell(stage, number, "phase") == ("prefill" if number % 5 == 0 else "decode")
        assert cell(stage, number, "tokens") == str(header["n_seen"] - header["n_padding"])
        assert cell(stage, number, "shape") == ("2 × 12" if number % 5 == 0 else "2 × 1")
        rows = slice(*store.token_span(number, number + 1))
        real = ~store.streams["main"]["is_padding"][rows]
        entropy = np.mean([layer.entropy[rows][real] for layer in store.layers])
        assert cell(stage, number, "entropy") == f"{entropy:.2f}"


def test_a_row_selects_its_pass_by_mouse_and_key(stage):
    click_row(stage, 3)
    assert (stage.session.selection.kind, stage.session.selection.pass_id) == (Kind.PASS, 3)
    stage.qtbot.keyClick(stage.panel.passes, Qt.Key.Key_Down)
    assert stage.session.selection.pass_id == 4


def test_sorting_by_a_header(stage, store):
    header = stage.panel.passes.horizontalHeader()
    at = QPoint(header.sectionViewportPosition(SHOWN["time"]) + 10, 8)
    taken = store.passes["t1_ns"] - store.passes["t0_ns"]
    for expected in (np.sort(taken), np.sort(taken)[::-1], taken):
        stage.qtbot.mouseClick(header.viewport(), LEFT, pos=at)
        stage.settle()
        assert np.array_equal(taken[np.asarray(stage.panel.passes.table.numbers)], expected)


def test_columns_are_chosen_from_a_menu(stage):
    menu = stage.panel.passes.column_menu()
    action = next(action for action in menu.actions() if action.text() == "CV (population)")
    action.trigger()
    assert not stage.panel.passes.isColumnHidden(SHOWN["cv"])
    assert "cv" in stage.panel.save_state()["columns"]
    menu.deleteLater()


def test_tokens_are_shown_with_their_first_expert(stage, store):
    click_row(stage, 5)
    text = stage.panel.details.tokens.text
    i, j = store.token_span(5, 6)
    picture = text.viewport().grab().toImage()
    theme = stage.shell.theme
    for row in range(i, j):
        if store.streams["main"]["is_padding"][row]:
            assert text.rect_of(row) is None  # hidden until asked for
            continue
        best = int(np.argmax(store.layers[0].weights[row]))
        color = theme.expert_color(int(store.layers[0].experts[row, best]))
        corner = text.rect_of(row).topLeft().toPoint() + QPoint(2, 1)
        assert picture.pixelColor(corner).name() == color.name()


def test_hovering_a_token_lists_all_its_experts(stage, store):
    click_row(stage, 5)
    row = store.token_span(5, 6)[0] + 4
    hint = stage.panel.details.tokens.text.hint(row)
    for expert, weight in zip(store.layers[0].experts[row], store.layers[0].weights[row], strict=True):
        assert f"expert {expert}   weight {weight:.4f}" in hint
    assert f"{store.layers[0].entropy[row]:.3f} nats" in hint
    assert f"margin {store.layers[0].margin[row]:.3f}" in hint


def test_a_token_is_picked_by_mouse_and_keys_and_routed(stage, store):
    click_row(stage, 5)
    row = next(row for row in range(*store.token_span(5, 6)) if not store.streams["main"]["is_padding"][row])
    click_token(stage, row)
    assert (stage.session.selection.kind, stage.session.selection.token) == (Kind.TOKEN, row)
    stage.panel.details.setCurrentWidget(stage.panel.details.routing)
    stage.settle()
    routing = stage.panel.details.routing
    assert routing.table.rowCount() == 3
    for layer in range(3):
        experts, weights = store.layers[layer].experts[row], store.layers[layer].weights[row]
        order = np.argsort(-weights, kind="stable")
        for rank, slot in enumerate(order):
            wanted = f"{experts[slot]}   {weights[slot]:.3f}" if experts[slot] >= 0 else "dropped"
            assert routing.table.index(layer, rank + 1).data() == wanted
        assert routing.table.index(layer, 3).data() == f"{store.layers[layer].entropy[row]:.3f}"
    index = routing.table.index(2, 1)
    stage.qtbot.mouseClick(routing.view.viewport(), LEFT, pos=routing.view.visualRect(index).center())
    selected = stage.session.selection
    best = int(np.argmax(store.layers[2].weights[row]))
    assert (selected.kind, selected.layer) == (Kind.EXPERT, 2)
    assert selected.expert == store.layers[2].experts[row][best]
    assert selected.token == row


def test_keys_walk_through_the_tokens(stage, store):
    click_row(stage, 6)
    i, _ = store.token_span(6, 7)
    click_token(stage, i)
    stage.qtbot.keyClick(stage.panel.details.tokens.text, Qt.Key.Key_Right)
    assert stage.session.selection.token == i + 1


def test_the_layer_box_selects_the_layer(stage):
    box = stage.panel.details.tokens.layer_box
    box.setFocus()
    stage.qtbot.keyClick(box, Qt.Key.Key_Down)
    stage.settle()
    assert (stage.session.selection.kind, stage.session.selection.layer) == (Kind.LAYER, 1)
    assert stage.panel.details.tokens.text.page.tokens.layer.place == 1


def test_padding_can_be_shown(qtbot):
    store = memory_store(passes=3, tokens=30, padding=0.5)
    with Stage(qtbot, store, NetworkPanel) as stage:
        tokens = stage.panel.details.tokens
        row = int(np.flatnonzero(store.streams["main"]["is_padding"])[0])
        assert tokens.text.rect_of(row) is None
        tokens.padding_box.click()
        stage.settle()
        assert tokens.text.rect_of(row) is not None


def test_passes_in_view_read_on_from_prompt_to_decode(stage, store):
    tokens = stage.panel.details.tokens
    tokens.scope_box.setCurrentIndex(1)
    tokens.scope_box.activated.emit(1)
    stage.session.brush((0, 5))
    stage.settle()
    page = tokens.text.page
    sequences = page.tokens.tokens["sequence"][page.order]
    columns = page.tokens.tokens["column"][page.order]
    assert sequences.tolist() == [0] * 16 + [1] * 16
    assert columns.tolist() == list(range(16)) * 2


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


def test_a_token_revealed_from_elsewhere_is_scrolled_to(qtbot):
    store = memory_store(passes=3, tokens=400, padding=0)
    with Stage(qtbot, store, NetworkPanel, size=(800, 500)) as stage:
        stage.session.select(Selection(Kind.TOKEN, layer=2, token=750))
        stage.settle()
        text = stage.panel.details.tokens.text
        assert stage.panel.details.tokens.layer_box.currentIndex() == 2
        assert text.verticalScrollBar().value() > 0
        assert text.viewport().rect().contains(text.rect_of(750).center().toPoint())


def test_numbers_and_raw_follow_the_pass(stage, store):
    details = stage.panel.details
    details.setCurrentWidget(details.numbers)
    click_row(stage, 5)
    assert "Pass 5" in details.numbers.header.text()
    counts = store.counts(1, "pass")[5]
    assert details.numbers.table.item(1, 1).text() == f"{counts.sum():,}"
    assert details.numbers.table.item(1, 3).text() == f"{counts.max() / counts.mean() - 1:.3f}"
    details.setCurrentWidget(details.raw)
    stage.settle()
    lines = details.raw.text.toPlainText().splitlines()
    i, j = store.token_span(5, 6)
    assert len(lines) == 1 + 2 * (j - i)
    assert lines[1].split("\t")[-2] == str(store.layers[0].experts[i, 0])


def test_copying_and_revealing_from_the_menu(stage, store):
    menu = QMenu()
    stage.panel.fill_menu(menu, Selection(Kind.EXPERT, layer=1, expert=3))
    actions = {action.text(): action for action in menu.actions()}
    actions["Copy as Python"].trigger()
    stage.settle()
    assert 'cap.counts(1, by="pass")[0:20, 3]' in QGuiApplication.clipboard().text()
    assert stage.shell.said
    actions["Reveal expert 1.3 in Elements"].trigger()
    assert stage.shell.revealed[0][1] == "elements"
    actions["Filter by this expert"].trigger()
    stage.settle()
    assert stage.session.filter == parse("layer:1 expert:3")
    menu.deleteLater()


def test_copying_the_text(stage, store):
    click_row(stage, 5)
    i, j = store.token_span(5, 6)
    menu = QMenu()
    stage.panel.fill_menu(menu, Selection(Kind.TOKEN, pass_id=5, layer=0, token=i))
    next(action for action in menu.actions() if action.text() == "Copy text of all tokens shown").trigger()
    stage.settle()
    assert QGuiApplication.clipboard().text() == store.text(i, j)
    menu.deleteLater()


def test_counts_only_says_why_there_is_no_text(qtbot, store):
    store.streams["main"] = store.streams["main"][:0]
    store.spans["main"][:] = 0
    store.passes["flags"] = PassFlag.COUNTS_ONLY
    store.passes["n_tokens"] = 0
    counts = [np.full((20, 8), 2)] * 3
    store.counts = lambda layer, by="capture": counts[store.model.layer(layer).place]
    for layer in store.layers:
        for name in ("experts", "weights", "entropy", "margin", "flags"):
            setattr(layer, name, getattr(layer, name)[:0])
    with Stage(qtbot, store, NetworkPanel) as stage:
        assert "only counts were recorded" in stage.panel.details.tokens.note.text()
        assert cell(stage, 3, "phase") == "decode · counts only"
        assert cell(stage, 3, "entropy") == "–"
        assert cell(stage, 3, "max_violation") == "0.00"
        type_filter(stage, "expert:3")
        assert "could not be searched" in stage.panel.filter_bar.counts.toolTip()


@pytest.mark.parametrize("case", ["no passes", "no layers"])
def test_an_empty_capture_says_what_to_do(qtbot, store, case):
    if case == "no passes":
        store.passes = store.passes[:0]
    else:
        store.model = replace(store.model, layers=())
    with Stage(qtbot, store, NetworkPanel) as stage:
        assert stage.panel.empty.isVisible()
        assert "moedesk.record" in stage.panel.empty.text()


def test_a_read_that_fails_is_said_and_not_raised(qtbot, store):
    def fail(*_: object) -> np.ndarray:
        raise CaptureError("the file is gone; open it again")

    store.read_passes = store.load_blocks = store.read_tokens = fail
    with Stage(qtbot, store, NetworkPanel) as stage:
        assert "the file is gone" in stage.panel.overview.caption.text()
        assert "the file is gone" in stage.panel.details.tokens.note.text()
        assert any("the file is gone" in said for said in stage.shell.said)


def test_the_layout_comes_back(qtbot, store):
    with Stage(qtbot, store, NetworkPanel) as stage:
        stage.panel.toggle_details()
        stage.panel.passes.show_columns(["id", "time", "cv"])
        type_filter(stage, "layer:1")
        qtbot.keyClick(stage.panel.filter_bar.edit, Qt.Key.Key_Return)
        state = stage.panel.save_state()
    with Stage(qtbot, store, NetworkPanel) as stage:
        stage.panel.restore_state({"upright": "nonsense", "columns": [1], "tab": 99})
        stage.panel.restore_state(state)
        assert stage.panel.details.isHidden()
        assert stage.panel.passes.shown_columns() == ["id", "time", "cv"]
        assert stage.panel.filter_bar.edit.history == ["layer:1"]


def test_a_long_table_reads_only_what_is_looked_at(qtbot):
    store = memory_store(passes=4000, tokens=2, layers=1, experts=4)
    asked = []
    read = store.read_passes
    store.read_passes = lambda i=0, j=None: (asked.append((i, j)), read(i, j))[1]
    with Stage(qtbot, store, NetworkPanel) as stage:
        assert stage.panel.passes.table.rowCount() == 4000
        assert sum(j - i for i, j in asked) < 400
        stage.panel.passes.scrollToBottom()
        stage.panel.passes.viewport().repaint()
        stage.settle()
        assert max(j for _, j in asked) == 4000
        assert sum(j - i for i, j in asked) < 800


def test_dark(qtbot, store):
    with Stage(qtbot, store, NetworkPanel, theme=DARK) as stage:
        picture = stage.panel.grab().toImage()
        assert picture.pixelColor(stage.panel.width() - 300, stage.panel.height() - 20).lightnessF() < 0.3
