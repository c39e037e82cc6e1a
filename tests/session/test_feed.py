"""A feed without a link: what it makes of attached models, in the order a link would tell it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.session.feed import Feed
from moedesk.session.jobs import Jobs
from moedesk.session.live_stream import LiveStream
from moedesk.session.scratch import Scratch
from moedesk.session.session import Session
from tests.support.routing import random_batch, random_model

MODEL = random_model()


class Desk:
    """Stands in for the window: runs what is delivered at once, and makes a session for each stream."""

    def __init__(self, folder: Path) -> None:
        self.scratch = Scratch(folder)
        self.sessions: list[Session] = []
        self.revealed: list[dict[str, object]] = []
        self.wakes = 0
        self.feed = Feed(
            self.scratch, lambda work: work(), self.wake, self.added, lambda feed, place: self.revealed.append(place)
        )

    def wake(self) -> None:
        self.wakes += 1

    def added(self, feed: Feed, stream: LiveStream, instead_of: LiveStream | None) -> None:
        session = Session(stream.store, Jobs(lambda work: work()))
        session.live, session.scratch, stream.session = stream, stream.path, session
        if instead_of is None:
            self.sessions.append(session)
        else:
            place = self.sessions.index(instead_of.session)
            self.sessions[place].close()
            self.sessions[place] = session

    def attach(self, number: int, model: ModelInfo = MODEL, name: str = "olmoe") -> LiveStream:
        self.feed.opened(number, name)
        self.feed.described(number, replace(model, layers=()))
        self.feed.described(number, model)
        return next(stream for stream in self.feed.streams if stream.number == number)

    def run(self, number: int, passes: range, model: ModelInfo = MODEL) -> None:
        for seed in passes:
            self.feed.arrived(number, random_batch((1, seed), model, 5))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    for session in made.sessions:
        session.close()
    made.scratch.close(discard=True)
    assert not list(tmp_path.iterdir())


def publish(stream: LiveStream) -> None:
    """Tick until everything that arrived is shown."""
    limit = 10_000_000
    while stream.publish() and limit:
        limit -= 1
    assert stream.waiting == 0


def test_the_first_model_fills_the_session_that_waited_for_it(desk: Desk) -> None:
    desk.feed.prepare("Python 3.11")
    (session,) = desk.sessions
    assert session.title == "Python 3.11"
    assert session.label == "○ Python 3.11"
    stream = desk.attach(1)
    desk.run(1, range(4))
    publish(stream)
    assert desk.sessions == [session]
    assert session.label == "● olmoe *"
    assert session.store.n_passes == session.unsaved.passes == 4
    expected = np.concatenate([random_batch((1, n), MODEL, 5).layers[0].experts for n in range(4)])
    np.testing.assert_array_equal(session.store.experts(0), expected)


def test_two_models_have_a_session_each(desk: Desk) -> None:
    one, two = desk.attach(1), desk.attach(2, name="mixtral")
    desk.run(1, range(3))
    desk.run(2, range(5))
    publish(one)
    publish(two)
    assert [(session.title, session.store.n_passes) for session in desk.sessions] == [("olmoe", 3), ("mixtral", 5)]


def test_a_model_attached_anew_takes_the_place_of_the_detached_one(desk: Desk) -> None:
    stream = desk.attach(1)
    desk.run(1, range(3))
    publish(stream)
    (before,) = desk.sessions
    desk.feed.ended(1)
    stream.publish()
    assert "detached" in stream.ended
    again = desk.attach(2)
    desk.run(2, range(2))
    publish(again)
    (after,) = desk.sessions
    assert after is not before
    assert after.store.n_passes == 2
    assert before.scratch is not None
    assert before.scratch.exists(), "Undo close opens it"


def test_preserve_log_goes_on_in_the_same_session(desk: Desk) -> None:
    stream = desk.attach(1)
    stream.set_preserve(True)
    desk.run(1, range(3))
    publish(stream)
    last = int(stream.store.read_tokens()["sequence"].max())
    desk.feed.ended(1)
    desk.attach(2)
    desk.run(2, range(2))
    publish(stream)
    (session,) = desk.sessions
    assert session.store.n_passes == 5
    assert not stream.ended
    rows = session.store.read_tokens()
    assert rows["sequence"][rows["pass"] >= 3].min() == last + 1, "sequences of the two runs stay apart"


def test_another_model_is_not_mixed_into_a_preserved_log(desk: Desk) -> None:
    stream = desk.attach(1)
    stream.set_preserve(True)
    desk.run(1, range(3))
    publish(stream)
    desk.feed.ended(1)
    other = random_model(layers=2, experts=8)
    second = desk.attach(2, other)
    desk.run(2, range(2), other)
    publish(second)
    stream.publish()
    assert [session.store.n_passes for session in desk.sessions] == [3, 2]
    assert stream.ended == "another model was attached"


def test_a_lost_kernel_keeps_its_session_when_the_next_one_attaches(desk: Desk) -> None:
    stream = desk.attach(1)
    desk.run(1, range(3))
    publish(stream)
    desk.feed.lost("the kernel was killed (SIGKILL)")
    stream.publish()
    assert stream.ended == "the kernel was killed (SIGKILL)"
    assert desk.sessions[0].label == "○ olmoe *"
    publish(desk.attach(1))
    assert [session.store.n_passes for session in desk.sessions] == [3, 0]


def test_why_a_kernel_went_is_said_once_it_is_known(desk: Desk) -> None:
    detached, lost = desk.attach(1), desk.attach(2, name="mixtral")
    desk.feed.ended(1)
    desk.feed.lost("the connection is gone")
    desk.feed.explain("The kernel was killed (SIGKILL)")
    detached.publish()
    lost.publish()
    assert lost.ended == "The kernel was killed (SIGKILL)"
    assert "detached" in detached.ended, "this one had ended before"


def test_clear_goes_on_with_model_and_texts_but_without_passes(desk: Desk) -> None:
    stream = desk.attach(1)
    desk.feed.texts(1, np.arange(50, dtype=np.int64), [f"t{n} ".encode() for n in range(50)])
    desk.run(1, range(3))
    publish(stream)
    desk.feed.begin_anew(stream)
    (session,) = desk.sessions
    (new,) = desk.feed.streams
    assert session.store is new.store
    desk.run(1, range(3, 5))
    publish(new)
    assert session.store.n_passes == 2
    assert session.store.model.layers == MODEL.layers
    assert session.store.token_text([7]) == ["t7 "]


def test_clear_forgets_what_was_dropped_before(desk: Desk) -> None:
    stream = desk.attach(1)
    desk.run(1, range(1))
    desk.feed.counted(1, Counters(passes=9, dropped=2, dropped_tokens=10))
    desk.feed.begin_anew(stream)
    (new,) = desk.feed.streams
    desk.run(1, range(1))
    desk.feed.counted(1, Counters(passes=12, dropped=3, dropped_tokens=15))
    new.publish()
    assert (new.counters.passes, new.counters.dropped) == (3, 1)


def test_a_tick_is_asked_for_once_until_it_comes(desk: Desk) -> None:
    stream = desk.attach(1)
    stream.publish()
    before = desk.wakes
    desk.run(1, range(50))
    assert desk.wakes == before + 1, "never a call a pass"
    publish(stream)
    desk.run(1, range(2))
    assert desk.wakes == before + 2


def test_paused_shows_nothing_new_but_takes_everything(desk: Desk) -> None:
    stream = desk.attach(1)
    desk.run(1, range(2))
    publish(stream)
    stream.set_paused(True)
    desk.run(1, range(3))
    assert not stream.publish()
    assert (stream.store.n_passes, stream.waiting) == (2, 3)
    stream.set_paused(False)
    publish(stream)
    assert stream.store.n_passes == 5


@pytest.mark.parametrize(
    ("counters", "words"),
    [
        (Counters(passes=9), ""),
        (Counters(passes=9, spared=2), "2 passes came without entropy and margin"),
        (Counters(passes=9, shed=2, dropped_tokens=70), "2 passes came as counts only (70 token rows): the model ran"),
        (Counters(passes=9, shed=2, dropped=1, dropped_tokens=90), "2 passes came as counts only and 1 passes did not"),
    ],
)
def test_what_was_left_out_is_said(desk: Desk, counters: Counters, words: str) -> None:
    stream = desk.attach(1)
    changes: list[str] = []
    desk.sessions[0].changed.connect(changes.append)
    desk.run(1, range(1))
    desk.feed.counted(1, counters)
    stream.publish()
    assert changes[:1] == ["live"]
    assert stream.link_dropped.startswith(words)
    assert bool(stream.link_dropped) == bool(words)


def test_what_ran_before_the_app_connected_is_not_called_dropped(desk: Desk) -> None:
    stream = desk.attach(1)
    desk.feed.counted(1, Counters(passes=40, dropped=40, dropped_tokens=200))
    desk.run(1, range(2))
    desk.feed.counted(1, Counters(passes=42, dropped=40, dropped_tokens=200))
    publish(stream)
    assert stream.link_dropped == ""
    assert stream.counters.passes == 2
    assert "40 passes ran before this app was connected" in stream.store.notes
    desk.feed.counted(1, Counters(passes=45, dropped=41, dropped_tokens=205))
    stream.publish()
    assert stream.link_dropped.startswith("1 passes did not come at all (5 token rows)")


def test_a_closed_session_takes_no_more_passes(desk: Desk) -> None:
    stream = desk.attach(1)
    desk.feed.forget(stream)
    desk.run(1, range(3))
    assert stream.waiting == 0
    assert desk.feed.streams == ()


def test_record_is_asked_of_the_models_process(desk: Desk) -> None:
    asked: list[tuple[str, dict[str, object]]] = []

    class Client:
        def request(self, kind: str, fields: dict[str, object]) -> None:
            asked.append((kind, fields))

    class Kernel:
        client = Client()

    desk.feed.use(Kernel())  # type: ignore[arg-type]
    stream = desk.attach(4)
    stream.set_recording(False)
    stream.set_recording(False)
    assert asked == [("record", {"stream": 4, "on": False})]
    stream.set_preserve(True)
    desk.feed.ended(4)
    desk.attach(5)
    assert asked[1:] == [("record", {"stream": 5, "on": False})], "the next model of this session isn't recorded either"


def test_what_the_user_asks_to_see_is_passed_on(desk: Desk) -> None:
    desk.feed.revealed({"kind": "expert", "layer": 1, "expert": 2})
    assert desk.revealed == [{"kind": "expert", "layer": 1, "expert": 2}]
