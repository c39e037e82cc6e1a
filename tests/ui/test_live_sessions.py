"""Live sessions in the window: shown, saved, closed, recovered."""

import os
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

import moedesk
from moedesk.core.label import Label
from moedesk.session.scratch import Scratch, scratch_dir
from moedesk.session.session import Session
from moedesk.session.settings import Settings
from moedesk.ui.open_files import read_capture
from moedesk.ui.opengl import Renderer
from moedesk.ui.session_bar import SessionBar
from moedesk.ui.window import Window
from tests.core.test_attribution import WHY
from tests.support.fake_feed import FakeFeed
from tests.support.panels import SPECS, NotingPanel


@pytest.fixture
def window(qtbot: QtBot, qapp):  # type: ignore[no-untyped-def]
    made = Window(SPECS, Settings(), Renderer(False, "raster"), read_capture)
    with qtbot.waitExposed(made):
        made.show()
    made.saving.ask_unsaved = lambda sessions: pytest.fail("nothing should be asked")  # type: ignore[method-assign]
    yield made
    made.saving.ask_unsaved = lambda sessions: "discard"  # type: ignore[method-assign]
    made.close()
    made.deleteLater()
    qapp.setStyleSheet("")


@pytest.fixture
def feed(window: Window, qtbot: QtBot) -> FakeFeed:
    return FakeFeed(window, qtbot)


def scratch_files() -> list[Path]:
    files = [Path(folder, name) for folder, _, names in os.walk(scratch_dir()) for name in names]  # some go meanwhile
    return sorted(path for path in files if path.suffix == ".h5")


def test_a_live_session_is_shown_by_name_and_state(window: Window, feed: FakeFeed) -> None:
    session = feed.attach()
    bar = window.findChild(SessionBar)
    assert window.files.current is session
    assert bar.isVisible(), "which model is shown is said even if it is the only one"
    assert bar.tabText(0) == "● olmoe"
    feed.run(session, 3)
    assert bar.tabText(0) == "● olmoe *"
    assert window.windowTitle() == "● olmoe * – moedesk"
    feed.feed.ended(1)
    feed.wait(lambda: bar.tabText(0) == "○ olmoe *")


def test_the_replay_is_ready_with_the_first_passes(window: Window, feed: FakeFeed) -> None:
    session = feed.attach()
    assert not window.transport.isEnabled()
    feed.run(session, 2)
    assert window.transport.isEnabled()
    window.commands.run("replay.first")
    assert session.cursor == 0


def test_panels_on_show_follow_and_hidden_ones_do_not(window: Window, feed: FakeFeed) -> None:
    session = feed.attach()
    window.workspace.show_panel("routes")
    feed.wait(lambda: window.settled)
    shown, hidden = (window.workspace.docks[name].hosts[session] for name in ("routes", "modules"))
    assert isinstance(shown.view, NotingPanel)
    before = len(shown.view.refreshes)
    feed.run(session, 5)
    feed.wait(lambda: any("store" in changed for changed in shown.view.refreshes[before:]))
    assert hidden.view is None
    assert "store" in hidden.stale


def test_saving_keeps_the_passes_and_says_where(window: Window, feed: FakeFeed, tmp_path: Path) -> None:
    session = feed.attach()
    feed.run(session, 6)
    target = tmp_path / "kept.h5"
    window.saving.ask_path = lambda session: target  # type: ignore[method-assign]
    window.commands.run("file.save")
    feed.wait(lambda: not window.saving.busy)
    assert session.unsaved.passes == 0
    assert str(target) in window.messages.texts[0]
    assert window.recent.paths == (target,)
    with moedesk.open(target) as kept:
        assert kept.n_passes == 6
        for layer in kept.model.layers:
            np.testing.assert_array_equal(kept.experts(layer), session.store.experts(layer))
    feed.run(session, 1)
    assert session.unsaved.passes == 1


def test_what_is_explained_or_labelled_after_a_save_is_unsaved_again(
    window: Window, feed: FakeFeed, tmp_path: Path
) -> None:
    session = feed.attach()
    feed.run(session, 3)
    window.saving.ask_path = lambda session: tmp_path / "kept.h5"  # type: ignore[method-assign]

    def save() -> None:
        window.commands.run("file.save")
        feed.wait(lambda: not window.saving.busy)

    def stars() -> set[bool]:
        bar = window.findChild(SessionBar)
        assert bar is not None
        return {"*" in bar.tabText(0), "*" in window.windowTitle(), bool(session.unsaved)}

    assert stars() == {True}
    save()
    assert stars() == {False}
    session.explanations.add(WHY, pytest.fail)
    feed.wait(lambda: stars() == {True})
    asked: list[str] = []
    window.saving.ask_unsaved = lambda sessions: asked.append(str(sessions[0].unsaved)) or "cancel"  # type: ignore[method-assign,func-returns-value]
    window.close_current()
    assert asked == ["1 explanation"]
    save()
    assert stars() == {False}
    with moedesk.open(tmp_path / "kept.h5") as kept:
        assert [each.KIND for each in kept.attributions] == [WHY.KIND]
    said: list[str] = []
    session.labelling.add([Label("python", 0, 2)], said.append)
    feed.wait(lambda: stars() == {True})
    window.close_current()
    assert asked[1:] == ["changes of labels"]
    save()
    assert stars() == {False}
    with moedesk.open(tmp_path / "kept.h5") as kept:
        assert kept.labels == (Label("python", 0, 2),)
    window.close_current()
    assert len(asked) == 2, "all is saved"
    feed.wait(lambda: not window.files.sessions)


