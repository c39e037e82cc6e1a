"""Where an override acts is marked in every panel, by a word or a shape, and no longer once it is gone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QImage
from pytestqt.qtbot import QtBot

from moedesk.core.acted import Acted
from moedesk.core.columns import RouteFlag
from moedesk.core.filter import parse
from moedesk.core.override import Override, OverrideKind
from moedesk.core.selection import Kind, Selection
from moedesk.panels.elements.model_marks import override_marks
from moedesk.panels.elements.model_tree import outline
from moedesk.panels.elements.view import ElementsPanel
from moedesk.panels.experts.view import ExpertsPanel
from moedesk.panels.network.model_passes import COLUMNS
from moedesk.panels.network.view import NetworkPanel
from moedesk.panels.waterfall.view import WaterfallPanel
from moedesk.session.overridden import Overridden
from moedesk.session.overriding import Entry
from moedesk.ui.override_marks import OverrideMarks, layer_text
from moedesk.ui.theme import LIGHT
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.overridden_stage import OverriddenStage
from tests.support.stage import Stage

ABLATE = Override(OverrideKind.ABLATE, (1,), (3,))
FEWER = Override(OverrideKind.TOP_K, (), value=1.0)


@pytest.fixture
def store() -> MemoryStore:
    return memory_store(passes=10, layers=3, experts=8)


@pytest.fixture(scope="module")
def flagged() -> MemoryStore:
    """A store in which an override changed rows 3 and 4 at layer 1."""
    made = memory_store(passes=10, layers=3, experts=8, padding=0)
    made.layers[1].flags[3:5] |= np.uint8(RouteFlag.OVERRIDDEN)
    return made


def pixels(image: QImage, color: QColor) -> np.ndarray:
    """Return (n, 2) the x and y of all pixels of just this colour."""
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    bits = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    y, x = (bits[:, : image.width(), :3] == (color.blue(), color.green(), color.red())).all(axis=2).nonzero()
    return np.stack([x, y], axis=1)


def pictured(stage: Stage) -> tuple[Any, Any]:
    """The picture of Network's or Waterfall's panel, and the line that says what is pointed at."""
    panel = stage.panel
    return (
        (panel.waterfall, panel.readout)
        if isinstance(panel, WaterfallPanel)
        else (panel.overview.heatmap, panel.overview.readout)
    )


def act(stage: OverriddenStage, *passes: tuple[int, int]) -> None:
    """Let an expert have been ablated on some passes, as a running model's capture has it."""
    stage.session.store.overrides = (Acted(ABLATE, passes),)  # type: ignore[attr-defined]
    stage.session.store.revision += 1  # type: ignore[attr-defined]
    stage.session.changed.emit("store")
    stage.qtbot.waitUntil(lambda: bool(stage.session.overriding.acted))
    stage.settle()


def test_badges_are_on_the_layers_and_experts_that_it_is_about(store: MemoryStore) -> None:
    tree = outline(store.model)
    ablate = Entry(1, True, 0, ABLATE)

    def badged(*those: Entry) -> set[str]:
        return {tree.path(node) for node in override_marks(tree, Overridden(those, (), 3))}

    layer, expert = tree.path(tree.layer_node(1)), tree.path(tree.expert_node(1, 3))
    assert badged(ablate) == {layer, expert}
    assert badged(Entry(2, True, 0, FEWER)) == {info.path for info in store.model.layers}
    (badge,) = override_marks(tree, Overridden((ablate,), (), 3))[tree.expert_node(1, 3)]
    assert badge.text == "overridden"
    assert badge.hint == ABLATE.title
    (badge,) = override_marks(tree, Overridden((), (ablate,), 3))[tree.expert_node(1, 3)]
    assert badge.text == "override on"
    assert badge.hint == f"on now, not on the passes in view: {ABLATE.title}"
    both = override_marks(tree, Overridden((ablate,), (Entry(2, True, 0, FEWER),), 3))
    assert [badge.text for badge in both[tree.layer_node(1)]] == ["overridden"]
    assert FEWER.title in both[tree.layer_node(1)][0].hint
    assert [badge.text for badge in both[tree.layer_node(2)]] == ["override on"]


