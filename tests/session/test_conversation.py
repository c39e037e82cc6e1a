"""What sessions see of topics, orders and tasks; the link is a list."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moedesk.link.protocol import LinkError
from moedesk.session.conversation import NOBODY, Conversation, Outcome
from tests.session.test_feed import Desk, publish


class Link:
    """Stands in for a client: keeps requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def request(self, kind: str, fields: dict[str, Any]) -> None:
        if "model" in fields["value"]:
            raise LinkError("a task cannot be sent: no JSON")
        self.requests.append((kind, fields))


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def talk(link: Link) -> Conversation:
    return Conversation(lambda work: work(), lambda: link)  # type: ignore[arg-type, return-value]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    for session in made.sessions:
        session.close()
    made.scratch.close(discard=True)


def test_a_task_is_answered_once(talk: Conversation, link: Link) -> None:
    outcomes: list[Outcome] = []
    shares: list[tuple[float, str]] = []
    talk.ask("why", {"layer": 1}, outcomes.append, lambda share, text: shares.append((share, text)))
    ((kind, fields),) = link.requests
    assert (kind, fields["name"], fields["value"]) == ("task", "why", {"layer": 1})
    talk.take_progress(fields["request"], 0.5, "layer 1")
    talk.take_finished(fields["request"], Outcome(True, value={"margin": 0.25}))
    talk.take_finished(fields["request"], Outcome(False, "late"))
    talk.take_end("gone")
    assert shares == [(0.5, "layer 1")]
    assert outcomes == [Outcome(True, value={"margin": 0.25})]


def test_a_cancelled_task_is_silent_and_the_kernel_is_told(talk: Conversation, link: Link) -> None:
    outcomes: list[Outcome] = []
    cancel = talk.ask("attribute", {}, outcomes.append)
    cancel()
    cancel()
    request = link.requests[0][1]["request"]
    assert link.requests[1:] == [("order", {"topic": "cancel", "value": {"request": request}})]
    talk.take_finished(request, Outcome(False, "it was interrupted"))
    assert outcomes == []


def test_tasks_fail_with_the_link(talk: Conversation) -> None:
    outcomes: list[Outcome] = []
    topics: list[tuple[str, int]] = []
    talk.changed.connect(topics.append)
    talk.take_told("stopped", {"why": "nan"}, 1)
    talk.ask("why", {}, outcomes.append)
    talk.ask("attribute", {}, outcomes.append)
    talk.take_end("the connection is gone")
    assert outcomes == [Outcome(False, "the connection is gone")] * 2
    assert talk.told == {}
    assert topics == [("stopped", 1)] * 2


def test_a_task_that_cannot_be_asked_for(link: Link) -> None:
    outcomes: list[Outcome] = []
    later: list[Any] = []
    nobody = Conversation(later.append, lambda: None)
    nobody.ask("why", {}, outcomes.append)
    cancel = nobody.ask("why", {}, outcomes.append)
    cancel()
    assert outcomes == [], "never within the call"
    for work in later:
        work()
    assert outcomes == [Outcome(False, NOBODY)]
    nobody.order("overrides", {"do": "undo"})
    Conversation(lambda work: work(), lambda: link).ask("why", {"model": 1}, outcomes.append)  # type: ignore[arg-type, return-value]
    assert outcomes[1:] == [Outcome(False, "a task cannot be sent: no JSON")]


def test_topics_come_to_the_session_of_their_model_and_those_of_the_process_to_all(desk: Desk) -> None:
    desk.feed.told("overrides", {"entries": []}, 0)  # before anything is attached
    desk.feed.told("breakpoints", {"active": False}, 2)  # topics overtake the news of an attached model
    one, two = desk.attach(1), desk.attach(2, name="mixtral")
    seen: list[tuple[int, str]] = []
    for place, stream in enumerate((one, two)):
        assert stream.session is not None
        stream.session.changed.connect(lambda name, place=place: seen.append((place, name)))  # type: ignore[misc]
    assert one.told("overrides") == two.told("overrides") == {"entries": []}
    assert one.told("stopped") == {}
    assert (one.told("breakpoints"), two.told("breakpoints")) == ({}, {"active": False})
    desk.feed.told("stopped", {"why": "nan"}, 1)
    assert seen == [(0, "stopped")]
    desk.feed.told("stopped", {"why": "load>2"}, 2)
    assert seen == [(0, "stopped"), (1, "stopped")]
    assert (one.told("stopped"), two.told("stopped")) == ({"why": "nan"}, {"why": "load>2"})
    desk.feed.ended(2)
    publish(two)
    assert two.told("stopped") == {}
    assert ("stopped", 2) not in desk.feed.conversation.told
    assert one.told("stopped") == {"why": "nan"}
    assert {(1, "overrides"), (1, "stopped"), (1, "live")} <= set(seen), "what it was told of is gone"
    seen.clear()
    desk.feed.lost("the connection is gone")
    assert one.told("stopped") == {}
    publish(one)
    assert (0, "live") in seen


def test_a_stream_without_a_model_answers_with_why(desk: Desk) -> None:
    outcomes: list[Outcome] = []
    stream = desk.attach(1)
    stream.ask("why", {}, outcomes.append)
    assert outcomes == [Outcome(False, NOBODY)]
    desk.feed.ended(1)
    publish(stream)
    stream.ask("why", {}, outcomes.append)
    assert "detached" in outcomes[-1].text
