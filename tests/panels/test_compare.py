"""The Compare panel, driven as a user does: choose, swap, cancel, pick layers; the numbers are those of plain loops."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from moedesk.core.acted import Acted
from moedesk.core.override import Override, OverrideKind
from moedesk.core.selection import Kind, Selection
from moedesk.panels.compare import view
from moedesk.panels.compare.model import Comparison, Question, compare
from moedesk.panels.compare.model_layers import COLUMNS
from moedesk.panels.compare.spec import SPEC
from moedesk.panels.compare.view import EMPTY, ComparePanel
from moedesk.session.jobs import Jobs, Ticket
from moedesk.session.panel import load_view, panel_specs
from moedesk.session.session import Session
from moedesk.ui.theme import DARK, LIGHT
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.stage import Stage


def changed(store: MemoryStore, share: float = 0.2, seed: int = 1) -> MemoryStore:
    """The same tokens; in every layer some have another last expert."""
    rng = np.random.default_rng(seed)
    layers = []
    for layer in store.layers:
        experts = layer.experts.copy()
        for i in np.flatnonzero(rng.random(len(experts)) < share):
            experts[i, -1] = rng.choice([e for e in range(8) if e not in experts[i]])
        layers.append(replace(layer, experts=experts, margin=layer.margin.copy(), flags=layer.flags.copy()))
    return replace(store, layers=layers, name="other")


@pytest.fixture
def store() -> MemoryStore:
    return memory_store(passes=30, seed=4)


@pytest.fixture
def stage(qtbot: QtBot, store: MemoryStore) -> Iterator[Stage]:
    with Stage(qtbot, store, ComparePanel, path=Path("/captures/mine.h5")) as stage:
        yield stage


@pytest.fixture
def other(stage: Stage, store: MemoryStore) -> Iterator[Session]:
    session = Session(changed(store), Jobs(stage.delivery), Path("/captures/other.h5"))
    yield session
    session.close()


def arrive(stage: Stage, session: Session) -> None:
    stage.shell.beside.sessions.append(session)
    stage.shell.beside.changed.emit(session)


def leave(stage: Stage, session: Session) -> None:
    stage.shell.beside.sessions.remove(session)
    stage.shell.beside.changed.emit(session)


def choose(stage: Stage, session: Session) -> None:
    box = stage.panel.choice.other
    box.setCurrentIndex(next(place for place in range(box.count()) if box.itemData(place) is session))
    box.activated.emit(box.currentIndex())
    stage.settle()


def compared(stage: Stage, other: Session) -> ComparePanel:
    arrive(stage, other)
    choose(stage, other)
    assert stage.panel.comparison is not None
    return stage.panel


def flips(a: MemoryStore, b: MemoryStore, place: int) -> list[int]:
    padding = a.streams["main"]["is_padding"]
    return [
        i
        for i in range(len(padding))
        if not padding[i] and set(a.layers[place].experts[i]) != set(b.layers[place].experts[i])
    ]


def column(panel: ComparePanel, key: str) -> list[str]:
    place = next(place for place, one in enumerate(COLUMNS) if one.key == key)
    return [panel.layers.item(row, place).text() for row in range(panel.layers.rowCount())]


def test_the_panel_is_declared() -> None:
    assert SPEC in panel_specs()
    assert load_view(SPEC) is ComparePanel
    assert sum(spec.shortcut == SPEC.shortcut for spec in panel_specs()) == 1


def test_without_another_session_it_says_what_to_do(stage: Stage) -> None:
    assert stage.panel.empty.text() == EMPTY
    assert stage.panel.empty.isVisible()


def test_an_open_session_is_chosen_and_compared(stage: Stage, other: Session, store: MemoryStore) -> None:
    panel = compared(stage, other)
    tokens = int((~store.streams["main"]["is_padding"]).sum())
    wanted = [len(flips(store, other.store, place)) for place in range(3)]
    assert column(panel, "flips") == [f"{n / tokens:.2%}" for n in wanted]
    assert "A logic difference" in panel.verdict.text.text()
    assert "float32" in panel.verdict.text.text()
    assert panel.verdict.evidence.count() == len(panel.comparison.found.judgement.evidence)
    assert stage.shell.beside.noted == [(stage.session, other)]


def test_a_session_is_the_same_as_itself(stage: Stage, store: MemoryStore) -> None:
    twin = Session(store, Jobs(stage.delivery))
    panel = compared(stage, twin)
    assert "The same" in panel.verdict.text.text()
    assert not panel.verdict.evidence.isVisible()
    twin.close()


def test_overrides_of_one_side_are_said(stage: Stage, other: Session) -> None:
    assert isinstance(other.store, MemoryStore)
    other.store.overrides = (Acted(Override(OverrideKind.ABLATE, (1,), (3,)), ((2, 5),)),)
    panel = compared(stage, other)
    assert "only B ran under overrides: ablate expert 3 in layer 1 (passes 2–4)" in panel.verdict.text.text()


def test_swapped_the_margins_are_those_of_the_other(stage: Stage, other: Session, store: MemoryStore) -> None:
    assert isinstance(other.store, MemoryStore)
    for layer in other.store.layers:
        layer.margin *= 4
    panel = compared(stage, other)
    before = [pair.layer.median_margin_at_flip for pair in panel.comparison.pairs]
    stage.qtbot.mouseClick(panel.choice.swap, Qt.MouseButton.LeftButton)
    stage.settle()
    assert (panel.choice.letter.text(), panel.choice.other_letter.text()) == ("B", "A")
    after = [pair.layer.median_margin_at_flip for pair in panel.comparison.pairs]
    assert after == pytest.approx([4 * margin for margin in before])
    assert panel.comparison.found.name_a == "other"


def test_a_chosen_precision_is_what_noise_is_measured_by(stage: Stage, other: Session) -> None:
    panel = compared(stage, other)
    box = panel.choice.precision
    box.setCurrentIndex(box.findData("bfloat16"))
    box.activated.emit(box.currentIndex())
    stage.settle()
    assert panel.comparison.found.judgement.precision == "bfloat16"


def test_selection_goes_both_ways(stage: Stage, other: Session) -> None:
    panel = compared(stage, other)
    stage.session.select(Selection(Kind.LAYER, layer=1))
    assert [index.row() for index in panel.layers.selectionModel().selectedRows()] == [1]
    panel.layers.sort_by(1)
    panel.layers.selectRow(0)
    top = panel.layers.rows[0]
    assert top.values[1] == max(row.values[1] for row in panel.layers.rows)
    assert stage.session.selection == Selection(Kind.LAYER, layer=top.pair.mine)
    item = panel.verdict.evidence.item(panel.verdict.evidence.count() - 1)
    panel.verdict.evidence.itemClicked.emit(item)
    path = panel.comparison.found.judgement.evidence[-1].layer
    assert stage.session.store.model.layers[stage.session.selection.layer].path == path


def test_a_session_that_is_closed_is_said_and_nothing_is_asked_of_it(stage: Stage, other: Session) -> None:
    panel = compared(stage, other)
    leave(stage, other)
    assert panel.other is None
    assert panel.empty.isVisible()
    assert panel.empty.text().startswith("other was closed")
    assert panel.choice.other.findData(other) == -1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Comparisons are half done until this is set."""
    go = threading.Event()

    def held(question: Question, ticket: Ticket) -> Comparison:
        while not go.wait(0.005):
            ticket.check(0.5)
        return compare(question, ticket)

    monkeypatch.setattr(view, "compare", held)
    return go