def test_elements_says_it_in_words_and_in_the_tooltip(qtbot: QtBot, store: MemoryStore) -> None:
    with OverriddenStage(qtbot, store, ElementsPanel) as stage:
        model = stage.panel.outline.model
        node = model.outline.expert_node(1, 3)
        accessible = Qt.ItemDataRole.AccessibleTextRole
        assert "overridden" not in model.data(model.index_of(node), accessible)
        stage.panel.outline.show_node(node)
        before = pixels(stage.panel.outline.tree.grab().toImage(), LIGHT.color("warning"))
        stage.live.set(ABLATE)
        stage.settle()
        assert "override on" in model.data(model.index_of(node), accessible)
        assert "overridden" not in model.data(model.index_of(node), accessible), "no pass ran under it"
        assert ABLATE.title in model.data(model.index_of(node), Qt.ItemDataRole.ToolTipRole)
        after = pixels(stage.panel.outline.tree.grab().toImage(), LIGHT.color("warning"))
        assert len(after) > len(before), "the badge is drawn"
        stage.session.overriding.clear()
        assert "override" not in model.data(model.index_of(node), accessible)
        act(stage, (2, 5))
        assert "overridden" in model.data(model.index_of(node), accessible)
        stage.session.brush((6, 9))
        stage.settle()
        assert "override" not in model.data(model.index_of(node), accessible)


def test_the_experts_panel_says_so_of_the_expert_on_show(qtbot: QtBot, store: MemoryStore) -> None:
    with OverriddenStage(qtbot, store, ExpertsPanel) as stage:
        stage.session.select(Selection(Kind.EXPERT, layer=1, expert=3))
        label = stage.panel.chooser.overridden
        assert not label.isVisible()
        stage.live.set(ABLATE)
        assert label.isVisible()
        assert label.text() == "⚠ override on now"
        assert label.toolTip() == "on now, not on these passes: ablate expert 3 in layer 1"
        act(stage, (2, 5))
        assert label.text() == "⚠ overridden"
        assert label.toolTip() == "overridden: ablate expert 3 in layer 1 (passes 2–4)"
        stage.session.brush((6, 9))
        stage.settle()
        assert label.text() == "⚠ override on now"
        stage.session.select(Selection(Kind.EXPERT, layer=1, expert=4))
        assert not label.isVisible()
        stage.live.set(FEWER)
        assert label.isVisible(), "what acts on all layers acts on this expert too"


def test_tokens_that_were_changed_have_a_corner(qtbot: QtBot, flagged: MemoryStore) -> None:
    with OverriddenStage(qtbot, flagged, NetworkPanel) as stage:
        stage.session.seek(0)
        text = stage.panel.details.tokens.text
        for layer in (0, 1):
            stage.session.select(Selection(Kind.LAYER, layer=layer))
            stage.settle()
            image = text.viewport().grab().toImage()
            corners = []
            for row in range(2, 6):
                box = text.rect_of(row)
                assert box is not None
                corner = image.pixelColor(int(box.right()) - 2, int(box.top()) + 1)
                corners.append(corner != image.pixelColor(int(box.left()) + 1, int(box.top()) + 1))
            assert corners == [False, layer == 1, layer == 1, False]
        assert "◥ 2 overridden here" in stage.panel.details.tokens.note.text()
        assert "overridden: " in text.hint(3)
        assert "overridden" not in text.hint(5)


def test_routing_and_filter_find_what_was_changed(qtbot: QtBot, flagged: MemoryStore) -> None:
    with OverriddenStage(qtbot, flagged, NetworkPanel) as stage:
        stage.panel.details.setCurrentWidget(stage.panel.details.routing)
        stage.session.select(Selection(Kind.TOKEN, layer=1, token=4))
        stage.settle()
        table = stage.panel.details.routing.table
        flags = [table.data(table.index(row, table.columnCount() - 1)) for row in range(3)]
        assert flags == ["", "overridden", ""]
        stage.session.set_filter(parse("is:overridden"))
        stage.settle()
        assert list(stage.panel.passes.table.numbers) == [0]


@pytest.mark.parametrize("panel", [NetworkPanel, WaterfallPanel])
def test_axes_have_a_diamond_beside_the_expert_and_the_readout_says_what(
    qtbot: QtBot,
    store: MemoryStore,
    panel: Callable,  # type: ignore[type-arg]
) -> None:
    with OverriddenStage(qtbot, store, panel) as stage:
        picture, readout = pictured(stage)
        warning = LIGHT.color("warning")
        assert len(pixels(picture.grab().toImage(), warning)) == 0
        stage.live.set(ABLATE)
        stage.settle()
        drawn = pixels(picture.grab().toImage(), warning)
        middle = picture.position_of(1, 3, 0)
        assert len(drawn) >= 5
        assert abs(drawn[:, 1].mean() - middle.y()) < 2.5, "beside the row of the expert"
        assert drawn[:, 0].max() < middle.x(), "on the axis, not in the picture"
        for where, said in ((picture.position_of(1, 3, 0), True), (picture.position_of(2, 3, 0), False)):
            picture.hovered.emit(picture.cell_at(where))
            stage.settle()
            assert ("on now, not on these passes: ablate expert 3 in layer 1" in readout.text()) == said
            assert "overridden" not in readout.text()
        act(stage, (2, 5))
        filled = pixels(picture.grab().toImage(), warning)
        assert len(filled) > len(drawn), "filled where it acted, empty where it is only on"
        stage.session.overriding.switch(1, False)
        stage.settle()
        assert len(pixels(picture.grab().toImage(), warning)) == len(filled), (
            "it is off, but passes in view ran under it"
        )
        for number, said in ((1, False), (2, True), (4, True), (5, False)):
            picture.hovered.emit(picture.cell_at(picture.position_of(1, 3, number)))
            stage.settle()
            assert ("overridden: ablate expert 3 in layer 1 (passes 2–4)" in readout.text()) == said
        stage.session.brush((6, 9))
        stage.settle()
        assert len(pixels(picture.grab().toImage(), warning)) == 0


