"""The Explain tab in Network's details: what it shows of a token, and how it asks the model for more."""

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from moedesk.core.attribution import Attribution, Counterfactual, Why
from moedesk.core.attribution_json import taken_apart
from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.view import NetworkPanel
from moedesk.panels.network.view_ask_bar import WAITS
from moedesk.panels.network.view_explain import NOTHING, ExplainTab
from moedesk.session.conversation import Outcome
from moedesk.ui.theme import DARK
from tests.support import explained
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.played_live import PlayedLive, PlayedTask
from tests.support.stage import Stage

ROW, LAYER = 26, 2
TOKEN = Selection(Kind.TOKEN, pass_id=1, layer=LAYER, token=ROW)


@pytest.fixture
def store() -> MemoryStore:
    return memory_store(layers=3, experts=8, top_k=3)


@pytest.fixture
def stage(qtbot: QtBot, store: MemoryStore) -> Iterator[Stage]:
    with Stage(qtbot, store, NetworkPanel) as made:
        made.panel.details.setCurrentWidget(made.panel.details.explain)
        yield made


@pytest.fixture
def live(stage: Stage) -> PlayedLive:
    """A model that is attached."""
    played = PlayedLive(stage.session)
    stage.session.live = played
    stage.session.changed.emit("live")
    return played


def tab(stage: Stage) -> ExplainTab:
    explain: ExplainTab = stage.panel.details.explain
    return explain


def asked(stage: Stage, live: PlayedLive) -> PlayedTask:
    """The task that comes of a click on the button."""
    before = len(live.tasks)
    tab(stage).bar.button.click()
    stage.qtbot.waitUntil(lambda: len(live.tasks) > before)
    return live.tasks[-1]


def answer(task: PlayedTask, explanation: Why | Attribution | Counterfactual) -> None:
    task.done(Outcome(True, "", *taken_apart(explanation)))


def test_without_a_token_it_says_what_to_do(stage: Stage) -> None:
    assert tab(stage).heading.text() == NOTHING
    assert not tab(stage).bar.isVisible()


def test_a_file_says_that_new_ones_need_the_model(stage: Stage) -> None:
    stage.session.select(TOKEN)
    stage.settle()
    text = stage.session.store.token_text(stage.session.store.read_tokens(ROW, ROW + 1)["token_id"])[0].strip()
    assert text in tab(stage).heading.text()
    assert f"at L{LAYER}" in tab(stage).heading.text()
    assert "a file has its stored explanations only" in tab(stage).bar.line.text()
    assert not tab(stage).bar.button.isEnabled()
    assert tab(stage).nothing.isVisible()


def test_a_question_waits_runs_and_is_answered(stage: Stage, live: PlayedLive, store: MemoryStore) -> None:
    stage.session.select(TOKEN)
    explain = tab(stage)
    task = asked(stage, live)
    assert (task.name, task.value["layer"]) == ("why", LAYER)
    assert explain.bar.cancel.isVisible()
    assert not explain.bar.button.isVisible()
    stage.qtbot.waitUntil(lambda: explain.bar.line.text() == WAITS)
    assert task.progress is not None
    task.progress(0.25, "watching the router")
    assert explain.bar.line.text() == "watching the router"
    assert explain.bar.progress.value() == 250
    why = explained.why(store, ROW, LAYER)
    answer(task, why)
    assert explain.why.isVisible()
    assert not explain.bar.cancel.isVisible()
    assert len(explain.why.ranking.bars) == 7
    assert explain.why.first.currentData() in why.chosen
    assert explain.why.second.currentData() == why.runner_up
    assert explain.why.terms.count == len(why.components) + 2


def test_two_experts_are_compared(stage: Stage, live: PlayedLive, store: MemoryStore) -> None:
    stage.session.select(TOKEN)
    answer(asked(stage, live), explained.why(store, ROW, LAYER))
    page = tab(stage).why
    why = page.shown
    assert why is not None
    page.second.setCurrentIndex(0)
    page.second.activated.emit(0)
    first = page.first.currentData()
    assert page.terms.terms[-1].end == why.explained[first]
    assert not page.decided.isVisible()
    wide = [page.terms.bar(line).width() for line in range(page.terms.count)]
    sizes = [abs(term.end - term.start) for term in page.terms.terms]
    assert wide[sizes.index(max(sizes))] == max(wide)
    page.by_size.click()
    assert abs(page.terms.terms[0].end) == max(abs(why.contributions[:, first]))
    other = next(expert for expert, state in ((bar.key, bar.name) for bar in page.ranking.bars) if "next" in state)
    line = [bar.key for bar in page.ranking.bars].index(other)
    spot = QPointF(5, (line + 0.5) * page.ranking.line_height).toPoint()
    stage.qtbot.mouseClick(page.ranking, Qt.MouseButton.LeftButton, pos=spot)
    assert page.first.currentData() == other
    assert (stage.session.selection.kind, stage.session.selection.expert) == (Kind.EXPERT, other)
    assert stage.session.selection.token == ROW, "the token stays the one that is explained"


def test_other_tokens_and_layers_have_explanations_of_their_own(
    stage: Stage, live: PlayedLive, store: MemoryStore
) -> None:
    stage.session.select(TOKEN)
    answer(asked(stage, live), explained.why(store, ROW, LAYER))
    stage.session.select(Selection(Kind.LAYER, layer=0))
    assert not tab(stage).why.isVisible()
    assert tab(stage).nothing.isVisible()
    stage.session.select(Selection(Kind.LAYER, layer=LAYER))
    assert tab(stage).why.isVisible()
    stage.session.select(Selection(Kind.TOKEN, pass_id=1, layer=LAYER, token=ROW + 1))
    assert not tab(stage).why.isVisible()


