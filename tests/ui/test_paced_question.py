"""Questions that live data asks anew each tick."""

import threading
from collections.abc import Iterator

import pytest
from pytestqt.qtbot import QtBot

from moedesk.session.jobs import Jobs
from moedesk.session.session import Session
from moedesk.ui.delivery import Delivery
from moedesk.ui.paced_question import PacedQuestion
from tests.support.memory_store import memory_store
from tests.support.played_live import PlayedLive


class Asking:
    """Asks numbered questions; each waits in the worker until it is let go."""

    def __init__(self, live: bool) -> None:
        self.delivery = Delivery()
        self.session = Session(memory_store(passes=3), Jobs(self.delivery))
        self.session.live = PlayedLive(self.session) if live else None
        self.question = PacedQuestion(self.session, "test", self.delivery)
        self.started: list[int] = []
        self.answers: list[object] = []
        self.go = threading.Semaphore(0)

    def ask(self, number: int, urgent: bool = False) -> None:
        def work(_: object) -> int:
            self.started.append(number)
            self.go.acquire()
            if number < 0:
                raise ValueError("unreadable")
            return number

        self.question.ask(work, self.answers.append, lambda error: self.answers.append(str(error)), urgent=urgent)


@pytest.fixture(params=[True, False], ids=["live", "file"])
def asking(request: pytest.FixtureRequest, qtbot: QtBot) -> Iterator[Asking]:
    asking = Asking(request.param)
    yield asking
    asking.go.release(100)
    asking.session.close()
    asking.delivery.deleteLater()


def test_one_at_a_time_and_of_the_others_the_last(asking: Asking, qtbot: QtBot) -> None:
    asking.ask(1)
    qtbot.waitUntil(lambda: asking.started == [1])
    for number in (2, 3, 4):
        asking.ask(number)
    asking.go.release(10)
    qtbot.waitUntil(lambda: asking.answers == [1, 4])
    assert asking.started == [1, 4]
    qtbot.waitUntil(lambda: not asking.question.waits)


def test_an_urgent_one_drops_the_one_under_way(asking: Asking, qtbot: QtBot) -> None:
    asking.ask(1)
    qtbot.waitUntil(lambda: asking.started == [1])
    asking.ask(2)
    asking.ask(3, urgent=True)
    asking.go.release(10)
    qtbot.waitUntil(lambda: asking.answers == [3])
    assert asking.started == [1, 3]


def test_a_failure_is_told_and_the_next_is_asked(asking: Asking, qtbot: QtBot) -> None:
    asking.ask(-1)
    qtbot.waitUntil(lambda: asking.started == [-1])
    asking.ask(2)
    asking.go.release(10)
    qtbot.waitUntil(lambda: asking.answers == ["unreadable", 2])


def test_after_an_answer_only_a_live_session_rests(asking: Asking, qtbot: QtBot) -> None:
    pauses: list[int] = []
    start = asking.question._pause.start
    asking.question._pause.start = lambda ms: (pauses.append(ms), start(ms))  # type: ignore[assignment,method-assign]
    asking.ask(1)
    qtbot.waitUntil(lambda: asking.started == [1])
    threading.Event().wait(0.03)  # what the answer takes, not a wait for it
    asking.go.release()
    qtbot.waitUntil(lambda: asking.answers == [1])
    if asking.session.live is None:
        assert not pauses
    else:
        assert pauses[0] >= 2 * 30  # 30 % of the time at most


def test_nothing_comes_after_it_was_cancelled(asking: Asking, qtbot: QtBot) -> None:
    asking.ask(1)
    qtbot.waitUntil(lambda: asking.started == [1])
    asking.ask(2)
    asking.question.cancel()
    asking.go.release(10)
    qtbot.waitUntil(lambda: asking.session.jobs.idle)
    assert not asking.answers
    assert not asking.question.waits