def test_a_save_that_fails_loses_nothing(window: Window, feed: FakeFeed, tmp_path: Path) -> None:
    session = feed.attach()
    feed.run(session, 2)
    window.saving.save_to(session, tmp_path / "no such folder" / "kept.h5")
    feed.wait(lambda: bool(window.messages.texts))
    assert "was not saved" in window.messages.texts[0]
    assert session.unsaved.passes == 2


@pytest.mark.parametrize("answer", ["save", "discard", "cancel"])
def test_closing_an_unsaved_session_asks(window: Window, feed: FakeFeed, tmp_path: Path, answer: str) -> None:
    session = feed.attach()
    feed.run(session, 4)
    asked: list[list[Session]] = []
    window.saving.ask_unsaved = lambda sessions: asked.append(sessions) or answer  # type: ignore[method-assign,func-returns-value]
    window.saving.ask_path = lambda session: tmp_path / "kept.h5"  # type: ignore[method-assign]
    window.close_current()
    assert asked == [[session]]
    if answer == "cancel":
        assert window.files.current is session
        assert scratch_files()
        return
    feed.wait(lambda: window.files.current is None)
    feed.wait(lambda: not scratch_files())
    assert (tmp_path / "kept.h5").exists() == (answer == "save")


def test_a_saved_or_empty_session_closes_without_a_question(window: Window, feed: FakeFeed, tmp_path: Path) -> None:
    feed.attach(1)
    window.close_current()
    session = feed.attach(2)
    feed.run(session, 2, number=2)
    window.saving.save_to(session, tmp_path / "kept.h5")
    feed.wait(lambda: session.unsaved.passes == 0)
    window.close_current()
    feed.wait(lambda: not window.files.sessions and not scratch_files())


def test_quitting_asks_once_for_all_and_can_be_taken_back(window: Window, feed: FakeFeed) -> None:
    one, two = feed.attach(1), feed.attach(2, name="mixtral")
    feed.run(one, 2, number=1)
    feed.run(two, 3, number=2)
    asked: list[list[Session]] = []
    window.saving.ask_unsaved = lambda sessions: asked.append(sessions) or "cancel"  # type: ignore[method-assign,func-returns-value]
    event = QCloseEvent()
    window.closeEvent(event)
    assert not event.isAccepted()
    assert asked == [[one, two]]
    feed.run(one, 1, number=1)


def test_quitting_saves_all_and_then_leaves(window: Window, feed: FakeFeed, tmp_path: Path) -> None:
    one, two = feed.attach(1), feed.attach(2, name="mixtral")
    feed.run(one, 2, number=1)
    feed.run(two, 3, number=2)
    window.saving.ask_unsaved = lambda sessions: "save"  # type: ignore[method-assign]
    window.saving.ask_path = lambda session: tmp_path / f"{session.title}.h5"  # type: ignore[method-assign]
    assert not window.close()
    feed.wait(lambda: not window.isVisible())
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["mixtral.h5", "olmoe.h5"]
    assert not scratch_files()


def test_cleared_passes_come_back_with_undo(window: Window, feed: FakeFeed) -> None:
    session = feed.attach()
    feed.run(session, 4)
    window.commands.run("live.clear")
    feed.wait(lambda: window.files.current is not session)
    assert "4 passes were cleared" in window.messages.texts[0]
    current = window.files.current
    assert current is not None
    feed.run(current, 2)
    window.closed.undo()
    feed.wait(lambda: len(window.files.sessions) == 2)
    assert window.files.current.unsaved.passes == 4


def left_by_a_crash(passes: int) -> None:
    """What a killed app leaves: a scratch capture that nobody holds."""
    from moedesk.capture.writer import CaptureWriter
    from tests.support.fake_feed import MODEL
    from tests.support.routing import random_batch

    scratch = Scratch()
    with CaptureWriter(scratch.new("olmoe"), compress=False) as writer:
        writer.describe(MODEL)
        for seed in range(passes):
            writer.append(random_batch((3, seed), MODEL, 5))
    scratch.close()


def button(window: Window, text: str) -> QPushButton:
    return next(button for button in window.messages.findChildren(QPushButton) if button.text() == text)


def test_what_a_crash_left_is_offered_and_opened(qtbot: QtBot, qapp, request: pytest.FixtureRequest) -> None:  # type: ignore[no-untyped-def]
    left_by_a_crash(7)
    window: Window = request.getfixturevalue("window")
    qtbot.waitUntil(lambda: bool(window.messages.texts))
    assert "ended without being saved: random, 7 passes" in window.messages.texts[0]
    button(window, "Open").click()
    qtbot.waitUntil(lambda: window.files.current is not None)
    session = window.files.current
    assert session.store.n_passes == session.unsaved.passes == 7
    assert not window.messages.texts


def test_what_a_crash_left_can_be_discarded(qtbot: QtBot, request: pytest.FixtureRequest) -> None:
    left_by_a_crash(2)
    window: Window = request.getfixturevalue("window")
    qtbot.waitUntil(lambda: bool(window.messages.texts))
    button(window, "Discard").click()
    qtbot.waitUntil(lambda: not scratch_files())