@pytest.mark.parametrize("panel", [NetworkPanel, WaterfallPanel])
def test_axes_mark_what_acted_on_the_passes_that_they_show(
    qtbot: QtBot,
    store: MemoryStore,
    panel: Callable,  # type: ignore[type-arg]
) -> None:
    """Zoomed to passes that ran without it, nothing is marked."""
    with OverriddenStage(qtbot, store, panel) as stage:
        act(stage, (0, 2))
        picture, _ = pictured(stage)
        assert len(pixels(picture.grab().toImage(), LIGHT.color("warning")))
        if panel is NetworkPanel:
            picture._plot.setXRange(5, 9, padding=0)
        else:
            view = picture.viewport
            picture.set_viewport(replace(view, per_pass=view.width / 4, right=10))
        stage.settle()
        assert len(pixels(picture.grab().toImage(), LIGHT.color("warning"))) == 0


def test_a_layer_with_an_override_has_a_star() -> None:
    assert layer_text(3, OverrideMarks(frozenset({(3, None)}))) == "L3*"
    assert layer_text(2, OverrideMarks(frozenset({(3, None), (2, 5)}))) == "L2"
    assert layer_text(2, OverrideMarks(frozenset({(3, None)}), frozenset({(2, None)}))) == "L2°"


@pytest.fixture
def recorded() -> MemoryStore:
    """A capture in which an expert was ablated on passes 2 to 4."""
    made = memory_store(passes=10, layers=3, experts=8, padding=0)
    made.overrides = (Acted(ABLATE, ((2, 5),)),)
    return made


@pytest.mark.parametrize("panel", [NetworkPanel, WaterfallPanel])
def test_axes_of_a_capture_mark_what_acted_on_the_passes_in_view(
    qtbot: QtBot,
    recorded: MemoryStore,
    panel: Callable,  # type: ignore[type-arg]
) -> None:
    with Stage(qtbot, recorded, panel) as stage:
        stage.settle()
        picture, readout = pictured(stage)
        drawn = pixels(picture.grab().toImage(), LIGHT.color("warning"))
        assert abs(drawn[:, 1].mean() - picture.position_of(1, 3, 0).y()) < 2.5
        for number in range(10):
            picture.hovered.emit(picture.cell_at(picture.position_of(1, 3, number)))
            stage.settle()
            assert ("overridden: ablate expert 3" in readout.text()) == (2 <= number < 5)
        stage.session.brush((6, 9))
        stage.settle()
        assert len(pixels(picture.grab().toImage(), LIGHT.color("warning"))) == 0


def test_elements_and_experts_mark_a_captures_overrides(qtbot: QtBot, recorded: MemoryStore) -> None:
    with Stage(qtbot, recorded, ElementsPanel) as stage:
        stage.settle()
        model = stage.panel.outline.model
        node = model.outline.expert_node(1, 3)
        assert "overridden" in model.data(model.index_of(node), Qt.ItemDataRole.AccessibleTextRole)
        stage.session.seek(1)
        stage.settle()
        assert "overridden" not in model.data(model.index_of(node), Qt.ItemDataRole.AccessibleTextRole)
    with Stage(qtbot, recorded, ExpertsPanel) as stage:
        stage.session.select(Selection(Kind.EXPERT, layer=1, expert=3))
        stage.settle()
        assert stage.panel.chooser.overridden.isVisible()
        stage.session.brush((6, 9))
        assert not stage.panel.chooser.overridden.isVisible()


def test_the_table_says_which_passes_ran_under_overrides(qtbot: QtBot, recorded: MemoryStore) -> None:
    with Stage(qtbot, recorded, NetworkPanel) as stage:
        stage.settle()
        table = stage.panel.passes.table
        phase = next(place for place, column in enumerate(COLUMNS) if column.id == "phase")
        said = [str(table.text(row, phase)) for row in range(10)]
        assert [text.endswith(" · overridden") for text in said] == [2 <= number < 5 for number in range(10)]
        hints = [table.data(table.index(row, phase), Qt.ItemDataRole.ToolTipRole) for row in (1, 2)]
        assert hints == [None, f"overridden: {ABLATE.title}"]
