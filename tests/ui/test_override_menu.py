"""Overrides from a context menu and from the palette: what is offered where, and what is set."""

from collections.abc import Callable, Iterator

import pytest
import shiboken6
from PySide6.QtWidgets import QInputDialog, QMenu
from pytestqt.qtbot import QtBot

from moedesk.core.override import Override, OverrideKind
from moedesk.core.selection import Kind, Selection
from moedesk.ui.override_menu import add_override_actions, open_token_menu
from moedesk.ui.panel import Panel
from moedesk.ui.window import Window
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.overridden_live import OverriddenLive
from tests.support.overridden_stage import OverriddenStage
from tests.support.stage import Stage

EXPERT, LAYER = Selection(Kind.EXPERT, layer=1, expert=3), Selection(Kind.LAYER, layer=1)


class Blank(Panel):
    """A panel that shows nothing."""

    def refresh(self, changed: frozenset[str]) -> None:
        pass


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return memory_store(passes=4, layers=3, experts=8, tokens=6)


@pytest.fixture
def stage(qtbot: QtBot, store: MemoryStore) -> Iterator[OverriddenStage]:
    with OverriddenStage(qtbot, store, Blank) as stage:
        yield stage


def menu_of(stage: Stage, selection: Selection) -> QMenu:
    menu = QMenu(stage.panel)
    add_override_actions(menu, selection, stage.session, stage.shell)
    return menu


def titles(menu: QMenu) -> list[str]:
    return [action.text() for action in menu.actions() if not action.isSeparator()]


def below(menu: QMenu, title: str) -> QMenu:
    found = next(action.menu() for action in menu.actions() if action.text().startswith(title))
    assert isinstance(found, QMenu)
    return found


def choose(menu: QMenu, title: str) -> None:
    next(action for action in menu.actions() if action.text() == title).trigger()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[float | None], list[tuple[object, ...]]]:
    """Answer the next question for a number; None gives it up."""

    def answer(number: float | None) -> list[tuple[object, ...]]:
        asked: list[tuple[object, ...]] = []

        def ask(*arguments: object) -> tuple[float, bool]:
            asked.append(arguments)
            return (0, False) if number is None else (number, True)

        monkeypatch.setattr(QInputDialog, "getInt", ask)
        monkeypatch.setattr(QInputDialog, "getDouble", ask)
        return asked

    return answer


def test_an_expert_offers_what_can_be_done_to_it_and_to_its_layer(stage: OverriddenStage) -> None:
    menu = below(menu_of(stage, EXPERT), "Override")
    assert titles(menu) == [
        "Ablate expert 1.3",
        "Exclude expert 1.3",
        "Force expert 1.3",
        "Bias expert 1.3…",
        "Scale expert 1.3…",
        "Swap expert 1.3 with…",
        "Set k of layer 1 (new session)…",
        "Set temperature of layer 1…",
        "Set capacity of layer 1…",
    ]
    choose(menu, "Exclude expert 1.3")
    assert stage.live.set_now == [(Override(OverrideKind.EXCLUDE, (1,), (3,)), True)]
    assert "exclude expert 3 in layer 1" in stage.shell.said[-1]


def test_a_layer_offers_its_own(stage: OverriddenStage) -> None:
    assert titles(below(menu_of(stage, LAYER), "Override"))[0] == "Set k of layer 1 (new session)…"
    module = Selection(Kind.MODULE, layer=1, module="model.layers.1.mlp.gate")
    assert titles(below(menu_of(stage, module), "Override"))[0] == "Set k of layer 1 (new session)…"


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(Kind.PASS, pass_id=0),
        Selection(Kind.MODULE, module="model.embed"),
        Selection(Kind.TOKEN, token=3),
    ],
)
def test_where_no_layer_is_meant_nothing_is_offered(stage: OverriddenStage, selection: Selection) -> None:
    assert menu_of(stage, selection).isEmpty()