def test_cancelled_it_stops_and_offers_to_compare_again(stage: Stage, other: Session, gate: threading.Event) -> None:
    arrive(stage, other)
    stage.panel.compare_with(other)
    stage.qtbot.waitUntil(lambda: stage.panel.choice.progress.value() == 50)
    stage.qtbot.mouseClick(stage.panel.choice.cancel, Qt.MouseButton.LeftButton)
    stage.settle()
    assert stage.panel.comparison is None
    assert not stage.panel.choice.progress.isVisible()
    gate.set()
    stage.qtbot.mouseClick(stage.panel.choice.again, Qt.MouseButton.LeftButton)
    stage.settle()
    assert stage.panel.comparison is not None


def test_a_session_closed_while_it_is_compared(stage: Stage, other: Session, gate: threading.Event) -> None:
    arrive(stage, other)
    stage.panel.compare_with(other)
    stage.qtbot.waitUntil(lambda: stage.panel.choice.progress.value() == 50)
    leave(stage, other)
    stage.settle()
    assert stage.panel.comparison is None
    assert stage.panel.empty.text().startswith("other was closed")
    assert not stage.panel.choice.cancel.isVisible()


def test_a_capture_opened_for_it_is_compared_when_it_is_there(stage: Stage, other: Session) -> None:
    stage.panel.open(other.path)
    assert stage.shell.beside.opened == [other.path]
    assert stage.panel.comparison is None
    arrive(stage, other)
    stage.settle()
    assert stage.panel.other is other
    assert stage.panel.comparison is not None


