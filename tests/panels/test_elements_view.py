"""The Elements panel as a user drives it: clicks, keys, selections made elsewhere."""

from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QGuiApplication
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from moedesk.core.selection import NOTHING, Kind, Selection
from moedesk.core.store import Store
from moedesk.panels.elements.view import ElementsPanel
from moedesk.panels.elements.view_tree_model import LOAD, PARAMETERS
from moedesk.ui.theme import DARK
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.stage import Stage


@pytest.fixture
def store() -> MemoryStore:
    made = memory_store(passes=30, layers=3, experts=8, seed=3)
    made.layers[1].experts[made.layers[1].experts == 6] = 5  # nobody chooses expert 6 of layer 1
    return made


@pytest.fixture
def stage(qtbot: QtBot, store: MemoryStore) -> Iterator[Stage]:
    with Stage(qtbot, store, ElementsPanel) as made:
        yield made


def panel(stage: Stage) -> ElementsPanel:
    assert isinstance(stage.panel, ElementsPanel)
    return stage.panel


def select(stage: Stage, selection: Selection) -> ElementsPanel:
    stage.session.select(selection)
    stage.settle()
    return panel(stage)


def load_of(store: Store, layer: int, first: int = 0, last: int | None = None) -> np.ndarray:
    return store.window_counts(first, last)[layer]


def test_nothing_chosen_says_what_to_do(stage: Stage) -> None:
    details = panel(stage).details
    assert details.empty.isVisible()
    assert "Choose a module" in details.empty.text()
    assert not details.load.isVisible()
    assert not details.facts.isVisible()


def test_the_tree_opens_at_its_first_layer(stage: Stage) -> None:
    outline = panel(stage).outline
    first = outline.model.index_of(outline.model.outline.layer_node(0))
    assert outline.tree.isExpanded(first)
    assert outline.tree.visualRect(first).isValid()
    second = outline.model.index_of(outline.model.outline.layer_node(1))
    assert not outline.tree.isExpanded(second.parent())


