"""The Experts panel as a user drives it: typed, stepped, clicked, selected elsewhere."""

import csv
import io
from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from moedesk.core.errors import MoedeskError
from moedesk.core.label import Label
from moedesk.core.selection import Kind, Selection
from moedesk.panels.experts.model_choice import Choice, followed, stepped, typed
from moedesk.panels.experts.model_share import multiples, multiples_caption, share_view
from moedesk.panels.experts.view import ExpertsPanel
from moedesk.ui.theme import DARK
from tests.support.growing_store import growing_store
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.stage import Stage


@pytest.fixture
def store() -> MemoryStore:
    made = memory_store(passes=30, layers=3, experts=8, seed=3)
    made.labels = (Label("python", 0, 10), Label("prose", 10, 30))
    made.layers[1].experts[made.layers[1].experts == 6] = 5  # nobody chooses expert 6 of layer 1
    return made


@pytest.fixture
def stage(qtbot: QtBot, store: MemoryStore) -> Iterator[Stage]:
    with Stage(qtbot, store, ExpertsPanel) as made:
        yield made


def panel(stage: Stage) -> ExpertsPanel:
    assert isinstance(stage.panel, ExpertsPanel)
    return stage.panel


def select(stage: Stage, layer: int, expert: int) -> ExpertsPanel:
    stage.session.select(Selection(Kind.EXPERT, layer=layer, expert=expert))
    stage.settle()
    return panel(stage)


def test_typed_experts(store: MemoryStore) -> None:
    assert typed(" 2.7 ", store.model) == (2, 7)
    for text, what in (
        ("2", "layer.expert"),
        ("3.0", "no MoE layer 3; there are 0–2"),
        ("1.8", "no expert 8 in layer 1"),
    ):
        with pytest.raises(MoedeskError, match=what):
            typed(text, store.model)


def test_steps_stop_at_the_ends(store: MemoryStore) -> None:
    assert stepped((0, 7), 1, 0, store.model) == (1, 7)
    assert stepped((0, 0), -1, -1, store.model) == (0, 0)
    assert stepped((2, 7), 1, 1, store.model) == (2, 7)
    assert followed(Selection(Kind.LAYER, layer=2), (0, 5), store.model) == (2, 5)
    assert followed(Selection(Kind.PASS, pass_id=2), (1, 5), store.model) == (1, 5)


def test_an_expert_selected_elsewhere_is_shown(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, 2, 3)
    assert view.chooser.field.text() == "2.3"
    counts = store.window_counts()[2]
    assert view.share.numbers.bars[2].value == f"{counts[3]:,} of {counts.sum():,}"
    assert view.tokens.view is not None
    assert view.survey.view is not None
    assert view.tokens.view.choice.name == view.survey.view.choice.name == "2.3"
    assert {bar.name for bar in view.survey.labels.bars} == {"python", "prose"}


def test_what_is_typed_becomes_the_selection_and_what_is_wrong_says_why(stage: Stage) -> None:
    view = panel(stage)
    view.chooser.field.setText("1.5")
    QTest.keyClick(view.chooser.field, Qt.Key.Key_Return)
    stage.settle()
    assert (stage.session.selection.kind, stage.session.selection.layer, stage.session.selection.expert) == (
        Kind.EXPERT,
        1,
        5,
    )
    view.chooser.field.setText("1.99")
    QTest.keyClick(view.chooser.field, Qt.Key.Key_Return)
    assert "no expert 99 in layer 1" in view.chooser.path.text()
    assert stage.session.selection.expert == 5


def test_arrows_step(stage: Stage) -> None:
    view = select(stage, 1, 5)
    view.chooser.buttons["right"].click()
    stage.settle()
    assert (stage.session.selection.layer, stage.session.selection.expert) == (1, 6)
    view.chooser.buttons["down"].click()
    stage.settle()
    assert (stage.session.selection.layer, stage.session.selection.expert) == (2, 6)
    assert not view.chooser.buttons["down"].isEnabled()


