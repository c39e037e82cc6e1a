"""The Breakpoints panel over a played model."""

from collections.abc import Iterator
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from moedesk.core.selection import Kind, Selection
from moedesk.panels.breakpoints.model import NO_BREAKPOINTS, NO_MODEL, OF_A_FILE
from moedesk.panels.breakpoints.view import BreakpointsPanel
from moedesk.panels.breakpoints.view_row import BreakpointRow
from tests.support.live_stage import LiveStage
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.published_store import PublishedStore
from tests.support.stage import Stage

STOP = {"why": "expert:7", "layer": 1, "expert": 7, "ids": [2, 7, -1], "weights": [0.5, 0.25, 0.0], "margin": 0.5}


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return memory_store(passes=4, layers=3, experts=8, tokens=6)


@pytest.fixture
def stage(qtbot: QtBot, store: MemoryStore) -> Iterator[LiveStage]:
    with LiveStage(qtbot, PublishedStore(store, 4), BreakpointsPanel) as stage:
        yield stage


def entry(number: int, text: str, **more: Any) -> dict[str, Any]:
    plain = {"on": True, "hits": 0, "log": "", "condition": "", "ignore": 0, "problem": ""}
    return {"id": number, "text": text, **plain, **more}


def tell(stage: LiveStage, *entries: dict[str, Any], active: bool = True) -> None:
    stage.live.tell("breakpoints", {"active": active, "entries": list(entries)})


def row(stage: LiveStage, number: int = 1) -> BreakpointRow:
    return stage.panel.rows.rows[number]


def put(edit: Any, text: str) -> None:
    """Type a text in place of what is there, and leave the field."""
    edit.setFocus()
    edit.selectAll()
    QTest.keyClicks(edit, text) if text else QTest.keyClick(edit, Qt.Key.Key_Delete)
    QTest.keyClick(edit, Qt.Key.Key_Return)


def test_a_file_says_that_it_is_over(qtbot: QtBot, store: MemoryStore) -> None:
    with Stage(qtbot, store, BreakpointsPanel) as stage:
        stage.panel.refresh(frozenset({"live"}))
        assert stage.panel.empty.text() == OF_A_FILE
        assert not stage.panel.add_line.isVisible()


def test_without_model_or_breakpoints_it_says_what_to_do(stage: LiveStage) -> None:
    assert stage.panel.empty.text() == NO_BREAKPOINTS
    assert stage.panel.add_line.isVisible()
    stage.live.attach(False)
    assert stage.panel.empty.text() == NO_MODEL
    assert not stage.panel.add_line.isVisible()
    stage.live.attach(True)
    stage.live.end("the process ended")
    assert stage.panel.empty.text() == "Ended: the process ended"


def test_one_is_added_if_it_can_break(stage: LiveStage) -> None:
    line = stage.panel.add_line
    assert not line.add_button.isEnabled()
    put(line.edit, "layer:1 expert:9")
    assert line.message.text() == "⚠ expert:9 reaches beyond the experts; they are 0 to 7"
    assert line.message.isVisible()
    assert not line.add_button.isEnabled()
    assert not stage.live.orders
    put(line.edit, "layer:1 expert:3")
    assert not line.message.isVisible()
    assert line.edit.text() == ""
    ((topic, value),) = stage.live.orders
    assert topic == "breakpoints"
    assert (value["do"], value["text"], value["ignore"]) == ("add", "layer:1 expert:3", 0)
    line.menu.actions()[0].trigger()
    assert stage.live.orders[1][1]["text"] == "is:nonfinite"


def test_the_filter_is_completed(stage: LiveStage) -> None:
    edit = stage.panel.add_line.edit
    edit.setFocus()
    QTest.keyClicks(edit, "expert:")
    assert [completion.text for completion in edit.completions] == [str(expert) for expert in range(8)]
    edit.popup.hide()


