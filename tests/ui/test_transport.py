import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from moedesk.core.columns import PASS
from moedesk.session.replay import PASSES_PER_SECOND
from moedesk.ui.transport import describe
from moedesk.ui.window import Window


def test_a_pass_is_described_with_its_units() -> None:
    record = np.zeros((), PASS)
    record["id"], record["n_seen"], record["t0_ns"], record["t1_ns"] = 12, 256, 5_000_000, 19_200_000
    assert describe(record, 340) == "pass 12 of 340 · prefill · 256 tokens · 14.2 ms"


def test_buttons_move_the_cursor(window: Window, qtbot: QtBot) -> None:
    session, transport = window.files.current, window.transport
    assert session is not None
    assert session.cursor is None
    last = session.store.n_passes - 1
    for name, cursor in [
        ("next", 0),
        ("next", 1),
        ("last", last),
        ("previous", last - 1),
        ("first", 0),
        ("stop", None),
    ]:
        qtbot.mouseClick(transport.buttons[name], Qt.MouseButton.LeftButton)
        assert session.cursor == cursor, name
    transport.slider.setValue(7)
    assert session.cursor == 7
    record = session.store.read_passes(7, 8)[0]
    qtbot.waitUntil(lambda: transport.label.text() == describe(record, session.store.n_passes))


def test_playing_reaches_the_end_and_stops_there(window: Window, qtbot: QtBot) -> None:
    session, transport = window.files.current, window.transport
    assert session is not None
    seen: list[int | None] = []
    session.changed.connect(lambda _: seen.append(session.cursor))
    transport.speed.setCurrentIndex(transport.speed.count() - 1)
    transport.toggle()
    assert transport.playing
    qtbot.waitUntil(lambda: not transport.playing)
    assert session.cursor == session.store.n_passes - 1
    assert seen == sorted(seen), "time goes one way"  # type: ignore[type-var]
    assert transport.slider.value() == session.cursor
    qtbot.waitUntil(lambda: not window.ticker.running)


def test_switching_files_pauses(window: Window, qtbot: QtBot) -> None:
    from pathlib import Path

    first = window.files.current
    window.transport.toggle()
    window.files.open(Path("two.h5"))
    qtbot.waitUntil(lambda: window.files.current is not first)
    assert not window.transport.playing
    assert first is not None
    window.files.make_current(first)
    assert not window.transport.playing


def test_speeds_state_their_base(window: Window) -> None:
    assert f"{PASSES_PER_SECOND} passes per second" in window.transport.speed.toolTip()
    assert [window.transport.speed.itemText(i) for i in (0, window.transport.speed.count() - 1)] == ["0.25×", "16×"]


@pytest.mark.parametrize("panel", ["routes"])
def test_panels_follow_the_cursor(window: Window, qtbot: QtBot, panel: str) -> None:
    host = window.workspace.docks[panel].current
    assert host is not None
    window.transport.step(1)
    qtbot.waitUntil(lambda: host.view.refreshes[-1] == frozenset({"cursor"}))  # type: ignore[union-attr]
