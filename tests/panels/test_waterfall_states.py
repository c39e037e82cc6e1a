"""What the Waterfall panel says when it has nothing, or not all, to show; what it keeps; its sizes."""

from dataclasses import replace
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from moedesk.core.columns import PassFlag
from moedesk.core.errors import CaptureError
from moedesk.panels.waterfall.view import WaterfallPanel
from moedesk.ui.theme import DARK
from tests.support.growing_store import GrowingStore, growing_store
from tests.support.memory_store import spare
from tests.support.played_live import PlayedLive
from tests.support.stage import Stage
from tests.support.waterfall_panel import assert_all_in_view, grow, growing_passes, hover, waterfall_stage  # noqa: F401


@pytest.mark.parametrize(("live", "words"), [(True, "moe.run("), (False, "moedesk.record(")])
def test_without_passes_it_says_what_to_do(qtbot: QtBot, live: bool, words: str) -> None:
    store = growing_store(passes=10, shown=0)
    with Stage(qtbot, store, WaterfallPanel) as stage:
        if live:
            stage.session.live = PlayedLive(stage.session)
            stage.session.changed.emit("live")
        assert stage.panel.empty.isVisible()
        assert words in stage.panel.empty.text()
        grow(stage, 3)
        stage.settle()
        assert not stage.panel.empty.isVisible()
        assert_all_in_view(stage)


@pytest.mark.parametrize(("live", "words"), [(True, 'moe.load("sample")'), (False, "no Mixture-of-Experts layers")])
def test_without_layers_it_says_so(qtbot: QtBot, live: bool, words: str) -> None:
    with Stage(qtbot, _no_layers(), WaterfallPanel) as stage:
        if live:
            stage.session.live = PlayedLive(stage.session)
            stage.session.changed.emit("live")
        assert words in stage.panel.empty.text()


def _no_layers() -> GrowingStore:
    store = growing_store(passes=3)
    store.model = replace(store.model, layers=())
    return store


def test_counts_only_is_said(qtbot: QtBot) -> None:
    store = growing_store(passes=12)
    store.passes["flags"][4:] = PassFlag.COUNTS_ONLY
    store.spans["main"]["count"][4:] = 0
    store.spans["main"]["first"][4:] = store.spans["main"]["first"][4]
    with Stage(qtbot, store, WaterfallPanel) as stage:
        assert "counts only" not in stage.panel.caption.text()
        stage.panel.controls.restore_state({"measure": "weight"})
        stage.settle()
        assert "8 passes kept counts only, so their weight is unknown" in stage.panel.caption.text()
        assert "unknown" in hover(stage, 1, 2, 10)


def test_passes_without_what_is_shown_are_said(qtbot: QtBot) -> None:
    store = growing_store(passes=12)
    spare(store, range(4, 12))
    with Stage(qtbot, store, WaterfallPanel) as stage:
        for measure, unknown in (("weight", False), ("margin", True), ("entropy", True)):
            stage.panel.controls.restore_state({"measure": measure})
            stage.settle()
            assert ("8 passes came too fast for it (is:spared)" in stage.panel.caption.text()) == unknown
            assert ("unknown" in hover(stage, 1, 2, 10)) == unknown
            assert "unknown" not in hover(stage, 1, 2, 2)


def test_a_store_that_fails_is_said_and_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise CaptureError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(GrowingStore, "load_blocks", fail)
        grow(stage, 2)
        stage.settle()
        assert "the disk is gone" in stage.panel.caption.text()
    grow(stage, 2)
    stage.settle()
    assert_all_in_view(stage)
    assert "the disk is gone" not in stage.panel.caption.text()


def test_what_is_chosen_is_kept(qtbot: QtBot, stage: Stage) -> None:
    stage.panel.restore_state({"measure": "margin", "curves": "maxvio", "window": 32, "sizes": [300, 100]})
    state = stage.panel.save_state()
    assert (state["measure"], state["curves"], state["window"]) == ("margin", "maxvio", 32)
    assert [curve.place for curve in stage.panel.curves.curves] == [1]
    stage.panel.restore_state({"measure": 7, "curves": "none", "sizes": "x"})
    assert stage.panel.save_state()["measure"] == "margin"
    assert stage.panel.curves.isHidden()
    stage.panel.set_theme(DARK)
    stage.settle()


def test_a_resize_and_back_shows_everything(stage: Stage) -> None:
    for size in ((500, 300), (1300, 900), (620, 700)):
        stage.panel.resize(*size)
        stage.settle()
        stage.qtbot.waitUntil(lambda: stage.panel.waterfall.viewport.height == stage.panel.waterfall.canvas.height())
        stage.settle()
        assert_all_in_view(stage)
