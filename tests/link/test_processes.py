"""Processes that end: everything received stays, it is said, and nothing is left behind."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moedesk.link.endpoint import Endpoint
from tests.support.link import SECONDS, Recorder, assert_same, client, server
from tests.support.routing import random_batch, random_model

ROOT = Path(__file__).parents[2]


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Endpoint]]:
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.support.link_process", *arguments]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield child, Endpoint(child.stdout.readline().strip())
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("tokens", [1, 3000])
def test_killed_in_mid_stream(tokens: int) -> None:
    recorder, slow = Recorder(), Recorder()
    slow.gate.clear()
    with process("flood", f"{tokens}") as (child, endpoint), client(endpoint, recorder), client(endpoint, slow):
        recorder.wait_for("arrived", 30)
        assert slow.waiting.wait(SECONDS)
        child.kill()
        recorder.wait_for("lost")
        assert not slow.all("lost"), "what it has received comes first"
        slow.gate.set()
        slow.wait_for("lost")
    for one in (recorder, slow):
        assert one.calls[-1][0] == "lost"
        assert "connection to the kernel is gone" in one.calls[-1][1]
        found = one.all("arrived")
        assert found
        steps = [int(batch.header["step"]) for batch in found]
        assert steps == sorted(set(steps))
        sent = random_batch((1,), random_model(), tokens)
        for step, batch in zip(steps, found, strict=True):
            if not batch.header["flags"]:
                sent.header["step"] = step
                assert_same(batch, sent)
    with server() as next_one:
        next_one.listen_local()
    assert not Path(endpoint.address.removeprefix("ipc://")).parent.exists(), "the next server tidies up"


def test_a_link_closed_by_whoever_sees_first_that_the_kernel_died() -> None:
    recorder, quick = Recorder(), Recorder()
    recorder.gate.clear()
    with process("flood", "3000") as (child, endpoint), client(endpoint, recorder) as here, client(endpoint, quick):
        quick.wait_for("arrived", 150)  # more than a window holds: the other's is full
        child.kill()
        child.wait()
        here.close(wait=False)
        recorder.gate.set()
        here.close()
        calls = [call[0] for call in recorder.calls]
    assert calls[-1] == "lost"
    assert calls.count("arrived") >= 50
    sent = random_batch((1,), random_model(), 3000)
    for step, batch in enumerate(batch for batch in recorder.all("arrived") if not batch.header["flags"]):
        sent.header["step"] = step
        assert_same(batch, sent)


@pytest.mark.parametrize(("how", "code"), [("quietly", 0), ("error", 3)])
def test_the_last_passes_of_a_process_that_ends(how: str, code: int) -> None:
    recorder = Recorder()
    with process("end", how) as (child, endpoint), client(endpoint, recorder):
        recorder.wait_for("lost")
        assert child.wait(SECONDS) == code
        assert child.stderr is not None
        assert child.stderr.read() == ""
    assert len(recorder.all("arrived")) == 50
    for number, batch in enumerate(recorder.all("arrived")):
        assert_same(batch, random_batch((number,), random_model(), 2000))
    assert [call[0] for call in recorder.calls[-2:]] == ["ended", "lost"]
    assert "closed its link" in recorder.calls[-1][1]
    assert not Path(endpoint.address.removeprefix("ipc://")).parent.exists()


def test_a_fork_leaves_the_link_alone() -> None:
    recorder = Recorder()
    with process("fork") as (child, endpoint), client(endpoint, recorder):
        recorder.wait_for("lost")
        assert child.wait(SECONDS) == 0
        assert child.stderr is not None
        assert child.stderr.read() == ""
    assert len(recorder.all("arrived")) == 2
    for number, batch in enumerate(recorder.all("arrived")):
        assert_same(batch, random_batch((number,), random_model(), 2000))
    assert recorder.all("counted")[-1].passes == 0
    assert not recorder.all("noted")
    assert not recorder.all("revealed")


CLIENT = """
import sys
from moedesk.link.client import LinkClient
from moedesk.link.endpoint import Endpoint
from tests.support.link import Recorder
recorder = Recorder()
client = LinkClient(Endpoint(sys.argv[1]), recorder)
recorder.wait_for("connected")
print("here", flush=True)
recorder.wait_for("lost")
"""


def test_a_client_that_is_killed_is_forgotten() -> None:
    with server() as there:
        stream = there.open_stream("m")
        address = there.listen_local().address
        child = subprocess.Popen([sys.executable, "-c", CLIENT, address], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        assert there.clients == 1
        child.kill()
        child.communicate()
        batch = random_batch((1,), random_model(), 1000)
        for _ in range(100_000):  # the first pass written to a connection that is gone shows it
            stream.append(batch)
            if not there.clients:
                break
        assert there.clients == 0
        assert stream.counters.queued_bytes == 0


def test_a_client_that_ends_without_closing_makes_no_noise() -> None:
    with server() as there:
        code = CLIENT.replace('recorder.wait_for("lost")', "")
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, there.listen_local().address]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "here\n", "")
