"""Overrides from the app to a real kernel and back: set from a context menu, seen in the rows, undone, run before and after."""

from pathlib import Path

import numpy as np
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from moedesk.analysis.search import matching_tokens
from moedesk.core.acted import Acted
from moedesk.core.before_after import WITH, WITHOUT
from moedesk.core.columns import RouteFlag
from moedesk.core.filter import parse
from moedesk.core.override import Override, OverrideKind
from moedesk.core.selection import Kind, Selection
from moedesk.session.session import Session
from moedesk.ui.window import Window
from tests.live.conftest import Run

ATTACH = """
import torch
torch.set_num_threads(1)
model, tokenizer = moe.load("sample")
moe.attach(model, tokenizer)
"""
PASS = """
with torch.inference_mode():
    model(**tokenizer("Once upon a time there was", return_tensors="pt"))
"""


def attached(window: Window, run: Run, qtbot: QtBot) -> Session:
    run(ATTACH + PASS)
    session = window.files.current
    assert session is not None
    qtbot.waitUntil(lambda: session.store.n_passes == 1)
    return session


def overridden(session: Session, number: int, layer: int) -> np.ndarray:
    first, last = session.store.token_span(number, number + 1)
    return (session.store.flags(layer, first, last) & RouteFlag.OVERRIDDEN) != 0


def choose(window: Window, session: Session, selection: Selection, title: str) -> None:
    """Choose an entry of the menu Override of Network's context menu."""
    menu = QMenu(window)
    network = window.workspace.docks["network"].current.view
    network.fill_menu(menu, selection)
    below = next(action.menu() for action in menu.actions() if action.text() == "Override")
    assert isinstance(below, QMenu)
    next(action for action in below.actions() if action.text() == title).trigger()
    menu.deleteLater()


def test_the_app_and_the_console_override_one_model(window: Window, run: Run, qtbot: QtBot, tmp_path: Path) -> None:
    session = attached(window, run, qtbot)
    ablate_from_the_menu(window, session, run, qtbot)
    share_the_list_with_the_console(window, session, run, qtbot, tmp_path)


def ablate_from_the_menu(window: Window, session: Session, run: Run, qtbot: QtBot) -> None:
    """An ablated expert's rows are marked, keep their ids and lose its weight; undone, all is as before."""
    qtbot.waitUntil(lambda: window.settled)
    store, layer = session.store, 2
    before = store.experts(layer)
    expert = int(np.bincount(before[before >= 0]).argmax())
    choose(window, session, Selection(Kind.EXPERT, layer=layer, expert=expert), f"Ablate expert {layer}.{expert}")
    qtbot.waitUntil(lambda: len(session.overriding.acting) == 1)
    assert session.overriding.entries[0].override == Override(OverrideKind.ABLATE, (layer,), (expert,))
    assert window.status.overrides.text() == "⚠ 1 override on"
    run(PASS)
    qtbot.waitUntil(lambda: store.n_passes == 2)
    chose = (before == expert).any(axis=1)
    assert chose.any()
    np.testing.assert_array_equal(overridden(session, 1, layer), chose)
    assert not overridden(session, 0, layer).any()
    first, last = store.token_span(1, 2)
    np.testing.assert_array_equal(store.experts(layer, first, last), before)
    weights = store.weights(layer, first, last)
    assert (weights[before == expert] == 0).all()
    found = matching_tokens(store, parse("is:overridden"), store.model.layers[layer], first, last).rows
    np.testing.assert_array_equal(found, chose)
    qtbot.waitUntil(lambda: session.overriding.entries[0].acted == int(chose.sum()))
    window.commands.run("override.undo")
    qtbot.waitUntil(lambda: not session.overriding.entries)
    run(PASS)
    qtbot.waitUntil(lambda: store.n_passes == 3)
    assert not overridden(session, 2, layer).any()
    assert store.overrides == (Acted(Override(OverrideKind.ABLATE, (layer,), (expert,)), ((1, 2),)),)
    first, last = store.token_span(2, 3)
    np.testing.assert_array_equal(store.weights(layer, first, last), store.weights(layer, *store.token_span(0, 1)))


def share_the_list_with_the_console(window: Window, session: Session, run: Run, qtbot: QtBot, tmp_path: Path) -> None:
    """What the console sets is in the panel, what a file brings is in the console; a text runs before and after."""
    window.show_panel("overrides")
    qtbot.waitUntil(lambda: window.settled)
    panel = window.workspace.docks["overrides"].current.view
    run("moe.exclude(1, 3, name='from the console')")
    qtbot.waitUntil(lambda: panel.list.rows.rowCount() == 1)
    assert panel.list.rows.entries[0].override.name == "from the console"
    panel.save_to(tmp_path / "list.json")
    panel.overriding.switch(panel.list.rows.entries[0].id, False)
    qtbot.waitUntil(lambda: not session.overriding.acting)
    panel.overriding.clear()
    qtbot.waitUntil(lambda: not session.overriding.entries)
    panel.load_from(tmp_path / "list.json")
    qtbot.waitUntil(lambda: len(session.overriding.acting) == 1)
    run("assert [entry.override.name for entry in moe.overrides.entries] == ['from the console']")
    panel.runs.new_tokens.setValue(4)
    panel.runs.run()
    qtbot.waitUntil(lambda: panel.runs.result is not None or "⚠" in panel.runs.line.text())
    result = panel.runs.result
    assert result is not None, panel.runs.line.text()
    assert result.overrides == ("exclude expert 3 in layer 1",)
    assert result.counts_before[1][3] > 0
    assert result.counts_after[1][3] == 0, "an excluded expert gets nothing"
    np.testing.assert_array_equal(result.counts_before[0], result.counts_after[0])
    assert len(result.ids) == result.prompt + 4
    assert [entry.on for entry in session.overriding.entries] == [True], "the list is as it was"
    assert session.store.n_passes == 3, "a comparison is in no total"
    panel.runs.record.click()
    panel.runs.run()
    qtbot.waitUntil(lambda: not panel.runs.cancel_button.isVisible())
    qtbot.waitUntil(lambda: session.store.n_passes == 3 + 2 * 5)
    assert [(label.name, label.first, label.last) for label in session.store.labels] == [(WITHOUT, 3, 8), (WITH, 8, 13)]
    assert session.store.overrides[-1].passes == ((8, 13),)