def test_what_cannot_be_compared_is_one_line(stage: Stage, store: MemoryStore) -> None:
    foreign = Session(memory_store(experts=16), Jobs(stage.delivery))
    arrive(stage, foreign)
    choose(stage, foreign)
    assert "8 experts in memory and 16 in memory" in stage.panel.empty.text()
    foreign.close()


def test_passes_that_come_later_are_compared_on_request(stage: Stage, other: Session, store: MemoryStore) -> None:
    panel = compared(stage, other)
    assert not panel.choice.again.isVisible()
    store.passes = np.append(store.passes, store.passes[-1:])
    stage.session.changed.emit("store")
    assert panel.choice.again.isVisible()
    before = panel.comparison
    stage.qtbot.mouseClick(panel.choice.again, Qt.MouseButton.LeftButton)
    stage.settle()
    assert panel.comparison is not before
    assert not panel.choice.again.isVisible()


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("size", [(700, 300), (1400, 900)])
def test_it_draws_in_both_themes_small_and_large(stage: Stage, other: Session, theme, size) -> None:  # type: ignore[no-untyped-def]
    panel = compared(stage, other)
    panel.set_theme(theme)
    panel.resize(*size)
    assert not panel.grab().isNull()


def test_a_token_is_picked_in_the_text_and_shown_in_both(stage: Stage, other: Session) -> None:
    panel = compared(stage, other)
    panel.tabs.setCurrentWidget(panel.tokens)
    stage.settle()
    text = panel.tokens.text
    place = int(np.flatnonzero(text.page.first >= 0)[0])
    stage.qtbot.mouseClick(text.viewport(), Qt.MouseButton.LeftButton, pos=text.rect_of(place).center().toPoint())
    stage.settle()
    assert stage.session.selection.kind is Kind.TOKEN
    assert stage.session.selection.token == text.page.mine[place]
    assert stage.session.selection.pass_id == text.page.passes[place]
    table = panel.tokens.table
    assert table.rowCount() == 3
    marked = [row for row in range(3) if "≠" in table.item(row, 0).text()]
    assert marked[0] == text.page.first[place]
    table.cellClicked.emit(2, 0)
    assert stage.session.selection.layer == 2


def test_a_token_selected_elsewhere_turns_to_its_page(stage: Stage, other: Session, store: MemoryStore) -> None:
    panel = compared(stage, other)
    tokens = store.streams["main"]
    row = int(np.flatnonzero((tokens["sequence"] == 9) & ~tokens["is_padding"])[1])
    stage.session.select(Selection(Kind.TOKEN, token=row))
    stage.settle()
    text = panel.tokens.text
    assert text.page.mine[text.selected] == row
    padding = int(np.flatnonzero(tokens["is_padding"])[0])
    stage.session.select(Selection(Kind.TOKEN, token=padding))
    stage.settle()
    assert "no counterpart" in panel.tokens.title.text()


def test_pages_are_turned_and_experts_picked(stage: Stage, other: Session) -> None:
    panel = compared(stage, other)
    first = panel.tokens.text.page.number
    stage.qtbot.mouseClick(panel.tokens.buttons["next"], Qt.MouseButton.LeftButton)
    stage.settle()
    assert panel.tokens.text.page.number == first + 1
    panel.tabs.setCurrentWidget(panel.load)
    stage.session.select(Selection(Kind.LAYER, layer=1))
    stage.qtbot.mouseClick(panel.load, Qt.MouseButton.LeftButton, pos=panel.load.center_of(5).toPoint())
    assert stage.session.selection == Selection(Kind.EXPERT, layer=1, expert=5).with_context(stage.session.selection)
    assert panel.load.expert == 5


def test_a_chosen_layer_is_the_one_that_is_plotted(stage: Stage, other: Session) -> None:
    panel = compared(stage, other)
    for layer in (2, 0):
        stage.session.select(Selection(Kind.LAYER, layer=layer))
        assert panel.margins.plot.flips.sum() == pytest.approx(panel.comparison.pairs[layer].layer.flips)
        assert panel.margin_text.text().startswith(f"L{layer} ")


def test_an_unsaved_session_has_no_command_line(stage: Stage, other: Session) -> None:
    panel = compared(stage, other)
    panel.copy("command")
    assert QGuiApplication.clipboard().text() == "moedesk diff /captures/mine.h5 /captures/other.h5"
    other.path = None
    panel.copy("command")
    assert stage.shell.said[-1].startswith("Nothing copied: save")