def test_an_attribution_shows_effects_by_layer_and_slot(stage: Stage, live: PlayedLive, store: MemoryStore) -> None:
    stage.session.select(TOKEN)
    explain = tab(stage)
    explain.show_page(Attribution)
    page = explain.attribution
    page.target.setText(" return")
    page.quantity.setCurrentIndex(1)
    task = asked(stage, live)
    assert (task.name, task.value["target"], task.value["value"]) == ("attribute", " return", "logit")
    found = explained.attribution(store, ROW)
    answer(task, found)
    stage.settle()
    assert "residual" in page.verdict.text()
    assert page.map.values.tolist() == found.ablation.tolist()
    page.choice.setCurrentIndex(page.choice.findData("direct"))
    page.choice.activated.emit(0)
    assert page.map.values.tolist() == found.direct.tolist()
    assert "in logits" in page.legend.text()
    cell = page.map.cell(1, 2).center().toPoint()
    stage.qtbot.mouseClick(page.map, Qt.MouseButton.LeftButton, pos=cell)
    assert (stage.session.selection.layer, stage.session.selection.expert) == (1, found.experts[1, 2])
    direct = 1 + [quantity.key for quantity in page.table.columns].index("direct")
    page.view.sortByColumn(direct, Qt.SortOrder.DescendingOrder)
    values = [abs(float(page.table.index(row, direct).data())) for row in range(page.table.rowCount())]
    assert values == sorted(values, reverse=True)
    assert page.attention.isVisible()
    page.attention.hovered.emit((0, 0))
    assert "the mean of 4 heads" in page.attention_line.text()
    before = live.tasks[-1]
    page.target.setText("17")
    assert asked(stage, live).value["target"] == 17
    assert before is not live.tasks[-1]


def test_other_routes_show_regret_and_their_losses(stage: Stage, live: PlayedLive, store: MemoryStore) -> None:
    stage.session.select(TOKEN)
    explain = tab(stage)
    explain.show_page(Counterfactual)
    assert asked(stage, live).value["layers"] is None
    explain.bar.cancel.click()
    assert live.tasks[-1].cancelled
    explain.routes.scope.setCurrentIndex(1)
    task = asked(stage, live)
    assert (task.name, task.value["layers"]) == ("counterfactual", [LAYER])
    found = explained.counterfactual(store, ROW)
    answer(task, found)
    page = explain.routes
    assert [bar.name for bar in page.regrets.bars] == ["L0", "L1", "L2"]
    assert page.layer == LAYER
    page.regrets.picked.emit(0)
    assert stage.session.selection.layer == 0
    losses = [float(page.table.item(row, 1).text()) for row in range(page.table.rowCount())]
    assert losses == pytest.approx(sorted(found.losses[found.layers == 0]), abs=1e-4)
    bold = [row for row in range(len(losses)) if page.table.item(row, 0).font().bold()]
    assert bold == [found.ranks[0]]


def test_what_was_explained_can_be_gone_to(stage: Stage, live: PlayedLive, store: MemoryStore) -> None:
    stage.session.select(TOKEN)
    answer(asked(stage, live), explained.why(store, ROW, LAYER))
    stage.session.select(Selection(Kind.TOKEN, pass_id=1, layer=0, token=ROW + 1))
    explain = tab(stage)
    explain.show_page(Counterfactual)
    assert explain.links.isVisible()
    explain.links.linkActivated.emit("0")
    assert (stage.session.selection.token, stage.session.selection.layer) == (ROW, LAYER)
    assert explain.why.isVisible()
    assert not explain.links.isVisible()


def test_what_went_wrong_stays_until_the_next_question(stage: Stage, live: PlayedLive) -> None:
    stage.session.select(TOKEN)
    asked(stage, live).done(Outcome(False, "token id 9,999 is not in the vocabulary"))
    assert tab(stage).bar.line.text() == "token id 9,999 is not in the vocabulary"
    assert tab(stage).bar.button.isVisible()
    asked(stage, live)
    assert "vocabulary" not in tab(stage).bar.line.text()


def test_the_menu_of_a_token_asks(stage: Stage, live: PlayedLive, store: MemoryStore) -> None:
    panel = stage.panel
    panel.details.setCurrentWidget(panel.details.tokens)
    menu = QMenu(panel)
    panel.fill_menu(menu, TOKEN)
    actions = {action.text(): action for action in menu.actions()}
    actions["Attribute"].trigger()
    assert panel.details.currentWidget() is panel.details.explain
    assert tab(stage).page is tab(stage).attribution
    stage.qtbot.waitUntil(lambda: bool(live.tasks))
    answer(live.tasks[-1], explained.attribution(store, ROW))
    actions["Attribute"].trigger()
    stage.settle()
    assert len(live.tasks) == 1, "what is known is shown, not asked for again"
    actions["Try other routes"].trigger()
    stage.qtbot.waitUntil(lambda: len(live.tasks) == 2)
    menu = QMenu(panel)
    panel.fill_menu(menu, Selection(Kind.EXPERT, layer=1, expert=3))
    next(action for action in menu.actions() if action.text() == "Why this expert?").trigger()
    stage.qtbot.waitUntil(lambda: len(live.tasks) == 3)
    assert (live.tasks[-1].name, live.tasks[-1].value["layer"]) == ("why", 1)
    panel.set_theme(DARK)
