"""The toolbar of a live session: what its controls ask for, and what it says."""

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from moedesk.core.selection import NOTHING, Kind, Selection
from moedesk.session.jobs import Jobs
from moedesk.session.session import Session
from moedesk.ui.live_bar import LiveBar
from moedesk.ui.theme import DARK, LIGHT
from tests.support.memory_store import memory_store
from tests.support.played_live import PlayedLive

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def bar(qtbot: QtBot) -> Iterator[LiveBar]:
    session = Session(memory_store(), Jobs(lambda call: call()))
    session.live = PlayedLive(session)
    bar = LiveBar(session)
    session.changed.connect(lambda _: bar.refresh())
    bar.resize(900, 30)
    bar.show()
    yield bar
    session.close()
    bar.close()
    bar.deleteLater()


def live_of(bar: LiveBar) -> PlayedLive:
    live = bar._session.live
    assert isinstance(live, PlayedLive)
    return live


def test_a_file_has_no_bar(qtbot: QtBot) -> None:
    session = Session(memory_store(), Jobs(lambda call: call()))
    bar = LiveBar(session)
    assert bar.isHidden()
    session.close()
    bar.deleteLater()


def test_every_control_asks_the_live_side_and_shows_its_state(bar: LiveBar, qtbot: QtBot) -> None:
    live = live_of(bar)
    for button, name in ((bar.record, "recording"), (bar.pause, "paused"), (bar.follow, "follow")):
        before = getattr(live, name)
        assert button.isChecked() == before
        qtbot.mouseClick(button, LEFT)
        assert getattr(live, name) is not before
        assert button.isChecked() is not before
    qtbot.mouseClick(bar.preserve, LEFT, pos=bar.preserve.rect().center())
    qtbot.keyClick(bar.preserve, Qt.Key.Key_Space)
    qtbot.keyClick(bar.preserve, Qt.Key.Key_Space)
    assert live.preserve
    assert bar.preserve.isChecked()
    qtbot.mouseClick(bar.clear_button, LEFT)
    assert live.cleared == 1


def test_every_control_has_a_name_a_hint_and_a_way_by_keyboard(bar: LiveBar) -> None:
    for control in (bar.record, bar.clear_button, bar.pause, bar.follow, bar.preserve):
        assert control.accessibleName() or control.text()
        assert control.toolTip()
        assert control.focusPolicy() & Qt.FocusPolicy.TabFocus


def test_a_paused_display_counts_what_arrives(bar: LiveBar) -> None:
    live = live_of(bar)
    live.count(passes=10)
    live.set_paused(True)
    live.count(passes=142)
    assert bar.state.text() == "Recording · paused · 132 passes arrived since"
    live.count(passes=150, dropped=7)
    assert "133 passes arrived since" in bar.state.text()
    live.count(passes=5, dropped=0)  # another model, counted from 0
    assert "138 passes arrived since" in bar.state.text()
    live.set_paused(False)
    live.set_paused(True)
    assert "0 passes arrived since" in bar.state.text()


def test_what_is_left_out_is_said_and_explained(bar: LiveBar) -> None:
    live = live_of(bar)
    assert bar.warning.isHidden()
    live.count(passes=100, shed=3, dropped=1, dropped_tokens=77)
    assert bar.warning.text() == "⚠ 3 passes counts only · 1 pass lost"
    assert "load is exact" in bar.warning.toolTip()
    assert "77 token rows" in bar.warning.toolTip()
    live.count(passes=100, spared=2)
    assert bar.warning.text() == "⚠ 2 passes without entropy · 3 passes counts only · 1 pass lost"
    assert "ids, weights and load are whole" in bar.warning.toolTip()
    live.link_dropped = "4 passes without their ids"
    live.count()
    assert "4 passes without their ids" in bar.warning.text()


def test_the_end_says_why_and_that_all_is_kept(bar: LiveBar) -> None:
    live_of(bar).end("The kernel was killed (SIGKILL).")
    assert bar.state.text() == "Ended: The kernel was killed (SIGKILL); everything received is kept"
    assert not bar.record.isEnabled()
    assert not bar.record.isChecked()
    bar.toggle_recording()
    assert live_of(bar).recording


def test_without_a_model_there_is_nothing_to_record(bar: LiveBar) -> None:
    live_of(bar).attach(False)
    assert bar.state.text() == "No model attached"
    assert not bar.record.isEnabled()


def test_following_again_lets_go_of_the_selected_pass(bar: LiveBar) -> None:
    session = bar._session
    session.select(Selection(Kind.PASS, pass_id=3))
    bar.toggle_follow()
    assert session.selection.pass_id == 3
    bar.toggle_follow()
    assert live_of(bar).follow
    assert session.selection == NOTHING


def test_recording_shows_by_sign_and_not_only_by_colour(bar: LiveBar) -> None:
    for theme in (LIGHT, DARK):
        bar.set_theme(theme)
        live_of(bar).set_recording(True)
        on = bar.record.icon().pixmap(16).toImage()
        live_of(bar).set_recording(False)
        off = bar.record.icon().pixmap(16).toImage()
        assert on.pixelColor(8, 8).alpha() == 255
        assert off.pixelColor(8, 8).alpha() == 0
