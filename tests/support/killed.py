"""A writer in a child process, killed, and what must be left of it. Run as a script it is that child."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import moedesk
from moedesk.capture.writer import CaptureWriter
from tests.support.routing import Plain, random_batch, random_model

ROOT = Path(__file__).resolve().parent.parent.parent
GRACE_SECONDS = 0.5
FLUSH_EVERY = 30
"""A flush that has returned is a promise that holds however busy the machine is."""


def batches(seed: int) -> "Plain":
    """Start the plain arrays beside a recording."""
    return Plain(random_model(3, 16, 2))


def step(plain: Plain, seed: int, number: int) -> bool:
    """Add pass ``number``; return whether the model grew before it."""
    grown = number in (40, 90)
    if grown:
        plain.grow(2, 200, 4, "main" if number == 40 else "encoder")
    rng = np.random.default_rng((seed, number, 1))
    plain.add(
        random_batch(
            (seed, number),
            plain.model,
            int(rng.integers(1, 400)),
            absent=(1,) if rng.random() < 0.1 else (),
            counts_only=bool(rng.random() < 0.1),
        )
    )
    return grown


def write_forever(path: str, seed: int, compress: bool) -> None:
    """Record until killed; print the number of each pass once it is handed over."""
    plain = batches(seed)
    writer = CaptureWriter(path, vocabulary=lambda ids: [b"%d " % i for i in ids], compress=compress)
    writer.describe(plain.model)
    number = 0
    while True:
        if step(plain, seed, number):
            writer.describe(plain.model)
        writer.append(plain.batches[-1])
        plain.batches.clear()
        if number % FLUSH_EVERY == FLUSH_EVERY - 1:
            writer.flush()
        os.write(1, b"%d\n" % number)
        number += 1


def kill_once(path: Path, seed: int, seconds: float, passes: int = 0, compress: bool = True) -> tuple[int, int]:
    """Kill a writer some seconds after it was handed pass ``passes``; return passes handed over in time, and in all."""
    command = [sys.executable, "-m", "tests.support.killed", str(path), str(seed), str(int(compress))]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    handed: list[float] = []
    while len(handed) <= passes or time.monotonic() < handed[passes] + seconds:
        assert child.stdout.readline(), "the writer died by itself"
        handed.append(time.monotonic())
    killed = time.monotonic()
    child.send_signal(signal.SIGKILL)
    handed += [killed] * len(child.stdout.readlines())
    child.stdout.close()
    child.wait()
    return sum(moment < killed - GRACE_SECONDS for moment in handed), len(handed)


def check(path: Path, seed: int, at_least: int) -> int:
    """Open what is left and compare all of it; return its passes."""
    with moedesk.open(path) as capture:
        assert not capture.complete
        n = capture.n_passes
        assert n >= at_least, f"{n} passes left of {at_least}"
        if n == 0:
            return 0
        plain = batches(seed)
        for number in range(n):
            step(plain, seed, number)
        plain.model = capture.model if len(capture.model.layers) > len(plain.model.layers) else plain.model
        assert capture.model.layers == plain.model.layers
        np.testing.assert_array_equal(capture.read_passes()["t0_ns"], [b.header["t0_ns"] for b in plain.batches])
        for stream in plain.model.streams:
            np.testing.assert_array_equal(capture.read_tokens(stream=stream), plain.tokens(stream))
        for place in range(len(plain.model.layers)):
            for name in ("experts", "weights", "entropy", "margin", "flags"):
                np.testing.assert_array_equal(
                    getattr(capture, name)(place), plain.column(name, place), f"{name} {place}"
                )
            np.testing.assert_array_equal(capture.counts(place, by="pass"), plain.counts(place))
            np.testing.assert_array_equal(capture.counts(place), plain.counts(place).sum(axis=0))
        ids = np.unique(plain.tokens("main")["token_id"])
        assert capture.token_text(ids[ids >= 0]) == [f"{i} " for i in ids[ids >= 0]]
    return n


if __name__ == "__main__":
    write_forever(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1")
