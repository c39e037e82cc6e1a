"""Topics, orders and tasks over a real link."""

import threading
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from moedesk.link.protocol import LinkError
from tests.support.link import SECONDS, Recorder, client, connected, server
from tests.support.routing import random_batch, random_model


def calls(recorder: Recorder, name: str) -> list[tuple[Any, ...]]:
    return [call[1:] for call in recorder.calls if call[0] == name]


def test_every_client_is_told_and_who_joins_later_is_told_the_latest() -> None:
    first, later = Recorder(), Recorder()
    with server() as there:
        there.tell("overrides", {"entries": []})
        with client(there.listen_local(), first):
            first.wait_for("told")
            there.tell("overrides", {"entries": [{"id": 1, "acted": 3}]})
            there.tell("stopped", {})
            first.wait_for("told", 3)
            with client(there.listen_local(), later):
                later.wait_for("told", 2)
    assert calls(first, "told") == [
        ("overrides", {"entries": []}, 0),
        ("overrides", {"entries": [{"id": 1, "acted": 3}]}, 0),
        ("stopped", {}, 0),
    ]
    assert calls(later, "told") == calls(first, "told")[1:]
    assert next(call[0] for call in later.calls) == "connected"


def test_topics_are_of_a_stream_and_end_with_it() -> None:
    first, later = Recorder(), Recorder()
    with connected(first) as (there, _):
        one, two = there.open_stream("one"), there.open_stream("two")
        there.tell("stopped", {"why": "nan"}, one.number)
        there.tell("stopped", {"why": "load>2"}, two.number)
        one.close()
        there.tell("stopped", {"why": "too late"}, one.number)
        first.wait_for("ended")
        with client(there.listen_local(), later):
            later.wait_for("opened")
        two.close()
    told = [("stopped", {"why": "nan"}, one.number), ("stopped", {"why": "load>2"}, two.number)]
    assert calls(first, "told") == told
    assert calls(later, "told") == told[1:]


def test_topics_overtake_routing() -> None:
    recorder, model = Recorder(), random_model()
    with patch("moedesk.link.outbox.WINDOW", 1 << 12), connected(recorder) as (there, _):
        recorder.gate.clear()
        stream = there.open_stream("m")
        stream.describe(model)
        for seed in range(4):
            stream.append(random_batch((seed,), model, 64))
        assert recorder.waiting.wait(SECONDS), "one pass is on its way; the window has no room for another"
        there.tell("stopped", {"why": "nan"})
        stream.note("after the topic")
        recorder.gate.set()
        recorder.wait_for("noted")
        names = [call[0] for call in recorder.calls]
        assert names.count("arrived") == 4
        assert names[: names.index("told")].count("arrived") == 1, names
        stream.close()


def test_what_cannot_be_told() -> None:
    with server() as there:
        with pytest.raises(LinkError, match="cannot be sent"):
            there.tell("stopped", {"model": object()})
        with pytest.raises(LinkError, match="too long"):
            there.tell("stopped", {"text": "x" * (5 << 20)})


def test_an_order_and_a_task_with_its_arrays() -> None:
    asking, other, orders, left = Recorder(), Recorder(), [], threading.Event()
    with connected(asking) as (there, here):
        there.on("order", lambda number, fields, _: orders.append(dict(fields)))
        there.on_leave(lambda number: left.set())

        def work(number: int, fields: Any, _: Any) -> None:
            there.progress(number, fields["request"], 0, "begins")
            there.finish(number, fields["request"], True, "", {"sum": np.pi}, {"x": np.arange(6.0).reshape(2, 3)})

        there.on("task", work)
        with client(there.listen_local(), other):
            other.wait_for("connected")
            here.request("order", {"topic": "overrides", "value": {"do": "undo"}})
            here.request("task", {"request": 5, "name": "why", "value": {"layer": 2}})
            asking.wait_for("finished")
        assert left.wait(SECONDS), "a client that leaves is handled"
    assert orders == [{"topic": "overrides", "value": {"do": "undo"}}]
    assert calls(asking, "progressed") == [(5, 0.0, "begins")]
    ((request, ok, text, value, arrays),) = calls(asking, "finished")
    assert (request, ok, text, value) == (5, True, "", {"sum": np.pi})
    np.testing.assert_array_equal(arrays["x"], [[0, 1, 2], [3, 4, 5]])
    assert not calls(other, "finished")
    assert not calls(other, "progressed")


def test_a_task_that_nobody_does_is_answered() -> None:
    recorder = Recorder()
    with connected(recorder) as (there, here):
        here.request("task", {"request": 1, "name": "why", "value": {}})
        recorder.wait_for("finished")
        there.on("task", lambda *_: 1 / 0)  # type: ignore[arg-type, return-value]
        here.request("task", {"request": 2, "name": "why", "value": {}})
        recorder.wait_for("finished", 2)
        with pytest.raises(LinkError, match="too large"):
            there.finish(1, 1, True, "", {}, {"x": np.zeros((64 << 20) + 1, np.uint8)})
    assert calls(recorder, "finished") == [
        (1, False, "nothing here answers that", {}, {}),
        (2, False, "ZeroDivisionError: division by zero", {}, {}),
    ]
