"""The status bar of a live session."""

from collections.abc import Iterator

import pytest
from pytestqt.qtbot import QtBot

from moedesk.core.acted import Acted
from moedesk.core.live import Counters
from moedesk.core.override import Override, OverrideKind
from moedesk.session.jobs import Jobs
from moedesk.session.session import Session
from moedesk.ui import status_bar
from moedesk.ui.delivery import Delivery
from moedesk.ui.live_numbers import Rate, overhead_text, rate_text, recording_text
from moedesk.ui.status_bar import StatusBar
from tests.support.memory_store import memory_store
from tests.support.played_live import PlayedLive
from tests.support.published_store import PublishedStore


@pytest.fixture
def session(qtbot: QtBot) -> Iterator[Session]:
    delivery = Delivery()
    session = Session(PublishedStore(memory_store(passes=20), 3), Jobs(delivery))
    session.live = PlayedLive(session)
    yield session
    session.close()
    delivery.deleteLater()


@pytest.fixture
def bar(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatusBar]:
    monkeypatch.setattr(status_bar, "PERIOD", 1)
    bar = StatusBar()
    bar.show()
    bar.show_session(session)
    yield bar
    bar.show_session(None)
    bar.close()
    bar.deleteLater()


def test_a_rate_is_the_growth_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.per_second(0) == 0
    for step in range(11):
        rate.add(step * 0.5, step * 10, step * 40)
    assert (rate.per_second(0), rate.per_second(1)) == (20, 80)
    for step in range(1, 9):
        rate.add(5 + step * 0.5, 100, 400)
    assert rate.per_second(0) == 0


def test_texts_name_their_units() -> None:
    assert rate_text(12.34, "passes") == "12.3 passes/s"
    assert rate_text(1234.5, "rows") == "1,234 rows/s"
    counters = Counters(passes=1000, hook_ns=48_000_000, pass_ns=4_800_000_000)
    assert overhead_text(counters, 6) == "hooks 1 % · 8 µs a layer and pass"
    assert overhead_text(Counters(), 6) == ""


def test_it_says_what_becomes_of_the_passes(session: Session, tmp_path: object) -> None:
    live = session.live
    assert isinstance(live, PlayedLive)
    session.scratch = tmp_path  # type: ignore[assignment]
    assert recording_text(session) == "recording to a scratch capture · 3 passes unsaved"
    session.take_saved(session.holding)
    assert recording_text(session) == "recording to a scratch capture · all saved"
    live.set_recording(False)
    assert recording_text(session).startswith("not recording")
    live.end("The kernel ended.")
    assert recording_text(session).startswith("ended")


def test_it_follows_the_session_and_stops_by_itself(session: Session, bar: StatusBar, qtbot: QtBot) -> None:
    live, store = session.live, session.store
    assert isinstance(live, PlayedLive)
    assert isinstance(store, PublishedStore)
    rows = store.whole.token_span(0, 3)[1]
    qtbot.waitUntil(lambda: f"3 passes · {rows} token rows" in bar._numbers.text())
    store.publish(9)
    live.count(passes=9, shed=2, hook_ns=9 * 3 * 5000, pass_ns=9 * 10_000_000)
    qtbot.waitUntil(lambda: "9 passes" in bar._numbers.text() and "passes/s" in bar._numbers.text())
    assert "2 passes counts only" in bar._left_out.text()
    assert bar._overhead.text() == "hooks 0.15 % · 5 µs a layer and pass"
    bar.show_session(None)
    live.count(passes=10)
    assert not bar._timer.isActive()
    assert bar._overhead.isHidden()


def test_what_it_says_never_makes_the_window_wider(session: Session, bar: StatusBar, qtbot: QtBot) -> None:
    live = session.live
    assert isinstance(live, PlayedLive)
    live.count(passes=9, shed=2, hook_ns=9 * 3 * 5_000_000, pass_ns=9 * 10_000_000)
    qtbot.waitUntil(lambda: bar._overhead.text().endswith("5 ms a layer and pass"))
    bar.show_renderer("raster (llvmpipe is a software renderer)", "")
    bar._state.setText("stopped at a breakpoint · recording to a scratch capture · 123,456 passes unsaved")
    bar.overrides.show()
    bar.resize(600, bar.height())
    qtbot.waitUntil(lambda: bar.minimumSizeHint().width() <= 600 >= bar.width())


def test_a_capture_says_that_overrides_acted_on_it(qtbot: QtBot, bar: StatusBar) -> None:
    store = memory_store(passes=9)
    store.overrides = (Acted(Override(OverrideKind.ABLATE, (1,), (3,)), ((2, 5), (7, 8))),)
    delivery = Delivery()
    capture = Session(store, Jobs(delivery))
    bar.show_session(capture)
    qtbot.waitUntil(lambda: bar.overrides.text() == "⚠ 1 override acted")
    assert not bar.overrides.isHidden()
    assert "ablate expert 3 in layer 1 (passes 2–4, 7)" in bar.overrides.toolTip()
    qtbot.waitUntil(lambda: "token rows" in bar._numbers.text())
    bar.show_session(None)
    assert bar.overrides.isHidden()
    capture.close()