def test_a_click_on_a_node_selects_it_for_all_panels(stage: Stage) -> None:
    outline = panel(stage).outline
    node = outline.model.outline.layer_node(0)
    place = outline.tree.visualRect(outline.model.index_of(node)).center()
    QTest.mouseClick(outline.tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
    stage.settle()
    selection = stage.session.selection
    assert (selection.kind, selection.layer, selection.module) == (Kind.LAYER, 0, "model.layers.0.mlp")
    assert panel(stage).details.title.text() == "MoE layer 0"


def test_arrow_keys_walk_the_tree(stage: Stage) -> None:
    view = select(stage, Selection(Kind.LAYER, layer=0))
    view.outline.tree.setFocus()
    QTest.keyClick(view.outline.tree, Qt.Key.Key_Down)
    stage.settle()
    assert stage.session.selection.module == "model.layers.0.mlp.gate"
    assert view.details.title.text() == "Router of MoE layer 0"
    values = {fact.label: fact.value for fact in view.details.facts.facts}
    assert values["Ranks by"] == "softmax"
    assert values["Chooses"] == "2 of 8 experts"


def test_an_expert_selected_elsewhere_is_shown_in_the_tree(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, Selection(Kind.EXPERT, layer=2, expert=7))
    tree, node = view.outline.tree, view.outline.current
    assert view.outline.model.outline.path(node) == "model.layers.2.mlp.experts[7]"
    rect = tree.visualRect(tree.currentIndex())
    assert tree.viewport().rect().contains(rect.center())
    counts = load_of(store, 2)
    values = {fact.label: fact.value for fact in view.details.expert.share.facts}
    assert values["Slots"] == f"{counts[7]:,} of {counts.sum():,}"
    assert view.details.title.text() == "Expert 7 of MoE layer 2"


def test_a_pass_selected_elsewhere_leaves_the_node(stage: Stage) -> None:
    view = select(stage, Selection(Kind.LAYER, layer=1))
    select(stage, Selection(Kind.PASS, pass_id=3))
    assert view.details.title.text() == "MoE layer 1"
    select(stage, NOTHING)
    assert view.details.empty.isVisible()


def test_bars_are_counts_divided_by_the_uniform_share(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, Selection(Kind.LAYER, layer=1))
    counts = load_of(store, 1)
    chart = view.details.load.chart
    assert chart.bars is not None
    np.testing.assert_allclose(chart.bars.ratios, counts / counts.mean())
    assert "6" in view.details.load.idle.text()
    values = {fact.label: fact.value for fact in view.details.load.tiles.facts}
    assert values["CV (population)"] == f"{counts.std() / counts.mean():.3f}"
    assert values["MaxVio"] == f"{counts.max() / counts.mean() - 1:.3f}"
    # The picture: heights from the middle of each bar, in the expert's colour.
    image = chart.grab().toImage()
    for bar in (0, 3):
        rect = chart.bar_rect(bar)
        x = int(rect.center().x())
        color = chart.theme.expert_color(bar).name()
        height = sum(QColor(image.pixel(x, y)).name() == color for y in range(image.height()))
        assert height == pytest.approx(rect.height(), abs=3)
    ratio = chart.bar_rect(0).height() / chart.bar_rect(3).height()
    assert ratio == pytest.approx(counts[0] / counts[3], rel=1e-6)


def test_bars_sort_by_load_and_a_click_takes_the_expert(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, Selection(Kind.LAYER, layer=1))
    view.details.load.sort.setCurrentIndex(1)
    counts, chart = load_of(store, 1), view.details.load.chart
    assert chart.bars is not None
    assert sorted(counts, reverse=True) == chart.bars.counts.tolist()
    place = chart.bar_rect(2).center().toPoint()
    assert chart.bar_at(QPointF(place)) == 2
    QTest.mouseClick(chart, Qt.MouseButton.LeftButton, pos=place)
    stage.settle()
    assert (stage.session.selection.kind, stage.session.selection.layer) == (Kind.EXPERT, 1)
    assert counts[stage.session.selection.expert] == sorted(counts)[-3]


def test_bars_are_reached_with_the_keyboard(stage: Stage) -> None:
    view = select(stage, Selection(Kind.LAYER, layer=1))
    chart = view.details.load.chart
    chart.setFocus()
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Left, Qt.Key.Key_Return):
        QTest.keyClick(chart, key)
    assert stage.session.selection.expert == 1


def test_load_follows_the_brush_and_the_replay(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, Selection(Kind.EXPERT, layer=0, expert=1))
    chart = view.details.load.chart
    stage.session.brush((5, 20))
    stage.settle()
    np.testing.assert_array_equal(chart.bars.counts, load_of(store, 0, 5, 20))
    stage.session.seek(9)
    stage.settle()
    counts = load_of(store, 0, 5, 10)
    np.testing.assert_array_equal(chart.bars.counts, counts)
    assert view.details.scope.text().startswith("Passes 5–9 (brushed, up to the replay cursor), 5 of 30 passes")
    values = {fact.label: fact.value for fact in view.details.expert.share.facts}
    assert values["Slots"] == f"{counts[1]} of {counts.sum()}"
    index = view.outline.model.index_of(view.outline.model.outline.expert_node(0, 1), LOAD)
    assert index.data() == f"{counts[1] / counts.mean():.2f}×"


def test_a_replay_that_outruns_the_counting_ends_on_its_last_pass(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, Selection(Kind.EXPERT, layer=0, expert=1))
    for cursor in range(20):
        stage.session.seek(cursor)
    stage.settle()
    counts = load_of(store, 0, 0, 20)
    np.testing.assert_array_equal(view.details.load.chart.bars.counts, counts)
    values = {fact.label: fact.value for fact in view.details.expert.share.facts}
    assert values["Slots"] == f"{counts[1]} of {counts.sum()}"


