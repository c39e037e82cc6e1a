import pytest

from moedesk.session.jobs import Jobs
from moedesk.session.replay import PASSES_PER_SECOND, Replay
from moedesk.session.session import Session
from tests.support.memory_store import memory_store


@pytest.fixture
def replay():  # type: ignore[no-untyped-def]
    session = Session(memory_store(passes=100), Jobs(lambda function: function()))
    yield Replay(session)
    session.close()


@pytest.mark.parametrize("speed", [0.25, 1.0, 16.0])
def test_speed_is_kept_however_ticks_fall(replay: Replay, speed: float) -> None:
    replay.speed = speed
    replay.play()
    seconds, ticks = 0.5, 37
    for tick in range(ticks + 1):
        replay.advance(100 + seconds * tick / ticks)
    assert replay.session.cursor == int(seconds * speed * PASSES_PER_SECOND + 1e-9)


def test_play_stops_at_the_end_and_starts_over(replay: Replay) -> None:
    replay.play()
    replay.advance(0.0)
    assert not replay.advance(1000.0)
    assert replay.session.cursor == 99
    assert not replay.playing
    replay.play()
    assert replay.session.cursor == 0


def test_a_pause_is_not_caught_up(replay: Replay) -> None:
    replay.play()
    replay.advance(0.0)
    replay.pause()
    assert not replay.advance(50.0)
    replay.play()
    replay.advance(60.0)
    assert replay.session.cursor == 0


def test_steps_stay_inside(replay: Replay) -> None:
    replay.step(-1)
    assert replay.session.cursor == 99, "without a cursor, back means from the end"
    replay.step(1)
    assert replay.session.cursor == 99
    replay.leave()
    assert replay.session.cursor is None
