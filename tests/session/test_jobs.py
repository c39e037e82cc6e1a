"""When the questions of a session are all answered."""

import threading
from collections.abc import Callable, Iterator
from queue import Queue

import pytest

from moedesk.session.jobs import Jobs
from tests.support.until import PATIENCE, until

Results = Queue[Callable[[], None]]


@pytest.fixture
def results() -> Results:
    """What the worker handed over; the test takes it when it likes, as a busy GUI thread does."""
    return Queue()


@pytest.fixture
def jobs(results: Results) -> Iterator[Jobs]:
    made = Jobs(results.put)
    yield made
    made.close()


def end(jobs: Jobs) -> None:
    """Wait until the worker is through with all that was asked so far."""
    reached = threading.Event()
    jobs.latest("end", lambda _: reached.set(), lambda _: None)
    assert reached.wait(PATIENCE)


def test_an_answer_that_is_not_taken_yet_keeps_them_from_being_idle(jobs: Jobs, results: Results) -> None:
    assert jobs.idle
    said: list[int] = []
    jobs.latest("a", lambda _: 1, said.append)
    answer = results.get(timeout=PATIENCE)
    end(jobs)
    results.get(timeout=PATIENCE)()
    assert not said
    assert not jobs.idle, "the worker is through, but nobody has seen the answer"
    answer()
    assert said == [1]
    until(lambda: jobs.idle)


def test_what_an_answer_asks_for_next_comes_without_a_gap(jobs: Jobs, results: Results) -> None:
    go = threading.Event()
    jobs.latest("a", lambda _: 1, lambda _: jobs.latest("b", lambda _: go.wait(PATIENCE), lambda _: None) and None)
    results.get(timeout=PATIENCE)()
    assert not jobs.idle
    go.set()
    results.get(timeout=PATIENCE)()
    until(lambda: jobs.idle)


def test_an_answer_that_raises_or_is_no_longer_wanted_is_taken_all_the_same(jobs: Jobs, results: Results) -> None:
    jobs.latest("a", lambda _: 1, lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        results.get(timeout=PATIENCE)()
    said: list[int] = []
    ticket = jobs.latest("a", lambda _: 1, said.append)
    answer = results.get(timeout=PATIENCE)
    ticket.cancel()
    answer()
    assert not said
    end(jobs)
    results.get(timeout=PATIENCE)()
    until(lambda: jobs.idle)
