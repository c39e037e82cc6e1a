"""A reader slower than the model: nothing waits for it, little is kept for it, and all that is left out is counted."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from moedesk.core.batch import RouteBatch
from moedesk.core.columns import PassFlag
from moedesk.link import outbox
from moedesk.link.protocol import HARD_LIMIT, HIGH_WATER, WINDOW
from moedesk.link.routes import encode_batch
from moedesk.link.stream import StreamSink
from tests.support.link import SECONDS, Recorder, assert_same, client, connected, server
from tests.support.routing import random_batch, random_model

MODEL = random_model(layers=4, experts=16, top_k=8)
TOKENS = 4096
BATCHES = [random_batch((seed,), MODEL, TOKENS) for seed in range(8)]
SIZE = encode_batch(1, BATCHES[0]).nbytes


def batch_of(number: int) -> RouteBatch:
    """A batch that carries its number as a training step."""
    batch = BATCHES[number % len(BATCHES)]
    header = batch.header.copy()
    header["step"] = number
    return RouteBatch(header, batch.tokens, batch.layers)


def flood(stream: StreamSink, numbers: range) -> None:
    for number in numbers:
        stream.append(batch_of(number))
        stream.count(passes=1)


@contextmanager
def limits(high_water: int, hard_limit: int) -> Iterator[None]:
    with patch.object(outbox, "HIGH_WATER", high_water), patch.object(outbox, "HARD_LIMIT", hard_limit):
        yield


def check_arrived(recorder: Recorder, sent: int) -> tuple[int, int]:
    """Check every pass against what was sent; returns how many came whole, and how many as counts."""
    found = recorder.all("arrived")
    numbers = [int(batch.header["step"]) for batch in found]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < sent
    shed = 0
    for number, batch in zip(numbers, found, strict=True):
        original = batch_of(number)
        if batch.header["flags"] & PassFlag.COUNTS_ONLY:
            shed += 1
            assert all(len(rows) == 0 for rows in batch.tokens.values())
            for there, here in zip(batch.layers, original.layers, strict=True):
                assert there.experts is None
                np.testing.assert_array_equal(there.counts, here.counts)
        elif number % 50 == 0:
            assert_same(batch, original)
    return len(found) - shed, shed


def test_a_blocked_reader_costs_rows_and_never_time() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    whole = HIGH_WATER // SIZE + 1
    sent = whole + 100
    with connected(recorder) as (there, here):
        stream = there.open_stream("m")
        flood(stream, range(1))
        assert recorder.waiting.wait(SECONDS)
        flood(stream, range(1, sent))  # the reader takes nothing: append can't have waited for it
        counters = stream.counters
        assert HIGH_WATER - WINDOW - SIZE <= counters.queued_bytes <= HIGH_WATER
        assert counters.passes == sent
        assert counters.shed == 100
        assert counters.dropped == 0
        assert counters.dropped_tokens == counters.shed * TOKENS
        recorder.gate.set()
        recorder.wait_for("arrived", sent)
        assert check_arrived(recorder, sent) == (whole, 100)
        recorder.wait(lambda: recorder.all("counted")[-1:] == [replace(counters, queued_bytes=0)])
        before = here.answered_at
        flood(stream, range(sent, sent + 20))  # all is well again
        recorder.wait_for("arrived", sent + 20)
        assert check_arrived(recorder, sent + 20) == (whole + 20, 100)
        assert stream.counters.shed == 100
        assert here.answered_at >= before
    assert not recorder.all("lost")


def test_beyond_the_hard_limit_passes_are_dropped() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    with limits(5 * SIZE, 5 * SIZE + 4096), connected(recorder) as (there, _):
        stream = there.open_stream("m")
        flood(stream, range(40))
        counters = stream.counters
        assert counters.passes == 40
        assert counters.dropped > 0
        assert counters.dropped_tokens == (counters.shed + counters.dropped) * TOKENS
        recorder.gate.set()
        stream.close()
        recorder.wait_for("ended")
    whole, shed = check_arrived(recorder, 40)
    assert shed == counters.shed
    assert whole + shed + counters.dropped == 40
    assert recorder.all("counted")[-1].dropped == counters.dropped


def test_a_pass_larger_than_the_queue_travels_alone() -> None:
    recorder = Recorder()
    with limits(4096, 8192), connected(recorder) as (there, _):
        stream = there.open_stream("m")
        recorder.wait_for("opened")
        for number in range(3):
            for one in stream._hub.clients:  # all of it was taken, and the server told
                stream._hub.taken(one, 1 << 40)
            stream.append(batch_of(number))
            recorder.wait_for("arrived", number + 1)
        assert check_arrived(recorder, 3) == (3, 0)


def test_counts_only_passes_are_not_shed() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    with limits(2 * SIZE, HARD_LIMIT), connected(recorder) as (there, _):
        stream = there.open_stream("m")
        flood(stream, range(3))
        for seed in range(5):
            stream.append(random_batch((seed,), MODEL, TOKENS, counts_only=True))
        assert stream.counters.shed == 1, "the third full pass"
        assert stream.counters.dropped == 0
        recorder.gate.set()
        recorder.wait_for("arrived", 8)
    for found, seed in zip(recorder.all("arrived")[3:], range(5), strict=True):
        assert_same(found, random_batch((seed,), MODEL, TOKENS, counts_only=True))


def test_a_slow_client_costs_the_other_nothing_and_counts() -> None:
    slow, quick = Recorder(), Recorder()
    slow.gate.clear()
    with server() as there, client(there.listen_local(), slow), client(there.listen_local(), quick):
        slow.wait_for("connected")
        quick.wait_for("connected")
        stream = there.open_stream("m")
        sent = 0
        while stream.counters.shed < 5:
            flood(stream, range(sent, sent + 10))
            sent += 10
            quick.wait_for("arrived", sent)
        assert check_arrived(quick, sent) == (sent, 0)
        shed = stream.counters.shed
        slow.gate.set()
        slow.wait_for("arrived", sent)
        assert check_arrived(slow, sent) == (sent - shed, shed)


def test_requests_get_through_while_the_reader_is_blocked() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    asked = threading.Event()
    with connected(recorder) as (there, here):
        there.on("record", lambda number, fields, arrays: asked.set())
        stream = there.open_stream("m")
        flood(stream, range(HIGH_WATER // SIZE + 5))
        assert recorder.waiting.wait(SECONDS)
        here.request("record", {"stream": stream.number, "on": False})
        assert asked.wait(SECONDS)
        before = here.answered_at
        alive = threading.Event()
        for _ in itertools.count():  # a ping a second is answered whatever the reader does
            if here.answered_at > before:
                break
            assert not alive.wait(0.05)


def test_limits_make_sense() -> None:
    assert WINDOW < HIGH_WATER < HARD_LIMIT
