"""Whatever is killed, what had come stays: twenty model processes in mid-run, and the app."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import moedesk
from moedesk.core.batch import RouteBatch
from moedesk.core.errors import CaptureError
from moedesk.core.store import Store
from moedesk.link.client import LinkClient
from moedesk.link.endpoint import Endpoint
from moedesk.session.feed import Feed
from moedesk.session.jobs import Jobs
from moedesk.session.live_stream import LiveStream
from moedesk.session.scratch import Scratch
from moedesk.session.session import Session
from tests.support.live_sender import MODEL, TOKENS
from tests.support.routing import random_batch
from tests.support.until import until

ROOT = Path(__file__).parents[2]


class CountingFeed(Feed):
    """Counts what the link handed over."""

    handed = 0
    lost_reason = ""

    def arrived(self, stream: int, batch: RouteBatch) -> None:
        super().arrived(stream, batch)
        self.handed += 1

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self.lost_reason = reason


def start(module: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def check(store: Store, passes: int) -> None:
    """Compare the first passes of a store with what was sent."""
    expected = [random_batch((9, number), MODEL, TOKENS) for number in range(passes)]
    for layer in MODEL.layers:
        parts = [batch.layers[layer.place] for batch in expected]
        rows = passes * TOKENS
        np.testing.assert_array_equal(store.experts(layer, 0, rows), np.concatenate([part.experts for part in parts]))
        np.testing.assert_array_equal(store.weights(layer, 0, rows), np.concatenate([part.weights for part in parts]))
        counts = store.window_counts(0, passes)[layer.place]
        np.testing.assert_array_equal(counts, np.sum([part.counts for part in parts], axis=0))


@pytest.mark.parametrize("kill", range(20))
def test_nothing_received_is_lost_when_the_models_process_is_killed(kill: int, tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    sessions: list[Session] = []

    def added(feed: Feed, stream: LiveStream, instead_of: LiveStream | None) -> None:
        session = Session(stream.store, Jobs(lambda work: work()))
        session.live, stream.session = stream, session
        sessions.append(session)

    feed = CountingFeed(scratch, lambda work: work(), lambda: None, added, lambda feed, place: None)
    process = start("tests.support.live_sender")
    assert process.stdout is not None
    client = LinkClient(Endpoint(process.stdout.readline().strip()), feed)
    try:
        until(lambda: feed.handed > 10 * kill)
        end(process)
        until(lambda: bool(feed.lost_reason))
        stream = sessions[0].live
        assert isinstance(stream, LiveStream)
        until(lambda: not stream.publish() and stream.waiting == 0)
        assert stream.ended == feed.lost_reason
        assert stream.store.n_passes == feed.handed
        check(stream.store, feed.handed)
    finally:
        client.close()
        for session in sessions:
            session.close()
        scratch.close(discard=True)


def test_a_killed_app_offers_what_it_had_committed(tmp_path: Path) -> None:
    process = start(
        "tests.support.live_app", MOEDESK_SCRATCH_DIR=str(tmp_path), MOEDESK_CONFIG_DIR=str(tmp_path / "config")
    )
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())

    def committed() -> int:
        try:
            with moedesk.open(path) as capture:
                return capture.n_passes if capture.model.layers else 0
        except CaptureError:  # just being laid out
            return 0

    try:
        until(lambda: committed() > 50)
        promised = committed()
    finally:
        end(process)
    scratch = Scratch(tmp_path)
    (unsaved,) = scratch.left_behind()
    with moedesk.open(scratch.adopt(unsaved)) as capture:
        assert capture.n_passes >= promised
        assert not capture.complete
        check(capture, capture.n_passes)
    scratch.close(discard=True)
