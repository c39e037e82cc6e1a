"""What apps ask, and what the kernel's side says to them."""

import logging
import threading
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from moedesk.link.protocol import LinkError
from tests.support.link import SECONDS, Recorder, client, connected, server
from tests.support.routing import random_batch, random_model


def test_a_selection_with_its_arrays() -> None:
    taken: list[tuple[int, Mapping[str, Any], Mapping[str, np.ndarray]]] = []
    done = threading.Event()

    def handle(number: int, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        taken.append((number, fields, arrays))
        done.set()

    history = [{"kind": "token", "pass_id": 3, "layer": None, "text": "ü\n"}, {"kind": "layer", "layer": 1}]
    experts, weights = np.arange(12, dtype=np.int16).reshape(3, 4), np.array([0.5, np.nan], np.float32)
    with connected(Recorder()) as (there, here):
        there.on("selection", handle)
        here.request("selection", {"history": history}, {"0.experts": experts[:, ::2], "0.weights": weights})
        assert done.wait(SECONDS)
    ((_, fields, arrays),) = taken
    assert fields == {"history": history}
    np.testing.assert_array_equal(arrays["0.experts"], experts[:, ::2])
    np.testing.assert_array_equal(arrays["0.weights"], weights)


def test_evaluate_is_answered_to_the_one_who_asked() -> None:
    asking, other = Recorder(), Recorder()
    with connected(asking) as (there, here), client(there.listen_local(), other):
        other.wait_for("connected")
        there.on(
            "evaluate", lambda number, fields, _: there.answer(number, fields["request"], fields["text"] + "!", True)
        )
        here.request("evaluate", {"request": 7, "text": "a"})
        asking.wait_for("answered")
        assert there.reveal({"kind": "expert", "layer": 1, "expert": 2}) == 2
        for recorder in (asking, other):
            assert recorder.wait_for("revealed") == [{"kind": "expert", "layer": 1, "expert": 2}]
    assert [call for call in asking.calls if call[0] == "answered"] == [("answered", 7, "a!", True)]
    assert not other.all("answered")


def test_a_handler_that_fails_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def handle(number: int, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        raise ZeroDivisionError("oh")

    recorder = Recorder()
    with caplog.at_level(logging.WARNING), connected(recorder) as (there, here):
        there.on("evaluate", handle)
        here.request("evaluate", {"request": 1, "text": "1/0"})
        recorder.wait_for("answered")
        here.request("evaluate", {"request": 2, "text": "1/0"})
        recorder.wait_for("answered", 2)
        assert there.clients == 1
    assert ("answered", 1, "ZeroDivisionError: oh", False) in recorder.calls


def test_evaluate_with_nobody_to_answer() -> None:
    recorder = Recorder()
    with connected(recorder) as (_, here):
        here.request("evaluate", {"request": 1, "text": "1"})
        recorder.wait_for("answered")
    assert ("answered", 1, "nothing here answers that", False) in recorder.calls


def test_requests_that_are_none() -> None:
    with connected(Recorder()) as (there, here):
        with pytest.raises(LinkError):
            here.request("hello", {})
        with pytest.raises(LinkError):
            here.request("record", {"stream": "1", "on": True})
        with pytest.raises(LinkError):
            here.request("selection", {"history": []}, {"0.experts": np.array([object()])})
        with pytest.raises(LinkError, match="too large"):
            here.request("selection", {"history": []}, {"0.experts": np.zeros((65 << 20) + 1, np.uint8)})
        with pytest.raises(ValueError, match="no request"):
            there.on("hello", lambda *_: None)


def test_a_link_that_fails_says_so_and_the_model_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    recorder, model = Recorder(), random_model()
    with caplog.at_level(logging.WARNING), connected(recorder) as (there, _):
        stream = there.open_stream("m")
        recorder.wait_for("opened")
        with patch.object(there, "_pump", side_effect=MemoryError("none left")):
            recorder.wait_for("lost")
        assert stream.stopped is not None
        assert stream.stopped.startswith("the link stopped: MemoryError: none left; restart the kernel")
        stream.append(random_batch((1,), model, 5))
        stream.close()
        with pytest.raises(LinkError, match="the link stopped"):
            there.listen_tcp()
    assert "the link stopped" in caplog.text


def test_nobody_there() -> None:
    with server() as there:
        assert there.reveal({"kind": "layer", "layer": 1}) == 0
        there.answer(1, 1, "late", True)
        assert there.clients == 0
    with connected(Recorder()) as (_, here):
        here.close()
        here.request("record", {"stream": 1, "on": True})
