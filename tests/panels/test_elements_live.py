"""The Elements panel while a model runs."""

from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QImage, QRegion
from pytestqt.qtbot import QtBot

from moedesk.core.selection import Kind, Selection
from moedesk.panels.elements.view import ElementsPanel
from moedesk.panels.elements.view_tree_model import LOAD
from moedesk.ui.style_sheet import style_sheet
from moedesk.ui.theme import DARK, LIGHT, Theme
from tests.support.live_stage import LiveStage
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.published_store import PublishedStore

PASSES = 60


@pytest.fixture(scope="module")
def whole() -> MemoryStore:
    return memory_store(passes=PASSES, layers=3, experts=8, tokens=6)


@pytest.fixture
def stage(qtbot: QtBot, whole: MemoryStore) -> Iterator[LiveStage]:
    with LiveStage(qtbot, PublishedStore(whole, 10), ElementsPanel) as stage:
        yield stage


def slots(stage: LiveStage, layer: int) -> int:
    loads = stage.panel._loads
    return loads[layer].slots if loads else -1


def grow(stage: LiveStage, passes: int) -> None:
    stage.publish(passes)
    expected = int(stage.store.window_counts()[0].sum())
    stage.until(lambda: slots(stage, 0) == expected)
    stage.settle()


def test_the_load_column_follows(stage: LiveStage, whole: MemoryStore) -> None:
    outline = stage.panel.outline.model.outline
    assert outline is not None
    for passes in (11, 30, PASSES):
        grow(stage, passes)
        for layer in range(3):
            counts = whole.counts(layer, "pass")[:passes].sum(0)
            for expert in range(8):
                index = stage.panel.outline.model.index_of(outline.expert_node(layer, expert), LOAD)
                assert index.data() == f"{counts[expert] * 8 / counts.sum():.2f}×"


def test_the_tree_is_not_built_anew_by_passes(stage: LiveStage) -> None:
    resets: list[int] = []
    stage.panel.outline.model.modelReset.connect(lambda: resets.append(1))
    grow(stage, 40)
    assert not resets


def test_an_expert_in_the_details_follows(stage: LiveStage, whole: MemoryStore) -> None:
    stage.session.select(Selection(Kind.EXPERT, layer=1, expert=2))
    stage.settle()
    grow(stage, PASSES)
    counts = whole.counts(1, "pass").sum(0)
    wanted = f"{counts[2]:,} of {counts.sum():,}"
    facts = stage.panel.details.expert.share
    stage.until(lambda: wanted in [fact.value for fact in facts.facts])
    bars = stage.panel.details.load.chart.bars
    assert np.array_equal(bars.counts, counts)


def test_what_new_passes_cannot_change_is_not_asked_for(stage: LiveStage) -> None:
    stage.session.brush((2, 5))
    stage.settle()
    loads = stage.panel._loads
    stage.publish(40)
    stage.settle()
    assert stage.panel._loads is loads
    assert loads[0].slots == sum(stage.store.whole.counts(0, "pass")[2:5].sum(0))


def test_more_layers_keep_what_is_open_and_selected(qtbot: QtBot, whole: MemoryStore) -> None:
    with LiveStage(qtbot, PublishedStore(whole, 10, layers=1), ElementsPanel) as stage:
        view = stage.panel.outline
        before = view.model.outline
        assert before is not None
        stage.session.select(Selection(Kind.LAYER, layer=0))
        stage.settle()
        view.tree.collapse(view.model.index_of(before.node_at("model.layers.0.mlp.experts")))
        opened = {before.path(node) for node in view._opened(before)}
        assert "model.layers.0.mlp" in opened
        stage.store.describe(3)
        grow(stage, 12)
        after = view.model.outline
        assert after is not None
        assert after is not before
        assert {after.path(node) for node in view._opened(after)} == opened
        assert view.current == after.layer_node(0)
        assert after.layer_node(2) >= 0
        grow(stage, 20)
        assert view.model.outline is after


def test_more_layers_leave_closed_what_was_closed(qtbot: QtBot, whole: MemoryStore) -> None:
    with LiveStage(qtbot, PublishedStore(whole, 10, layers=1), ElementsPanel) as stage:
        view = stage.panel.outline
        before = view.model.outline
        assert before is not None
        view.tree.collapse(view.model.index_of(before.layer_node(0)))
        stage.store.describe(3)
        grow(stage, 12)
        after = view.model.outline
        assert after is not None
        assert after.layer_node(0) not in view._opened(after)


def test_without_a_model_it_says_how_to_attach_one(qtbot: QtBot, whole: MemoryStore) -> None:
    store = PublishedStore(whole, 0, layers=0)
    described = store.model
    store.model = type(described)("", "")
    with LiveStage(qtbot, store, ElementsPanel) as stage:
        assert "moe.attach()" in stage.panel.details.empty.text()
        assert stage.panel.outline.model.rowCount() == 0
        store.describe(3)
        stage.publish(3)
        stage.settle()
        stage.until(lambda: stage.panel.outline.model.outline is not None)
        assert "Choose a module" in stage.panel.details.empty.text()


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_loads_drawn_alone_look_like_those_drawn_with_the_tree(stage: LiveStage, theme: Theme) -> None:
    tree = stage.panel.outline.tree
    stage.panel.setStyleSheet(style_sheet(theme))
    tree.setPalette(theme.palette)
    stage.panel.set_theme(theme)
    stage.panel.outline.expand_to("expert")
    stage.session.select(Selection(Kind.EXPERT, layer=0, expert=2))
    grow(stage, 30)
    column = QRect(tree.columnViewportPosition(LOAD), 0, tree.columnWidth(LOAD), tree.viewport().height())

    def drawn(area: QRect) -> QImage:
        image = QImage(tree.viewport().size(), QImage.Format.Format_RGB32)
        tree.viewport().render(image, area.topLeft(), QRegion(area))
        return image.copy(column)

    alone, with_tree = drawn(column), drawn(tree.viewport().rect())
    assert (
        len({with_tree.pixel(x, y) for x in range(column.width()) for y in range(column.height())}) > 2
    )  # there is text
    assert alone == with_tree


def test_what_breakpoints_name_is_marked(stage: LiveStage) -> None:
    model = stage.panel.outline.model
    outline = model.outline
    assert outline is not None

    def marked() -> dict[str, str]:
        nodes = ((node, badge) for node in outline.order for badge in model.badges(node) if badge.role == "breakpoint")
        return {outline.path(node): badge.text for node, badge in nodes}

    assert marked() == {}
    entries = [{"id": 1, "text": "layer:1 expert:2 margin<0.1"}, {"id": 2, "text": "layer:0", "on": False}]
    stage.live.tell("breakpoints", {"active": True, "entries": entries})
    layer, expert = outline.layer_node(1), outline.expert_node(1, 2)
    assert marked() == {outline.path(layer): "● breakpoint", outline.path(expert): "● breakpoint"}
    assert "breakpoint" in model.index_of(expert).data(Qt.ItemDataRole.AccessibleTextRole)
    assert "stops here: layer:1 expert:2 margin<0.1" in model.index_of(layer).data(Qt.ItemDataRole.ToolTipRole)
    stage.live.tell("breakpoints", {"active": False, "entries": entries})
    assert set(marked().values()) == {"○ breakpoint"}, "deactivated, and not said by the colour alone"
    stage.live.attach(False)
    assert marked() == {}