@pytest.mark.parametrize(
    ("title", "number", "meant"),
    [
        ("Bias expert 1.3…", -2.5, Override(OverrideKind.BIAS, (1,), (3,), -2.5)),
        ("Scale expert 1.3…", 0.0, Override(OverrideKind.SCALE, (1,), (3,), 0.0)),
        ("Swap expert 1.3 with…", 6, Override(OverrideKind.SWAP, (1,), (3, 6))),
        ("Set k of layer 1 (new session)…", 1, Override(OverrideKind.TOP_K, (1,), value=1.0)),
        ("Set temperature of layer 1…", 4.0, Override(OverrideKind.TEMPERATURE, (1,), value=4.0)),
        ("Set capacity of layer 1…", 1.5, Override(OverrideKind.CAPACITY, (1,), value=1.5)),
    ],
)
def test_a_number_is_asked_for(stage: OverriddenStage, answers, title: str, number: float, meant: Override) -> None:  # type: ignore[no-untyped-def]
    answers(None)
    choose(below(menu_of(stage, EXPERT), "Override"), title)
    assert stage.live.orders == []
    asked = answers(number)
    choose(below(menu_of(stage, EXPERT), "Override"), title)
    assert len(asked) == 1
    renews = meant.kind is OverrideKind.TOP_K
    assert ("A new session begins" in str(asked[0][2])) == renews, "the dialog says what else comes of it"
    menu = below(menu_of(stage, EXPERT), "Override")
    assert menu.toolTipsVisible()
    hints = {action.text(): action.toolTip() for action in menu.actions()}
    assert ("A new session begins" in hints[title]) == renews
    assert ("A new session begins" in hints.get(meant.title, "")) == renews, "so does switching it"
    assert stage.live.set_now == [(meant, True)]


def test_a_number_that_does_not_fit_is_refused_in_one_line(stage: OverriddenStage, answers) -> None:  # type: ignore[no-untyped-def]
    answers(3)
    choose(below(menu_of(stage, EXPERT), "Override"), "Swap expert 1.3 with…")
    assert stage.live.orders == []
    assert stage.shell.said == ["Nothing overridden: swap names an expert twice: 3, 3"]


def test_without_a_model_it_is_greyed_and_says_why(qtbot: QtBot, stage: OverriddenStage, store: MemoryStore) -> None:
    stage.live.end("the kernel was killed")
    (action,) = menu_of(stage, EXPERT).actions()
    assert not action.isEnabled()
    assert "the kernel was killed" in action.text()
    with Stage(qtbot, store, Blank) as file:
        (action,) = menu_of(file, EXPERT).actions()
        assert not action.isEnabled()
        assert "moe.attach()" in action.text()


def test_those_that_act_there_can_be_switched_and_listed(stage: OverriddenStage) -> None:
    here, elsewhere = Override(OverrideKind.ABLATE, (1,), (3,)), Override(OverrideKind.ABLATE, (2,), (3,))
    stage.live.set(here, elsewhere)
    menu = below(menu_of(stage, EXPERT), "Override")
    assert here.title in titles(menu)
    assert elsewhere.title not in titles(menu)
    choose(menu, here.title)
    assert stage.live.set_now == [(here, False), (elsewhere, True)]
    choose(menu, "Show all overrides")
    assert stage.shell.revealed[-1][1] == "overrides"


def test_a_token_offers_its_experts_at_its_column(stage: OverriddenStage, store: MemoryStore) -> None:
    row = 9
    token = store.read_tokens(row, row + 1)[0]
    chosen = [int(expert) for expert in store.experts(1, row, row + 1)[0]]
    assert int(token["column"]) not in (row, 0), "a row is no column"
    menu = below(menu_of(stage, Selection(Kind.TOKEN, layer=1, token=row)), "Override")
    tokens = below(menu, f"Only at token {row}")
    tokens.aboutToShow.emit()
    assert titles(tokens) == ["Reading the token …"]
    stage.settle()
    assert f"column {token['column']}" in titles(tokens)[0]
    assert [title for title in titles(tokens) if title.startswith("Expert")] == [f"Expert 1.{e}" for e in chosen]
    assert "Set temperature of layer 1…" in titles(tokens)
    assert "Set k of layer 1 (new session)…" not in titles(tokens), "k acts on whole passes"
    choose(below(tokens, f"Expert 1.{chosen[0]}"), f"Ablate expert 1.{chosen[0]}")
    column = int(token["column"])
    meant = Override(OverrideKind.ABLATE, (1,), (chosen[0],), columns=(column, column + 1))
    assert stage.live.set_now == [(meant, True)]


