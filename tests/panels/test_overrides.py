"""The Overrides panel: its list, its form, undo, files; what a model's process would do is played."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QLineEdit, QMenu
from pytestqt.qtbot import QtBot

from moedesk.core.acted import Acted
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_code import as_python
from moedesk.core.override_file import load
from moedesk.core.selection import Kind, Selection
from moedesk.panels.overrides.model_rows import COLUMNS
from moedesk.panels.overrides.view import OverridesPanel
from moedesk.panels.overrides.view_list_model import MARK, NAME, WHAT
from tests.support.memory_store import memory_store
from tests.support.overridden_stage import OverriddenStage
from tests.support.stage import Stage

ABLATE = Override(OverrideKind.ABLATE, (1,), (3,))
FEWER = Override(OverrideKind.TOP_K, (0, 1), value=1.0)


@pytest.fixture
def stage(qtbot: QtBot) -> Iterator[OverriddenStage]:
    with OverriddenStage(qtbot, memory_store(layers=3, experts=8), OverridesPanel) as stage:
        yield stage


def rows(stage: Stage) -> list[list[str]]:
    model = stage.panel.list.rows
    return [
        [str(model.data(model.index(row, column))) for column in range(len(COLUMNS))] for row in range(model.rowCount())
    ]


def ticks(stage: Stage) -> list[bool]:
    model = stage.panel.list.rows
    ticked = (model.data(model.index(row, WHAT), Qt.ItemDataRole.CheckStateRole) for row in range(model.rowCount()))
    return [state == Qt.CheckState.Checked for state in ticked]


def fill(stage: Stage, kind: OverrideKind, **fields: str) -> None:
    form = stage.panel.form
    form.kind.setCurrentIndex(form.kind.findData(kind))
    for name, value in fields.items():
        form.fields[name].setText(value)


def actions(menu: QMenu) -> dict[str, object]:
    return {action.text(): action for action in menu.actions()}


def test_a_file_says_why_there_is_nothing_and_what_to_do(qtbot: QtBot) -> None:
    with Stage(qtbot, memory_store(), OverridesPanel) as stage:
        assert stage.panel.empty.isVisible()
        assert "moe.attach()" in stage.panel.empty.text()
        assert "No override acted" in stage.panel.empty.text()
        assert not stage.panel.bar.isVisible()


def test_an_earlier_capture_says_what_its_notes_name(qtbot: QtBot) -> None:
    store = memory_store()
    notes = (f"overridden: {one.title}; the rows it changed are marked (is:overridden)" for one in (ABLATE, FEWER))
    store.notes = ("one more note", *notes)
    with Stage(qtbot, store, OverridesPanel) as stage:
        said = stage.panel.empty.text()
        assert "2 overrides were on" in said
        assert ABLATE.title in said
        assert FEWER.title in said
        assert "one more note" not in said


@pytest.fixture
def recorded(qtbot: QtBot) -> Iterator[Stage]:
    store = memory_store(layers=3, experts=8)
    store.overrides = (Acted(ABLATE, ((2, 5), (7, 8))), Acted(FEWER, ((4, 5),)))
    with Stage(qtbot, store, OverridesPanel) as stage:
        stage.settle()
        yield stage


def test_a_capture_lists_what_acted_and_on_which_passes(recorded: Stage) -> None:
    assert rows(recorded) == [
        ["Ablate", "1", "3", "everywhere", "", "2–4, 7"],
        ["Set k = 1", "0, 1", "–", "everywhere", "", "4"],
    ]
    model, bar = recorded.panel.list.rows, recorded.panel.bar
    acted = COLUMNS.index("acted")
    assert model.headerData(acted, Qt.Orientation.Horizontal) == "Passes"
    assert "4 passes: 2–4, 7" in model.data(model.index(0, acted), Qt.ItemDataRole.ToolTipRole)
    assert "2 overrides acted while this was recorded" in bar.line.text()
    assert bar.apply_button.isVisible()
    assert not any(
        button.isVisible() for button in (bar.add_button, bar.undo_button, bar.redo_button, bar.clear_button)
    )
    assert model.data(model.index(0, WHAT), Qt.ItemDataRole.CheckStateRole) is None, "nothing is to be switched"
    assert not model.flags(model.index(0, NAME)) & Qt.ItemFlag.ItemIsEditable


def test_what_a_capture_lists_is_copied_and_saved(recorded: Stage, tmp_path: Path) -> None:
    recorded.panel.bar.copy_actions[0].trigger()
    assert QGuiApplication.clipboard().text() == as_python([ABLATE, FEWER], recorded.session.store.model)
    recorded.panel.bar.copy_actions[1].trigger()
    assert QGuiApplication.clipboard().text() == f"{ABLATE.as_call()}\n{FEWER.as_call()}\n"
    recorded.panel.save_to(tmp_path / "theirs.json")
    assert [(kept.override, kept.on) for kept in load(tmp_path / "theirs.json")] == [(ABLATE, True), (FEWER, True)]


def test_what_a_capture_lists_is_set_on_the_model_that_runs(recorded: Stage, qtbot: QtBot) -> None:
    recorded.panel.bar.apply_button.click()
    assert "No model runs" in recorded.shell.said[-1]
    with OverriddenStage(qtbot, memory_store(layers=3, experts=8), OverridesPanel) as running:
        recorded.shell.beside.sessions.append(running.session)
        recorded.panel.bar.apply_button.click()
        assert running.live.set_now == [(ABLATE, True), (FEWER, True)]
        assert "2 overrides set on" in recorded.shell.said[-1]
        menu = QMenu(recorded.panel)
        recorded.panel.fill_menu(menu, recorded.panel.list.rows.entries[1])
        found = actions(menu)
        assert not {"Switch off", "Remove", "Change…"} & set(found)
        found["Apply to the live model"].trigger()
        assert running.live.set_now[2:] == [(FEWER, True)]
        menu.deleteLater()
    with OverriddenStage(qtbot, memory_store(layers=1, experts=8), OverridesPanel) as smaller:
        recorded.shell.beside.sessions[:] = [smaller.session]
        recorded.panel.bar.apply_button.click()
        assert smaller.live.orders == []
        assert "no MoE layer 1" in recorded.shell.said[-1]


def test_of_several_models_that_run_the_user_chooses(recorded: Stage, qtbot: QtBot) -> None:
    with (
        OverriddenStage(qtbot, memory_store(layers=3, experts=8), OverridesPanel) as one,
        OverriddenStage(qtbot, memory_store(layers=3, experts=8), OverridesPanel) as other,
    ):
        other.session.store.name = "the other"
        recorded.shell.beside.sessions[:] = [one.session, other.session]
        recorded.panel.apply(recorded.panel.entries[:1])
        (menu,) = [menu for menu in recorded.panel.findChildren(QMenu) if "the other" in actions(menu)]
        actions(menu)["the other"].trigger()
        menu.close()
        assert (one.live.set_now, other.live.set_now) == ([], [(ABLATE, True)])


def test_while_a_model_runs_its_own_list_is_shown(stage: OverriddenStage) -> None:
    stage.session.store.overrides = (Acted(FEWER, ((4, 5),)),)
    stage.live.set(ABLATE)
    stage.settle()
    assert [row[0] for row in rows(stage)] == ["Ablate"]
    assert ticks(stage) == [True]
    stage.live.rows = []
    stage.live.say()
    stage.settle()
    assert rows(stage) == []
    stage.live.end("the kernel ended")
    stage.settle()
    assert [row[0] for row in rows(stage)] == ["Set k = 1"]


def test_a_model_without_overrides_says_how_to_add_one(stage: OverriddenStage) -> None:
    assert "context menu" in stage.panel.empty.text()
    assert stage.panel.bar.add_button.isEnabled()
    assert not stage.panel.bar.undo_button.isEnabled()
    stage.live.end("the kernel was killed by signal 9")
    assert "killed" in stage.panel.empty.text()


def test_the_list_shows_what_the_models_process_tells(stage: OverriddenStage) -> None:
    stage.live.set(ABLATE, FEWER, acted=4321)
    assert rows(stage) == [
        ["Ablate", "1", "3", "everywhere", "", "4,321"],
        ["Set k = 1", "0, 1", "–", "everywhere", "", "4,321"],
    ]
    assert stage.panel.bar.line.text() == "2 overrides on"
    stage.session.select(Selection(Kind.EXPERT, layer=0, expert=3))
    assert [row[1] for row in rows(stage)] == ["1", f"{MARK}0, 1"]


def test_counts_grow_without_moving_the_keyboard_or_ending_an_edit(stage: OverriddenStage) -> None:
    stage.live.set(ABLATE, FEWER)
    stage.panel.list.show_entry(2)
    stage.panel.list.edit_name()
    editor = stage.panel.list.findChild(QLineEdit)
    assert editor is not None
    editor.setText("half typed")
    renewed: list[tuple[int, int]] = []
    stage.panel.list.rows.dataChanged.connect(lambda index, _: renewed.append((index.row(), index.column())))
    stage.live.rows[1]["acted"] = 99
    stage.live.say()
    assert (1, COLUMNS.index("acted")) in renewed
    assert rows(stage)[1][-1] == "99"
    assert stage.panel.list.findChild(QLineEdit) is editor
    assert editor.text() == "half typed"
    assert stage.panel.list.current.id == 2


def test_what_a_form_says_is_set(stage: OverriddenStage) -> None:
    stage.panel.bar.add_button.click()
    assert stage.panel.form.isVisible()
    fill(stage, OverrideKind.BIAS, layers="0-1", experts="2", value="-1.5", columns="0:4", name="less")
    stage.panel.form.phases["prefill"].setChecked(True)
    assert "bias -1.5 on expert 2" in stage.panel.form.said.text()
    stage.panel.form.accept_button.click()
    assert not stage.panel.form.isVisible()
    meant = Override(OverrideKind.BIAS, (0, 1), (2,), -1.5, (0, 4), ("prefill",), name="less")
    assert stage.live.set_now == [(meant, True)]


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (OverrideKind.ABLATE, {"layers": "9", "experts": "1"}, "no MoE layer 9; the model has 3, 0 to 2"),
        (OverrideKind.ABLATE, {"experts": "8"}, "it has 8, 0 to 7"),
        (OverrideKind.TOP_K, {"value": "9"}, "k = 9 is more than the 8 experts"),
        (OverrideKind.ABLATE, {"layers": "x", "experts": "1"}, "'x' is no number"),
        (OverrideKind.REPLAY, {}, "path of a capture"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_sent(
    stage: OverriddenStage, kind: OverrideKind, fields: dict[str, str], said: str
) -> None:
    stage.panel.bar.add_button.click()
    fill(stage, kind, **fields)
    assert "⚠" not in stage.panel.form.said.text(), "nothing is wrong with a form that is still filled in"
    stage.panel.form.accept_button.click()
    assert said in stage.panel.form.said.text()
    assert "⚠" in stage.panel.form.said.text()
    assert "\n" not in stage.panel.form.said.text()
    assert stage.panel.form.isVisible()
    assert stage.live.orders == []


def test_an_override_is_changed_in_its_place(stage: OverriddenStage, qtbot: QtBot) -> None:
    stage.live.set(ABLATE, FEWER)
    stage.panel.list.show_entry(1)
    qtbot.keyClick(stage.panel.list, Qt.Key.Key_Return)
    form = stage.panel.form
    assert (form.fields["layers"].text(), form.fields["experts"].text()) == ("1", "3")
    form.fields["experts"].setText("3-4")
    qtbot.keyClick(form.fields["experts"], Qt.Key.Key_Return)
    assert [override for override, _ in stage.live.set_now] == [Override(OverrideKind.ABLATE, (1,), (3, 4)), FEWER]


def test_keys_switch_rename_and_remove(stage: OverriddenStage, qtbot: QtBot) -> None:
    stage.live.set(ABLATE, FEWER)
    view = stage.panel.list
    view.show_entry(2)
    qtbot.keyClick(view, Qt.Key.Key_Space)
    assert ticks(stage) == [True, False]
    qtbot.keyClick(view, Qt.Key.Key_F2)
    editor = view.findChild(QLineEdit)
    assert editor is not None
    qtbot.keyClicks(editor, "an idea")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: rows(stage)[1][NAME] == "an idea")  # Qt takes an editor's text over a little later
    qtbot.keyClick(view, Qt.Key.Key_Delete)
    assert [override for override, _ in stage.live.set_now] == [ABLATE]
    assert view.current.id == 1, "the keyboard goes on to the row beside"
    stage.live.set(FEWER, FEWER)
    view.show_entry(3)
    qtbot.keyClick(view, Qt.Key.Key_Delete)
    assert view.current.id == 4


def test_a_click_on_the_tick_switches(stage: OverriddenStage, qtbot: QtBot) -> None:
    stage.live.set(ABLATE)
    view = stage.panel.list
    rect = view.visualRect(view.rows.index(0, WHAT))
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(rect.left() + 9, rect.center().y()))
    assert ticks(stage) == [False]
    assert stage.panel.bar.line.text() == "0 of 1 overrides on"


def test_undo_and_redo_by_key_say_what_they_do(stage: OverriddenStage, qtbot: QtBot) -> None:
    stage.session.overriding.add(ABLATE)
    bar, view = stage.panel.bar, stage.panel.list
    assert "Undo: add" in bar.undo_button.toolTip()
    view.setFocus()
    qtbot.keyClick(view, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert stage.live.set_now == []
    assert "Redo: add" in bar.redo_button.toolTip()
    stage.panel.bar.redo_button.click()
    assert stage.live.set_now == [(ABLATE, True)]
    bar.clear_button.click()
    assert stage.live.set_now == []
    assert stage.panel.empty.isVisible()
    bar.undo_button.click()
    assert stage.live.set_now == [(ABLATE, True)]


def test_a_note_of_the_models_process_is_shown(stage: OverriddenStage) -> None:
    stage.live.set(ABLATE)
    assert not stage.panel.note.isVisible()
    stage.live.say("temperature can't act on layer 2: its routing is given by the caller")
    assert stage.panel.note.isVisible()
    assert "given by the caller" in stage.panel.note.text()


def test_a_list_is_saved_and_added_again(stage: OverriddenStage, tmp_path: Path) -> None:
    stage.live.set(ABLATE, FEWER)
    stage.session.overriding.switch(2, False)
    path = tmp_path / "mine.json"
    stage.panel.save_to(path)
    assert [(kept.override, kept.on) for kept in load(path)] == stage.live.set_now
    before = stage.live.set_now
    stage.session.overriding.clear()
    stage.panel.load_from(path)
    assert stage.live.set_now == before
    assert "Added 2 overrides of mine.json" in stage.shell.said[-1]


def test_a_file_that_does_not_fit_the_model_adds_nothing(stage: OverriddenStage, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(
        '{"moedesk_overrides": 1, "overrides": [{"kind": "ablate", "experts": [1]}, {"kind": "ablate", "experts": [99]}]}'
    )
    stage.panel.load_from(path)
    assert stage.live.orders == []
    assert "no expert 99" in stage.shell.said[-1]


def test_python_does_what_is_on_without_moedesk(stage: OverriddenStage) -> None:
    stage.live.set(ABLATE, Override(OverrideKind.EXCLUDE, (2,), (5,)))
    stage.session.overriding.switch(2, False)
    stage.panel.bar.copy_actions[0].trigger()
    code = QGuiApplication.clipboard().text()
    assert code == as_python([ABLATE], stage.session.store.model)
    compile(code, "copied", "exec")
    assert "import moedesk" not in code


def test_lines_for_the_console_are_those_that_are_on(stage: OverriddenStage) -> None:
    stage.live.set(ABLATE, FEWER)
    stage.session.overriding.switch(1, False)
    stage.panel.bar.copy_actions[1].trigger()
    assert QGuiApplication.clipboard().text() == FEWER.as_call() + "\n"


def test_the_context_menu_of_an_override(stage: OverriddenStage) -> None:
    stage.live.set(ABLATE)
    menu = QMenu(stage.panel)
    stage.panel.list.show_entry(1)
    stage.panel.fill_menu(menu, stage.panel.list.current)
    found = actions(menu)
    assert "Reveal expert 1.3 in Network" in found
    found["Copy as a line for the console"].trigger()
    assert QGuiApplication.clipboard().text() == ABLATE.as_call() + "\n"
    found["Copy as Python, without moedesk"].trigger()
    assert QGuiApplication.clipboard().text() == as_python([ABLATE], stage.session.store.model)
    found["Switch off"].trigger()
    assert stage.live.set_now == [(ABLATE, False)]
    found["Remove"].trigger()
    assert stage.live.set_now == []
    menu.deleteLater()


def test_without_the_model_the_list_can_be_read_but_not_changed(stage: OverriddenStage, qtbot: QtBot) -> None:
    stage.live.set(ABLATE)
    stage.panel.open_form()
    stage.live.end("the kernel ended")
    assert not stage.panel.form.isVisible()
    assert not stage.panel.bar.add_button.isEnabled()
    stage.panel.list.show_entry(1)
    for key in (Qt.Key.Key_Space, Qt.Key.Key_Delete, Qt.Key.Key_Return):
        qtbot.keyClick(stage.panel.list, key)
    assert stage.live.orders == []
    assert not stage.panel.form.isVisible()


def test_in_a_small_window_the_name_makes_way(stage: OverriddenStage) -> None:
    stage.live.set(ABLATE)
    assert not stage.panel.list.isColumnHidden(NAME)
    stage.panel.resize(480, 250)
    stage.settle()
    assert stage.panel.list.isColumnHidden(NAME)
    stage.panel.bar.add_button.click()
    stage.settle()
    assert stage.panel.list.height() > 0
