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
from moedesk.panels.network.view import NetworkPanel
from moedesk.session.panel import load_view, panel_specs
from moedesk.ui.theme import DARK
from tests.support.memory_store import memory_store
from tests.support.network_panel import SHOWN, cell, click_heatmap, click_row, network_stage, twenty_passes, type_filter  # noqa: F401
from tests.support.stage import Stage

LEFT = Qt.MouseButton.LeftButton


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