def test_an_expert_beside_a_token_can_be_overridden_there_alone(stage: OverriddenStage, store: MemoryStore) -> None:
    stage.session.select(Selection(Kind.TOKEN, layer=1, token=8))
    tokens = below(below(menu_of(stage, EXPERT), "Override"), "Only at token 8")
    tokens.aboutToShow.emit()
    stage.settle()
    choose(tokens, "Exclude expert 1.3")
    column = int(store.read_tokens(8, 9)[0]["column"])
    meant = Override(OverrideKind.EXCLUDE, (1,), (3,), columns=(column, column + 1))
    assert stage.live.set_now == [(meant, True)]


def test_a_menu_that_was_closed_takes_no_answer(stage: OverriddenStage) -> None:
    menu = menu_of(stage, Selection(Kind.TOKEN, layer=1, token=8))
    below(below(menu, "Override"), "Only at token 8").aboutToShow.emit()
    shiboken6.delete(menu)
    stage.settle()


def test_a_token_of_another_stream_than_the_layers_is_not_offered(stage: OverriddenStage) -> None:
    menu = menu_of(stage, Selection(Kind.TOKEN, layer=1, token=8, stream="encoder"))
    assert titles(below(menu, "Override"))[0] == "Set k of layer 1 (new session)…"


def test_a_dropped_slot_of_a_token_is_no_expert(qtbot: QtBot) -> None:
    store = memory_store(passes=4, layers=3, experts=8)
    store.layers[1].experts[9] = (-1, 5)
    with OverriddenStage(qtbot, store, Blank) as stage:
        tokens = below(below(menu_of(stage, Selection(Kind.TOKEN, layer=1, token=9)), "Override"), "Only at token 9")
        tokens.aboutToShow.emit()
        stage.settle()
        assert [title for title in titles(tokens) if title.startswith("Expert")] == ["Expert 1.5"]


def test_the_selected_token_can_be_overridden_without_a_mouse(window: Window, qtbot: QtBot) -> None:
    session = window.files.current
    assert session is not None
    session.live = live = OverriddenLive(session)
    assert not window.commands["override.token"].when()
    session.select(Selection(Kind.TOKEN, layer=1, token=9))
    assert window.commands["override.token"].when()
    menu = open_token_menu(session, window, window)
    qtbot.waitUntil(lambda: any(title.startswith("Expert 1.") for title in titles(menu)))
    expert = int(session.store.experts(1, 9, 10)[0].max())
    choose(below(menu, f"Expert 1.{expert}"), f"Exclude expert 1.{expert}")
    column = int(session.store.read_tokens(9, 10)[0]["column"])
    meant = Override(OverrideKind.EXCLUDE, (1,), (expert,), columns=(column, column + 1))
    assert live.set_now == [(meant, True)]
    menu.close()


def test_commands_override_what_is_selected_and_undo_it(window: Window, answers) -> None:  # type: ignore[no-untyped-def]
    session = window.files.current
    assert session is not None
    assert not window.commands["override.ablate"].when(), "a file has no model that runs"
    session.live = live = OverriddenLive(session)
    assert not window.commands["override.ablate"].when(), "no expert is selected"
    session.select(EXPERT)
    window.commands.run("override.ablate")
    assert live.set_now == [(Override(OverrideKind.ABLATE, (1,), (3,)), True)]
    answers(1)
    window.commands.run("override.top_k")
    assert [override.kind for override, _ in live.set_now] == [OverrideKind.ABLATE, OverrideKind.TOP_K]
    window.commands.run("override.undo")
    assert [override.kind for override, _ in live.set_now] == [OverrideKind.ABLATE]
    window.commands.run("override.redo")
    window.commands.run("override.clear")
    assert live.set_now == []
    assert not window.commands["override.clear"].when()


def test_the_status_bar_counts_what_acts_and_says_what_is_wrong(window: Window) -> None:
    session = window.files.current
    assert session is not None
    session.live = live = OverriddenLive(session)
    window.status.show_session(session)
    assert not window.status.overrides.isVisible()
    live.set(Override(OverrideKind.ABLATE, (1,), (3,)), Override(OverrideKind.TOP_K, value=1.0))
    assert window.status.overrides.text() == "⚠ 2 overrides on"
    assert "ablate expert 3 in layer 1" in window.status.overrides.toolTip()
    assert window.status.minimumSizeHint().width() < 500, "in a small window the other words make way"
    session.overriding.switch(1, False)
    assert window.status.overrides.text() == "⚠ 1 override on"
    live.say("k can't act on layer 2")
    assert window.status.currentMessage() == "k can't act on layer 2"
    session.overriding.clear()
    assert not window.status.overrides.isVisible()
    window.status.show_session(None)