def test_a_click_on_a_friend_goes_there(stage: Stage) -> None:
    view = select(stage, 0, 1)
    friend = view.survey.friends.bars[0].key
    QTest.mouseClick(
        view.survey.friends, Qt.MouseButton.LeftButton, pos=QPoint(20, view.survey.friends.line_height // 2)
    )
    stage.settle()
    assert (stage.session.selection.layer, stage.session.selection.expert) == friend
    assert view.chooser.field.text() == f"{friend[0]}.{friend[1]}"


def test_a_click_on_a_context_selects_its_token(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, 0, 1)
    line = view.tokens.lines
    QTest.mouseClick(line, Qt.MouseButton.LeftButton, pos=QPoint(60, line.line_height + 4))
    chosen = stage.session.selection
    assert (chosen.kind, chosen.token) == (Kind.TOKEN, line.contexts[1].row)
    assert 1 in store.layers[0].experts[chosen.token]
    stage.settle()
    assert view.shown == (0, 1)


def test_a_click_in_time_brushes_its_passes(stage: Stage) -> None:
    view = select(stage, 0, 1)
    chart = view.share.chart
    QTest.mouseClick(chart, Qt.MouseButton.LeftButton, pos=QPoint(chart.width() // 2, 40))
    assert chart.band is not None
    assert stage.session.window in list(zip(chart.band.edges[:-1], chart.band.edges[1:], strict=True))
    stage.settle()
    counts = stage.session.store.window_counts(*stage.session.window)[0]
    assert view.share.numbers.bars[-1].value.endswith(f"of {counts.sum():,}")


def test_an_expert_without_a_token_says_so(stage: Stage) -> None:
    view = select(stage, 1, 6)
    assert "No token went here" in view.tokens.contexts_card.caption.text()
    assert "No token went here" in view.survey.friends_card.caption.text()
    assert view.tokens.top.bars == ()


def test_conventions_change_without_reading_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    view = select(stage, 0, 1)
    before = [bar.value for bar in view.survey.friends.bars]
    monkeypatch.setattr(stage.session.jobs, "latest", lambda *_: pytest.fail("asked again"))
    view.survey.convention.setCurrentIndex(2)
    assert [bar.value for bar in view.survey.friends.bars] != before
    assert "token sets" in view.survey.friends_card.caption.text()


def test_another_expert_of_the_layer_costs_no_survey(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    select(stage, 0, 1)
    monkeypatch.setattr("moedesk.panels.experts.model_survey.survey", lambda *_: pytest.fail("read again"))
    view = select(stage, 0, 2)
    assert view.survey.view is not None
    assert view.survey.view.choice.expert == 2


@pytest.mark.parametrize("size", [(700, 450), (1600, 1000)])
def test_cards_reflow_without_overlap(qtbot: QtBot, store: MemoryStore, size: tuple[int, int]) -> None:
    with Stage(qtbot, store, ExpertsPanel, size, DARK) as stage:
        view = panel(stage)
        cards = [card for card in view.cards.cards if not card.isHidden()]
        for place, card in enumerate(cards):
            assert card.geometry().right() <= view.cards.viewport().width()
            assert card.height() >= card.height_at(card.width())
            assert not any(card.geometry().intersects(other.geometry()) for other in cards[:place])
        columns = len({card.x() for card in cards})
        assert columns == (1 if size[0] == 700 else 3)


def test_no_passes_say_what_to_do(qtbot: QtBot) -> None:
    with Stage(qtbot, growing_store(passes=5, shown=0), ExpertsPanel) as stage:
        assert panel(stage).empty.isVisible()
        assert "moe.run" in panel(stage).empty.text()


def test_the_menu_reveals_elsewhere(stage: Stage) -> None:
    view = select(stage, 1, 2)
    menu = QMenu(view)
    view.fill_menu(menu, view.share.card)
    action = next(action for action in menu.actions() if action.text() == "Reveal expert 1.2 in Elements")
    action.trigger()
    assert [(str(selection), name) for selection, name in stage.shell.revealed] == [("expert 1.2", "elements")]
    menu.deleteLater()


def test_choices_are_kept(stage: Stage) -> None:
    view = panel(stage)
    view.survey.convention.setCurrentIndex(1)
    state = view.save_state()
    view.survey.convention.setCurrentIndex(0)
    view.restore_state({**state, "which": "nonsense", "likeness": 99})
    assert view.survey.convention.currentIndex() == 1


def test_a_click_in_the_sankey_goes_along_a_path(stage: Stage) -> None:
    view = select(stage, 1, 2)
    sankey = view.paths.sankey
    assert list(sankey.picture.titles) == ["Layer 0", "Layer 1", "Layer 2"]
    assert sum(flow.amount for flow in sankey.picture.flows if flow.column == 0) == sankey.picture.columns[1][0].amount
    key = sankey.picture.columns[2][0].key
    QTest.mouseClick(sankey, Qt.MouseButton.LeftButton, pos=sankey.node_rect(2, 0).center().toPoint())
    stage.settle()
    assert (stage.session.selection.layer, stage.session.selection.expert) == key
    assert key == (view.shown)
    view.paths.box.setCurrentIndex(0)
    stage.settle()
    assert len(sankey.picture.columns) == 2


def test_graph_and_matrix_follow_the_convention(stage: Stage) -> None:
    view = select(stage, 0, 1)
    assert view.survey.view is not None
    for place in range(3):
        view.survey.convention.setCurrentIndex(place)
        ring = [node.key for node in view.survey.graph.nodes]
        assert ring == [(0, 1), *(bar.key for bar in view.survey.friends.bars[:8])]
        assert max(edge.strength for edge in view.survey.graph.edges) == pytest.approx(1)
        values = view.survey.matrix.values[1]
        assert int(np.nanargmax(values)) == ring[1][1]
    area = view.survey.matrix.area
    QTest.mouseClick(
        view.survey.matrix, Qt.MouseButton.LeftButton, pos=QPoint(int(area.left()) + 3, int(area.bottom()) - 3)
    )
    stage.settle()
    assert (stage.session.selection.layer, stage.session.selection.expert) == (0, 7)


def test_vocabulary_and_repetition_are_shown(stage: Stage) -> None:
    view = select(stage, 0, 1)
    survey = view.survey
    assert survey.view is not None
    names = [bar.name for bar in survey.vocabulary.bars]
    assert names[0] == "Specialisation"
    assert survey.own.bars
    assert "Dashed" in survey.repetition.bars[0].hint
    view = select(stage, 1, 6)
    assert view.survey.vocabulary.bars == ()
    assert "Pick another expert" in view.survey.vocabulary_card.caption.text()
    assert "No token has 1.6 as its first choice" in view.paths.card.caption.text()


@pytest.mark.parametrize("place", range(3))
def test_every_card_copies_what_it_shows(
    stage: Stage, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """The Python that is copied, run, gives what the CSV says."""
    view = select(stage, 1, 2)
    view.survey.convention.setCurrentIndex(place)
    monkeypatch.setattr("moedesk.open", lambda path: store)
    results = {}
    for card in view.cards.cards:
        menu = QMenu(view)
        view.fill_menu(menu, card)
        actions = {action.text(): action for action in menu.actions()}
        actions["Copy as CSV"].trigger()
        rows = list(csv.reader(io.StringIO(QGuiApplication.clipboard().text())))
        actions["Copy as Python"].trigger()
        names: dict = {}
        exec(QGuiApplication.clipboard().text(), names)  # what a user would paste
        results[card.title.text()] = (rows, names)
        menu.deleteLater()
    assert stage.shell.said[-1].startswith("Copied ")
    rows, names = results["Share over time"]
    assert [int(row[2]) for row in rows[1:]] == names["over"].counts.tolist()
    rows, names = results["Every expert of the layer"]
    assert [[int(x) for x in row[2:]] for row in rows[1:]] == names["counts"].tolist()
    rows, names = results["Contexts"]
    assert [row[6] for row in rows[1:]] == [one.token for one in names["found"].contexts]
    rows, names = results["Top tokens"]
    assert [int(row[0]) for row in rows[1:]] == [one.token_id for one in names["top"].tokens]
    for title in ("Co-activated friends", "Similar experts", "Friends graph"):
        rows, names = results[title]
        assert [(int(row[0]), float(row[1])) for row in rows[1:]] == [
            (one.expert, one.value) for one in names["result"]
        ]
    rows, names = results["Co-activation of the layer"]
    np.testing.assert_allclose([[float(x) for x in row[1:]] for row in rows[1:]], names["result"])
    rows, names = results["Paths through the layers"]
    assert [int(row[4]) for row in rows[1:]] == [flow.tokens for flow in names["found"].flows]
    rows, names = results["Vocabulary and repetition"]
    values = dict(rows[1:])
    assert float(values["specialization"]) == names["result"].specialization
    assert float(values["repetition_share"]) == names["repeats"].share
    rows, names = results["Tokens of its own"]
    assert [int(row[3]) for row in rows[1:]] == [one.seen for one in names["result"].own]
    rows, names = results["Share by label"]
    assert [int(row[2]) for row in rows[1:]] == names["result"][1].tolist()


def test_every_expert_of_the_layer_has_a_curve(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, 1, 2)
    grid = view.share.multiples
    assert grid.multiples is not None
    assert grid.multiples.experts == tuple(range(8))
    by_pass = store.counts(1, "pass")
    np.testing.assert_allclose(grid.multiples.shares, (by_pass / by_pass.sum(1, keepdims=True)).T)
    boxes = [grid.box(place) for place in range(8)]
    assert all(not a.intersects(b) for a in boxes for b in boxes if a is not b)
    assert max(box.bottom() for box in boxes) <= grid.height()
    QTest.mouseClick(grid, Qt.MouseButton.LeftButton, pos=grid.box(5).center().toPoint())
    stage.settle()
    assert (stage.session.selection.layer, stage.session.selection.expert) == (1, 5)
    assert "1/E" in view.share.multiples_card.caption.text()


def test_of_many_experts_those_that_change_most_have_a_curve() -> None:
    store = memory_store(passes=12, layers=1, experts=90, top_k=3, seed=2)
    view = share_view(store, Choice(0, 89, 0, 12))
    drawn = multiples(view)
    assert drawn is not None
    assert (len(drawn.experts), drawn.left_out) == (64, 26)
    assert 89 in drawn.experts
    by_pass = store.counts(0, "pass")
    span = np.ptp(by_pass / by_pass.sum(1, keepdims=True), axis=0)
    others = [e for e in range(90) if e not in drawn.experts]
    assert max(span[others]) <= min(span[e] for e in drawn.experts if e != 89)
    assert "26 left out" in multiples_caption(view)


def test_new_passes_are_counted_and_what_does_not_matter_is_not_asked_again(qtbot: QtBot) -> None:
    store = growing_store(passes=20, shown=5)
    with Stage(qtbot, store, ExpertsPanel) as stage:
        view = panel(stage)
        first = view.share.numbers.bars[2].value
        store.grow(10)
        stage.session.changed.emit("store")
        stage.settle()
        counts = store.counts(0)
        assert view.share.numbers.bars[2].value == f"{counts[0]:,} of {counts.sum():,}" != first
        assert view.survey.view is not None
        assert view.survey.view.choice.last == 15
        stage.session.changed.emit("filter")
        assert stage.session.jobs.idle


def test_labels_given_later_show(stage: Stage, store: MemoryStore) -> None:
    view = select(stage, 0, 1)
    store.labels = (Label("poem", 0, 30),)
    view.refresh(frozenset({"labels"}))
    stage.settle()
    assert [bar.name for bar in view.survey.labels.bars] == ["poem"]