def test_passes_before_the_brush_say_what_to_do(stage: Stage) -> None:
    view = select(stage, Selection(Kind.EXPERT, layer=0, expert=1))
    stage.session.brush((10, 20))
    stage.session.seek(5)
    stage.settle()
    assert not view.details.load.chart.isVisible()
    assert "move the replay cursor on" in view.details.load.empty.text()
    assert "Brush more passes" in view.details.expert.note.text()


def test_top_tokens_are_those_of_the_capture(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, Selection(Kind.EXPERT, layer=1, expert=5))
    table = view.details.expert.table
    rows = [[table.model().index(row, column).data() for column in range(4)] for row in range(table.model().rowCount())]
    tokens = store.read_tokens()
    real = ~tokens["is_padding"]
    here = real & (store.experts(1) == 5).any(1)
    ids, counts = np.unique(tokens["token_id"][here], return_counts=True)
    assert len(rows) == len(ids)
    best = ids[np.argmax(counts)]
    chosen = here & (tokens["token_id"] == best)
    slots = (store.experts(1) == 5) & chosen[:, None]
    assert rows[0][1:] == [
        f"{counts.max()}",
        f"{100 * chosen.sum() / (real & (tokens['token_id'] == best)).sum():.1f} %",
        f"{store.weights(1)[slots].mean():.3f}",
    ]
    QTest.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text().startswith("token_id\ttext\tcount")


def test_next_and_previous_expert(stage: Stage) -> None:
    view = select(stage, Selection(Kind.EXPERT, layer=1, expert=0))
    assert not view.details.previous.isEnabled()
    QTest.mouseClick(view.details.next, Qt.MouseButton.LeftButton)
    assert stage.session.selection.expert == 1
    QTest.mouseClick(view.details.previous, Qt.MouseButton.LeftButton)
    assert stage.session.selection.expert == 0
    select(stage, Selection(Kind.EXPERT, layer=1, expert=7))
    assert not view.details.next.isEnabled()


def test_search_counts_and_enter_walks_the_matches(stage: Stage) -> None:
    view = panel(stage)
    view.focus_find()
    field = view.outline.search.field
    QTest.keyClicks(field, "GATE")
    assert view.outline.search.count.text() == "3 matches"
    assert stage.session.selection == NOTHING  # typing alone selects nothing
    paths = []
    for modifier in (Qt.KeyboardModifier.NoModifier,) * 4 + (Qt.KeyboardModifier.ShiftModifier,):
        QTest.keyClick(field, Qt.Key.Key_Return, modifier)
        paths.append(stage.session.selection.module)
    assert paths == [f"model.layers.{layer}.mlp.gate" for layer in (0, 1, 2, 0, 2)]
    assert view.outline.search.count.text() == "3 of 3"
    QTest.keyClick(field, Qt.Key.Key_Escape)
    assert field.text() == ""
    QTest.keyClicks(field, "no such thing")
    assert view.outline.search.count.text() == "no match"


def test_breadcrumbs_lead_up(stage: Stage) -> None:
    view = select(stage, Selection(Kind.EXPERT, layer=1, expert=4))
    crumbs = view.outline.breadcrumbs
    assert [button.text() for button in crumbs.buttons] == [
        "TestMoeForCausalLM", "model", "layers", "1", "mlp", "experts", "expert 4",
    ]  # fmt: skip
    QTest.mouseClick(crumbs.buttons[4], Qt.MouseButton.LeftButton)
    stage.settle()
    assert stage.session.selection.kind is Kind.LAYER
    assert view.details.title.text() == "MoE layer 1"


def test_breadcrumbs_without_room_leave_out_the_middle(stage: Stage, qtbot: QtBot) -> None:
    view = select(stage, Selection(Kind.EXPERT, layer=1, expert=4))
    crumbs = view.outline.breadcrumbs
    assert not any(button.isHidden() for button in crumbs.buttons)
    view.outline.setFixedWidth(260)
    qtbot.waitUntil(lambda: crumbs.width() <= 260)
    shown = [not button.isHidden() for button in crumbs.buttons]
    assert shown[0]
    assert shown[-1]
    assert not shown[1]


