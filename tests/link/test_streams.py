"""Streams: what clients are told, when they come early, late, or twice."""

from collections.abc import Sequence

import numpy as np

from moedesk.core.live import Counters
from moedesk.link.server import LinkServer
from tests.support.link import Recorder, assert_same, client, connected, server
from tests.support.routing import random_batch, random_model

MODEL = random_model()


def texts(ids: np.ndarray) -> list[bytes]:
    return [b"\xff%d" % token_id for token_id in ids.tolist()]


def known_texts(recorder: Recorder) -> dict[int, bytes]:
    calls = [call for call in recorder.calls if call[0] == "texts"]
    pairs = [pair for _, _, ids, words in calls for pair in zip(ids.tolist(), words, strict=True)]
    assert len(pairs) == len(dict(pairs)), "a text came twice"
    return dict(pairs)


def ids_of(batches: Sequence) -> set[int]:
    rows = np.concatenate([tokens["token_id"] for batch in batches for tokens in batch.tokens.values()])
    return set(rows[rows >= 0].tolist())


def test_everything_in_order() -> None:
    recorder = Recorder()
    batches = [random_batch((seed,), MODEL, 20) for seed in range(3)]
    with connected(recorder) as (there, _):
        stream = there.open_stream("tiny", vocabulary=texts)
        stream.describe(MODEL)
        for batch in batches:
            stream.append(batch)
            stream.count(passes=1, hook_ns=10, pass_ns=100)
        stream.note("something is missing")
        stream.close()
        stream.append(batches[0])
        stream.note("too late")
        stream.close()
        recorder.wait_for("ended")
        assert stream.stopped is None
    names = [call[0] for call in recorder.calls if call[0] not in ("counted", "texts")]
    assert names == ["connected", "opened", "described", *["arrived"] * 3, "noted", "ended"]
    assert recorder.all("opened") == ["tiny"]
    assert recorder.all("described") == [MODEL]
    assert recorder.all("noted") == ["something is missing"]
    assert recorder.all("counted")[-1] == Counters(passes=3, hook_ns=30, pass_ns=300)
    assert [call[0] for call in recorder.calls[-2:]] == ["counted", "ended"]
    assert known_texts(recorder) == dict(
        zip(sorted(ids_of(batches)), texts(np.array(sorted(ids_of(batches)))), strict=True)
    )
    seen: set[int] = set()
    for name, *values in recorder.calls:  # texts come before the first batch that has them
        if name == "texts":
            seen |= set(values[1].tolist())
        elif name == "arrived":
            assert ids_of([values[1]]) <= seen


def test_a_late_client_gets_what_is_known() -> None:
    early, late = Recorder(), Recorder()
    batches = [random_batch((seed,), MODEL, 20) for seed in range(3)]
    with connected(early) as (there, _):
        ended = there.open_stream("ended")
        ended.close()
        stream = there.open_stream("tiny", vocabulary=texts)
        stream.describe(MODEL)
        stream.append(batches[0])
        stream.append(batches[1])
        stream.note("a note")
        early.wait_for("noted")
        with client(there.listen_local(), late):
            late.wait_for("counted")
            assert there.clients == 2
            stream.append(batches[2])
            late.wait_for("arrived")
            early.wait_for("arrived", 3)
        names = [call[0] for call in late.calls]
        assert names[:5] == ["connected", "opened", "described", "texts", "noted"]
        assert late.all("opened") == ["tiny"]
        assert_same(late.all("arrived")[0], batches[2])
        assert set(known_texts(late)) == ids_of(batches)
        assert set(known_texts(early)) == ids_of(batches)


def test_without_a_client_passes_count_as_dropped() -> None:
    recorder = Recorder()
    batches = [random_batch((seed,), MODEL, 20) for seed in range(3)]
    with server() as there:
        stream = there.open_stream("tiny", vocabulary=texts)
        stream.describe(MODEL)
        for batch in batches[:2]:
            stream.append(batch)
            stream.count(passes=1)
        assert stream.counters == Counters(passes=2, dropped=2, dropped_tokens=40)
        with client(there.listen_local(), recorder):
            recorder.wait_for("counted")
            assert recorder.all("counted")[0].dropped == 2
            stream.append(batches[2])
            recorder.wait_for("arrived")
            assert_same(recorder.all("arrived")[0], batches[2])
            assert set(known_texts(recorder)) == ids_of(batches[2:])
            assert stream.counters.dropped == 2


def test_two_clients_and_two_streams() -> None:
    recorders = Recorder(), Recorder()
    with server() as there:
        endpoint = there.listen_local()
        assert there.listen_local() == endpoint
        with client(endpoint, recorders[0]), client(endpoint, recorders[1]):
            for recorder in recorders:
                recorder.wait_for("connected")
            streams = [there.open_stream(name) for name in "ab"]
            models = [random_model(name=name) for name in "ab"]
            for stream, model in zip(streams, models, strict=True):
                stream.describe(model)
            for seed in range(6):
                streams[seed % 2].append(random_batch((seed,), models[seed % 2], 10))
            there.close()
            for recorder in recorders:
                recorder.wait_for("lost")
    for recorder in recorders:
        for place, stream in enumerate(streams):
            assert recorder.all("opened", stream.number) == ["ab"[place]]
            assert recorder.all("described", stream.number) == [models[place]]
            found = recorder.all("arrived", stream.number)
            assert len(found) == 3
            for seed, batch in zip(range(place, 6, 2), found, strict=True):
                assert_same(batch, random_batch((seed,), models[place], 10))
        assert recorder.all("ended") == [streams[0].number, streams[1].number]
        assert recorder.calls[-1][0] == "lost"
        assert "closed its link" in recorder.calls[-1][1]


def test_a_tokenizer_that_fails_is_noted_once() -> None:
    def broken(ids: np.ndarray) -> list[bytes]:
        raise KeyError("no such token")

    recorder = Recorder()
    with connected(recorder) as (there, _):
        for vocabulary in (broken, lambda ids: [b"one"]):
            stream = there.open_stream("tiny", vocabulary=vocabulary)
            stream.append(random_batch((1,), MODEL, 20))
            stream.append(random_batch((2,), MODEL, 20))
            stream.close()
        recorder.wait_for("ended", 2)
    assert len(recorder.all("arrived")) == 4
    assert [line[:35] for line in recorder.all("noted")] == ["token texts are missing from here o"] * 2


def test_a_client_that_leaves_is_forgotten() -> None:
    with server() as there:
        for _ in range(3):
            recorder = Recorder()
            with client(there.listen_local(), recorder):
                recorder.wait_for("connected")
                assert there.clients == 1
            wait_until(lambda: there.clients == 0, there)
            assert "lost" not in [call[0] for call in recorder.calls]


def wait_until(met: object, there: LinkServer) -> None:
    """Wait for a condition on the server's side, by asking through another connection, which its thread answers in turn."""
    for _ in range(1000):
        if met():  # type: ignore[operator]
            return
        recorder = Recorder()
        with client(there.listen_local(), recorder):
            recorder.wait_for("connected")
    raise AssertionError("it never came to that")
