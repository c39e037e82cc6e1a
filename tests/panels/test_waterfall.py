"""The Waterfall panel over a store that grows, driven by mouse and keyboard, against the store's own counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPointF
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from moedesk.analysis.load import METRICS
from moedesk.analysis.waterfall import Frame, read_columns
from moedesk.capture.writer import CaptureWriter
from moedesk.core.selection import Kind, Selection
from moedesk.panels.waterfall.model import Pace
from moedesk.panels.waterfall.spec import SPEC
from moedesk.panels.waterfall.view import WaterfallPanel
from moedesk.session.panel import load_view, panel_specs
from moedesk.ui.panel_host import PanelHost
from moedesk.ui.ticker import Ticker
from tests.support.growing_store import GrowingStore, growing_store
from tests.support.played_live import PlayedLive
from tests.support.routing import random_batch, random_model
from tests.support.stage import Stage
from tests.support.waterfall_panel import assert_all_in_view, click, grow, growing_passes, hover, shown, waterfall_stage  # noqa: F401


def test_the_declaration_loads() -> None:
    spec = next(spec for spec in panel_specs() if spec.id == "waterfall")
    assert spec == SPEC
    assert load_view(spec) is WaterfallPanel
    assert spec.reveals == {Kind.PASS, Kind.LAYER, Kind.EXPERT}
    shortcuts = [spec.shortcut for spec in panel_specs() if spec.shortcut]
    assert len(set(shortcuts)) == len(shortcuts)


@pytest.mark.parametrize("measure", ["load", "weight", "margin"])
def test_a_growing_store_shows_exactly_the_passes_so_far(stage: Stage, measure: str) -> None:
    rng = np.random.default_rng(5)
    stage.panel.controls.restore_state({"measure": measure, "window": 8})
    stage.settle()
    while stage.session.store.n_passes < 400:
        grow(stage, int(rng.integers(1, 60)))
        if rng.random() < 0.7:
            stage.settle()
            assert_all_in_view(stage)
    stage.settle()
    assert_all_in_view(stage)
    assert shown(stage)["passes"].sum() == stage.panel.waterfall.viewport.columns(400)[1] - max(
        0, int(stage.panel.waterfall.viewport.left)
    )


def test_a_tick_asks_only_for_what_is_new(stage: Stage) -> None:
    stage.panel.controls.restore_state({"window": 1})
    stage.settle()
    for count in (1, 7, 3):
        before = stage.session.store.n_passes
        stage.session.store.asked.clear()
        grow(stage, count)
        stage.settle()
        assert {(first, last) for _, first, last in stage.session.store.asked} == {(before, before + count)}
    assert_all_in_view(stage)


def test_passes_that_come_while_a_question_is_under_way_are_asked_for_after_it(stage: Stage) -> None:
    for _ in range(20):  # no event is handled in between: one question runs, the rest must not be lost
        grow(stage, 3)
    stage.settle()
    assert stage.panel.feed.ring.last == stage.session.store.n_passes == 120
    assert_all_in_view(stage)


def test_several_passes_share_a_column_and_the_last_one_fills(stage: Stage) -> None:
    view = stage.panel.waterfall
    grow(stage, 301)
    view.set_viewport(replace(view.viewport, per_pass=1 / 4))
    stage.settle()
    passes = stage.panel.feed.frame.passes
    assert passes == 4
    for count in (1, 2, 1, 5):
        grow(stage, count)
        stage.settle()
        assert_all_in_view(stage)
        assert shown(stage)["passes"].sum() == stage.session.store.n_passes
    assert f"mean over {passes} passes" in stage.panel.caption.text()


def test_hidden_it_asks_nothing_and_shown_it_catches_up_once(qtbot: QtBot, store: GrowingStore) -> None:
    with Stage(qtbot, store, lambda session, shell: WaterfallPanel(session, shell)) as stage:
        ticker = Ticker()
        host = PanelHost(SPEC, stage.session, stage.shell, ticker, {})
        host.resize(900, 600)
        host.show()
        host.set_active(True)
        qtbot.waitUntil(lambda: host.view is not None and host.settled)
        stage.settle()
        host.set_active(False)
        stage.panel.refresh = lambda changed: None  # the stage's own view keeps still
        store.asked.clear()
        for _ in range(10):
            grow(stage, 10)
        stage.settle()
        assert store.asked == []
        host.set_active(True)
        qtbot.waitUntil(lambda: host.settled)
        stage.settle()
        blocks = [asked for asked in store.asked if asked[0] == "blocks"]
        assert max(last for _, _, last in blocks) == 160
        assert len(blocks) <= 4
        assert host.view.feed.ring.last == 160
        host.close_host()
        ticker.stop()
        ticker.deleteLater()


def test_scrolled_back_it_stays_while_new_passes_wait_and_live_hears_of_it(qtbot: QtBot, store: GrowingStore) -> None:
    store.shown = 350
    with Stage(qtbot, store, WaterfallPanel) as stage:
        live = PlayedLive(stage.session)
        stage.session.live = live
        stage.session.changed.emit("live")
        stage.settle()
        view = stage.panel.waterfall
        view.set_viewport(view.viewport.zoomed(4, 0, 350, True))
        stage.settle()
        view.scroll_to(300)
        stage.settle()
        assert not live.follow
        assert not stage.panel.controls.follow.isChecked()
        where, before = view.viewport, shown(stage)
        grow(stage, 10)
        stage.settle()
        assert view.viewport == where
        np.testing.assert_array_equal(shown(stage)["image"], before["image"])
        view.scroll_to(150)
        stage.settle()
        assert_all_in_view(stage)
        stage.panel.controls.follow.click()
        stage.settle()
        assert live.follow
        assert view.viewport.right == 360
        assert_all_in_view(stage)
        live.set_follow(False)
        grow(stage, 5)
        assert view.viewport.right == 360


def test_a_live_session_scrolls_pass_by_pass(qtbot: QtBot, store: GrowingStore) -> None:
    with Stage(qtbot, store, WaterfallPanel) as stage:
        stage.session.live = PlayedLive(stage.session)
        grow(stage, 5)
        stage.settle()
        assert stage.panel.waterfall.viewport.per_pass == Pace.WIDEST
        assert stage.panel.waterfall.viewport.right == 65
        stage.panel.waterfall._zoom(2, 100)
        grow(stage, 5)
        assert stage.panel.waterfall.viewport.per_pass == 2 * Pace.WIDEST
        stage.settle()
        assert_all_in_view(stage)


def test_fast_passes_get_fewer_pixels() -> None:
    pace, now, passes = Pace(), 0.0, 0
    for rate, expected in ((1, 4.0), (10, 1.0), (100, 1 / 8), (2, 2.0), (0, 4.0)):
        for _ in range(60):
            now += Pace.FRAME
            passes += rate
            chosen = pace.per_pass(now, passes)
        assert rate * chosen <= Pace.SCROLL
        assert chosen == pytest.approx(expected)


def test_pointing_names_expert_pass_value_and_exact_slots(stage: Stage) -> None:
    store = stage.session.store
    counts = store.counts(1, "pass")[50]
    text = hover(stage, 1, 3, 50)
    load = counts[3] * 8 / counts.sum()
    value = "no tokens" if load == 0 else f"{load:.2f} × uniform share"
    assert text == f"L1 model.layers.1.mlp · expert 3 · pass 50 · {value} · {counts[3]} of {counts.sum()} slots"
    stage.panel.waterfall.hovered.emit(None)
    assert "Point at" in stage.panel.readout.text()


def test_pointing_at_a_curve_names_layer_value_and_window(stage: Stage) -> None:
    stage.panel.controls.restore_state({"window": 8})
    stage.settle()
    curves = stage.panel.curves
    area = curves.plots()[0].area
    x = stage.panel.waterfall.viewport.x(40.5) + area.left()
    point = curves.point_at(QPointF(x, area.bottom()))
    curves.hovered.emit(point)
    counts = [
        store_counts[33:41].sum(0) for store_counts in (stage.session.store.counts(layer, "pass") for layer in range(3))
    ]
    values = [METRICS["cv"].of(c) for c in counts]
    lowest = int(np.argmin(values))
    assert f"pass 40 · CV of L{lowest} {values[lowest]:.3f} over the 8 passes up to it" in stage.panel.readout.text()
    curves.picked.emit(point)
    assert (stage.session.selection.kind, stage.session.selection.layer) == (Kind.LAYER, lowest)


def test_a_click_selects_expert_and_pass(stage: Stage) -> None:
    click(stage, 2, 5, 30)
    selection = stage.session.selection
    assert (selection.kind, selection.layer, selection.expert, selection.pass_id) == (Kind.EXPERT, 2, 5, 30)
    assert stage.panel.waterfall.scene.marked == (2, 5)


@pytest.mark.parametrize("measure", ["load", "weight", "margin"])
def test_a_click_on_a_row_of_several_experts_selects_the_one_it_shows(qtbot: QtBot, measure: str) -> None:
    store = growing_store(passes=20, layers=2, experts=64)
    with Stage(qtbot, store, WaterfallPanel, (600, 260)) as stage:
        stage.panel.controls.restore_state({"measure": measure})
        stage.settle()
        view = stage.panel.waterfall
        cell = view.cell_at(view.position_of(1, 20, 15).toPointF())
        assert cell.first != cell.last
        click(stage, 1, 20, 15)
        expert = stage.session.selection.expert
        assert stage.session.selection.layer == 1
        assert cell.first[1] <= expert <= cell.last[1]
        alone = read_columns(store, Frame(measure, 1, (64, 128), 64, 1), 15, 16, 20).fields["values"][:, 0]
        assert alone[expert] == np.float32(cell.ratio)


def test_the_menu_reveals_elsewhere(stage: Stage) -> None:
    view = stage.panel.waterfall
    menu = QMenu()
    stage.panel.fill_menu(menu, view.cell_at(view.position_of(1, 2, 30).toPointF()))
    actions = {action.text(): action for action in menu.actions() if action.text()}
    assert "Show only layer 1" in actions
    actions["Reveal expert 1.2 in Elements"].trigger()
    assert stage.shell.revealed[-1][1] == "elements"
    assert stage.session.selection.expert == 2
    actions["Reveal pass 30 in Network"].trigger()
    assert stage.shell.revealed[-1][1] == "network"
    actions["Show only layer 1"].trigger()
    stage.settle()
    assert view.viewport.rows == (8, 16)
    assert_all_in_view(stage)
    menu.deleteLater()


def test_brush_cursor_and_selection_are_shown(stage: Stage) -> None:
    scene = stage.panel.waterfall.scene
    stage.session.brush((10, 20))
    stage.session.seek(15)
    stage.session.select(Selection(Kind.LAYER, layer=2))
    assert (scene.window, scene.cursor, scene.marked) == ((10, 20), 15, (2, None))
    stage.panel.waterfall.brushed.emit(None)
    assert stage.session.window is None


def test_a_recording_that_goes_on_is_shown_pass_by_pass(qtbot: QtBot, tmp_path: Path) -> None:
    model = random_model(layers=3, experts=8)
    rng = np.random.default_rng(0)
    with CaptureWriter(tmp_path / "goes-on.h5", compress=False) as writer:
        writer.describe(model)
        with Stage(qtbot, writer.live(), WaterfallPanel) as stage:
            number = 0
            for _ in range(6):
                for _ in range(int(rng.integers(1, 20))):
                    writer.append(random_batch((7, number), model, 5, counts_only=bool(rng.random() < 0.2)))
                    number += 1
                live = stage.session.store
                qtbot.waitUntil(lambda live=live, number=number: live.publish() or live.n_passes == number)
                qtbot.waitUntil(lambda live=live, number=number: not live.publish() and live.n_passes == number)
                stage.session.changed.emit("store")
                stage.settle()
                assert stage.panel.feed.ring.last == number
                assert_all_in_view(stage)
                stage.panel.controls.restore_state({"measure": "weight"})
                stage.settle()
                assert_all_in_view(stage)
            assert "kept counts only" in stage.panel.caption.text()
