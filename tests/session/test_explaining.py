"""Questions about a token: asked of a played model, answered, cancelled, kept; the work of jobs is waited for."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moedesk.capture.open import open_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.attribution import Attribution, Why
from moedesk.core.attribution_json import taken_apart
from moedesk.session.conversation import Outcome
from moedesk.session.jobs import Jobs
from moedesk.session.session import Session
from tests.capture.test_labels import write
from tests.support import explained
from tests.support.memory_store import memory_store
from tests.support.played_live import PlayedLive, PlayedTask
from tests.support.until import until

ROW = 26


class Stage:
    """A session with a played model; what is delivered runs at once, on the worker's thread."""

    def __init__(self, store: object) -> None:
        self._one_at_a_time = threading.Lock()
        self.session = Session(store, Jobs(self._deliver))  # type: ignore[arg-type]
        self.live = PlayedLive(self.session)
        self.session.live = self.live
        self.explaining = self.session.explaining

    def _deliver(self, work: Callable[[], None]) -> None:
        with self._one_at_a_time:
            work()

    def wait(self, condition: Callable[[], object]) -> None:
        until(lambda: bool(condition()))

    def ask(self, kind: type = Why, **options: object) -> PlayedTask:
        """Ask, and return the task that the model's process got."""
        before = len(self.live.tasks)
        self.explaining.ask(kind, ROW, None, options)
        self.wait(lambda: len(self.live.tasks) > before)
        return self.live.tasks[-1]


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage(memory_store())
    yield made
    made.session.close()


def test_a_question_has_the_tokens_and_its_answer_is_found(stage: Stage) -> None:
    store = stage.session.store
    task = stage.ask(layer=2)
    assert (task.name, task.value["layer"]) == ("why", 2)
    assert task.value["passage"]["ids"][-1] == store.read_tokens(ROW, ROW + 1)[0]["token_id"]
    asking = stage.explaining.asking
    assert asking is not None
    assert (asking.row, asking.began) == (ROW, False), "it waits until the model's process says that it began"
    assert task.progress is not None
    task.progress(0.5, "layer 2")
    asking = stage.explaining.asking
    assert asking is not None
    assert (asking.share, asking.text, asking.began) == (0.5, "layer 2", True)
    sent = explained.why(store, ROW, 2)
    value, arrays = taken_apart(sent)
    value["token"] = {"text": "x", "token_id": 3, "index": 5}
    task.done(Outcome(True, "", value, arrays))
    assert stage.explaining.asking is None
    found = stage.explaining.find(Why, ROW, None, 2)
    assert isinstance(found, Why)
    assert found.logits.tolist() == sent.logits.tolist()
    assert (found.token.row, found.token.pass_id, found.token.stream) == (
        ROW,
        store.read_tokens(ROW, ROW + 1)[0]["pass"],
        "main",
    )
    assert stage.explaining.find(Why, ROW, "main", 2) is found
    for other in (
        (Why, ROW, None, 1),
        (Why, ROW + 1, None, 2),
        (Attribution, ROW, None, None),
        (Why, ROW, "decoder", 2),
    ):
        assert stage.explaining.find(*other) is None  # type: ignore[arg-type]


def test_a_new_question_takes_the_place_of_one_under_way(stage: Stage) -> None:
    first = stage.ask()
    second = stage.ask(Attribution, target=None)
    assert first.cancelled
    assert (second.name, second.cancelled) == ("attribute", False)
    stage.explaining.cancel()
    assert second.cancelled
    assert stage.explaining.asking is None
    assert stage.explaining.problem == ""


def test_a_question_cancelled_before_its_tokens_are_read_is_never_sent(stage: Stage) -> None:
    stage.explaining.ask(Why, ROW)
    stage.explaining.cancel()
    third = stage.ask(Attribution)
    assert stage.live.tasks == [third]


def test_what_went_wrong_is_said_until_the_next_question(stage: Stage) -> None:
    stage.ask().done(Outcome(False, "layer 9 is none"))
    assert stage.explaining.problem == "layer 9 is none"
    assert stage.explaining.asking is None
    stage.ask().done(Outcome(True, "", {"kind": "poem"}))
    assert "no kind of explanation" in stage.explaining.problem
    task = stage.ask()
    assert stage.explaining.problem == ""
    task.done(Outcome(False, "again"))
    stage.session.store.streams["main"]["sequence"][0] = 99  # type: ignore[attr-defined]
    stage.explaining.ask(Why, ROW)
    stage.wait(lambda: "not recorded" in stage.explaining.problem)
    assert stage.explaining.asking is None


def test_a_file_can_only_show_what_is_stored(stage: Stage) -> None:
    assert stage.explaining.why_not == ""
    stage.live.attach(False)
    assert "moe.attach()" in stage.explaining.why_not
    stage.live.end("the kernel was killed")
    assert stage.explaining.why_not == "the kernel was killed"
    stage.session.live = None
    stage.explaining.ask(Why, ROW)
    assert stage.explaining.asking is None
    assert stage.explaining.problem == stage.explaining.why_not
    assert "a file has its stored explanations only" in stage.explaining.problem


def test_answers_are_kept_with_the_capture_and_found_when_it_is_opened_again(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        write(writer)
    with open_capture(tmp_path / "a.h5") as store:
        row = int((~store.read_tokens()["is_padding"]).nonzero()[0][0])
        stage = Stage(store)
        stage.explaining.load()
        sent = explained.why(store, row, 0)
        stage.explaining.ask(Why, row, None, {"layer": 0})
        stage.wait(lambda: stage.live.tasks or stage.explaining.problem)
        assert stage.explaining.problem == ""
        value, arrays = taken_apart(sent)
        stage.live.tasks[0].done(Outcome(True, "", value, arrays))
        assert len(stage.explaining.all) == 1
        stage.wait(lambda: store.attributions and stage.session.idle)
        assert len(stage.explaining.all) == 1, "kept, and not there twice"
        stage.session.close()
    with open_capture(tmp_path / "a.h5") as store:
        stage = Stage(store)
        assert stage.explaining.all == ()
        stage.explaining.load()
        stage.wait(lambda: stage.explaining.all)
        found = stage.explaining.find(Why, row, None, 0)
        assert isinstance(found, Why)
        assert found.logits.tolist() == sent.logits.tolist()
        stage.session.close()


def test_a_session_that_is_closed_asks_no_more() -> None:
    stage = Stage(memory_store())
    task = stage.ask()
    stage.session.close()
    assert task.cancelled