def test_rows_show_what_was_told(stage: LiveStage) -> None:
    tell(stage, entry(1, "layer:1", hits=1), entry(4, "expert:3", on=False, hits=1204, log="{token}", ignore=5))
    assert [row(stage, number).hits.text() for number in (1, 4)] == ["1", "1,204"]
    assert (row(stage, 4).on.isChecked(), row(stage, 4).log.text(), row(stage, 4).ignore.value()) == (
        False,
        "{token}",
        5,
    )
    assert stage.panel.add_line.summary.text() == "1 of 2 on"
    tell(stage, entry(4, "expert:3", problem="expert 3 is not in this model"), active=False)
    assert list(stage.panel.rows.rows) == [4]
    assert row(stage, 4).message.text() == "⚠ expert 3 is not in this model."
    assert stage.panel.add_line.all_button.isChecked()
    assert stage.panel.add_line.summary.text() == "All deactivated: the model stops at none of 1"
    tell(stage)
    assert stage.panel.empty.isVisible()


def test_fields_are_sent_when_they_are_finished(stage: LiveStage) -> None:
    tell(stage, entry(1, "layer:1"))
    put(row(stage).text, "layer:2 margin<0.5")
    put(row(stage).condition, "hits > 3")
    row(stage).ignore.setValue(2)
    sent = [value for _, value in stage.live.orders]
    assert [(value["do"], value["id"]) for value in sent] == [("change", 1)] * 3
    assert [value["text"] for value in sent] == ["layer:2 margin<0.5"] * 3
    assert [value["condition"] for value in sent] == ["", "hits > 3", "hits > 3"]
    assert [value["ignore"] for value in sent] == [0, 0, 2]


def test_what_cannot_break_is_marked_and_not_sent(stage: LiveStage) -> None:
    tell(stage, entry(1, "layer:1"))
    for field, typed, said in (
        (row(stage).text, "layer:8", "layer:8 reaches beyond the layers"),
        (row(stage).condition, "hits >", "is no Python expression"),
        (row(stage).log, "{tken}", "no field {tken}"),
    ):
        before = field.text()
        put(field, typed)
        assert said in row(stage).message.text()
        assert row(stage).message.text().endswith("Still in force: layer:1")
        put(field, before)
        assert not row(stage).message.isVisible()
    assert not stage.live.orders
    put(row(stage).text, "")
    assert row(stage).text.text() == "layer:1", "emptied, it is what it was"
    assert not stage.live.orders


def test_what_is_being_typed_stays_when_hits_are_told(stage: LiveStage) -> None:
    tell(stage, entry(1, "layer:1"))
    edit = row(stage).text
    stage.panel.activateWindow()
    edit.setFocus()
    stage.until(edit.hasFocus)
    edit.selectAll()
    QTest.keyClicks(edit, "layer:2 mar")
    tell(stage, entry(1, "layer:1", hits=7))
    assert edit.text() == "layer:2 mar"
    assert row(stage).hits.text() == "7"
    edit.popup.hide()


def test_switch_remove_and_deactivate(stage: LiveStage) -> None:
    tell(stage, entry(1, "layer:1"), entry(2, "layer:2"))
    row(stage, 2).on.click()
    row(stage, 1).remove_button.click()
    stage.panel.add_line.all_button.click()
    assert [value for _, value in stage.live.orders] == [
        {"do": "switch", "id": 2, "on": False},
        {"do": "remove", "id": 1},
        {"do": "activate", "on": False},
    ]


def test_why_an_order_was_refused_is_said(stage: LiveStage) -> None:
    stage.live.tell("breakpoints", {"active": True, "entries": [], "problem": "there is no breakpoint 3 any more"})
    assert stage.panel.add_line.message.text() == "⚠ there is no breakpoint 3 any more"
    tell(stage)
    assert not stage.panel.add_line.message.isVisible()


def test_where_it_stands(stage: LiveStage) -> None:
    view = stage.panel.stop
    assert not view.isVisible()
    stage.live.tell("stopped", STOP)
    assert view.isVisible()
    shown = [[view.table.item(slot, column).text() for column in range(3)] for slot in range(3)]
    assert shown == [["0", "2", "0.5"], ["1", "7 ◂", "0.25"], ["2", "dropped", "0"]]
    view.table.cellClicked.emit(0, 1)
    assert stage.session.selection == Selection(Kind.EXPERT, layer=1, expert=2)
    stage.panel.resize(700, 200)
    assert not view.isVisible(), "the list needs the room, and the banner says it"
    stage.panel.resize(1000, 400)
    assert view.isVisible()
    stage.live.tell("stopped", {})
    assert not view.isVisible()