def test_the_context_menu_copies_and_reveals(stage: Stage) -> None:
    view = panel(stage)
    tree = view.outline.model.outline
    menu = view.outline.menu_of(tree.expert_node(2, 3))
    actions = {action.text(): action for action in menu.actions() if action.text()}
    actions["Copy path"].trigger()
    assert QGuiApplication.clipboard().text() == "model.layers.2.mlp.experts[3]"
    actions["Copy as Python"].trigger()
    assert QGuiApplication.clipboard().text() == 'model.get_submodule("model.layers.2.mlp.experts").down_proj[3]'
    reveals = [text for text in actions if text.startswith("Reveal")]
    assert reveals == ["Reveal expert 2.3 in Network"]
    actions[reveals[0]].trigger()
    ((selection, where),) = stage.shell.revealed
    assert (selection.layer, selection.expert, where) == (2, 3, "network")
    menu.deleteLater()


def test_expand_to_layers_and_collapse(stage: Stage) -> None:
    outline = panel(stage).outline
    outline.expand_to("moe")
    for layer in range(3):
        assert outline.tree.visualRect(outline.model.index_of(outline.model.outline.layer_node(layer))).isValid()
    outline._collapse()
    assert not outline.tree.isExpanded(outline.model.index_of(1))


def test_parameters_are_short_and_exact_on_hover(stage: Stage) -> None:
    model = panel(stage).outline.model
    index = model.index_of(model.outline.layer_node(0), PARAMETERS)
    assert index.data() == "8 k"
    assert index.data(Qt.ItemDataRole.ToolTipRole) == "8,000 parameters"


def test_the_qt_model_is_consistent(qtbot: QtBot, qtmodeltester: object, store: MemoryStore) -> None:
    with Stage(qtbot, store, ElementsPanel) as stage:
        qtmodeltester.check(panel(stage).outline.model, force_py=True)


def test_badges_and_bars_are_painted_in_both_themes(stage: Stage) -> None:
    view = select(stage, Selection(Kind.LAYER, layer=1))
    light = view.grab().toImage()
    view.set_theme(DARK)
    dark = view.grab().toImage()
    assert light != dark
    chart = view.details.load.chart
    corner = chart.grab().toImage().pixelColor(1, chart.height() - 1)
    assert corner == DARK.color("surface")


def test_layout_is_kept_and_nonsense_ignored(stage: Stage) -> None:
    view = panel(stage)
    view.restore_state({"sizes": ["a", 2], "by_load": "yes"})
    assert not view.details.load.by_load
    view.restore_state({"sizes": [700, 290], "by_load": True})
    state = view.save_state()
    assert state["by_load"] is True
    assert state["sizes"][0] > state["sizes"][1]


def test_a_capture_that_cannot_be_read_says_so(
    qtbot: QtBot, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk went away")

    monkeypatch.setattr(store, "window_counts", fail)
    with Stage(qtbot, store, ElementsPanel) as stage:
        assert "the disk went away" in panel(stage).details.empty.text()
        view = select(stage, Selection(Kind.EXPERT, layer=0, expert=1))
        assert "the disk went away" in view.details.expert.note.text()


def test_the_mouse_says_what_a_bar_is(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, Selection(Kind.LAYER, layer=1))
    chart, counts = view.details.load.chart, load_of(store, 1)
    assert (
        chart.bars.hint(2)
        == f"Expert 2: {counts[2] / counts.mean():.2f}× the uniform share, {counts[2]} of {counts.sum()} slots"
    )
    assert chart.bars.hint(6) == f"Expert 6: no slot of {counts.sum()}"
    assert chart.bar_at(QPointF(QPoint(1, 50))) == -1
