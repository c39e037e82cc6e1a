"""Threads share a capture; a fork of the recording process leaves the file alone."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import moedesk
from moedesk.capture.writer import CaptureWriter
from tests.support.routing import Plain, random_batch, random_model
from tests.support.until import PATIENCE


def test_threads_read_one_capture(tmp_path: Path) -> None:
    plain = Plain(random_model(3, 16, 2))
    with CaptureWriter(tmp_path / "a.h5", vocabulary=lambda ids: [b"x"] * len(ids)) as writer:
        writer.describe(plain.model)
        for number in range(30):
            writer.append(plain.add(random_batch((71, number), plain.model, 400)))
    with moedesk.open(tmp_path / "a.h5") as capture, ThreadPoolExecutor(8) as pool:

        def look(n: int) -> bool:
            place, i = n % 3, 97 * n % 11000
            same = np.array_equal(capture.experts(place, i, i + 900), plain.column("experts", place)[i : i + 900])
            window = capture.window_counts(n % 20, n % 20 + 7)[place]
            same &= np.array_equal(window, plain.counts(place)[n % 20 : n % 20 + 7].sum(axis=0))
            same &= capture.load_blocks(0, 30, 1 + n % 9).counts.sum() == sum(plain.counts(p).sum() for p in range(3))
            return bool(same) and len(capture.text(i, i + 5)) >= 5

        assert all(pool.map(look, range(120)))


def _use(writer: CaptureWriter) -> None:
    writer.append(random_batch((72, 99), random_model(), 5))
    writer.flush()
    writer.close()


def test_a_fork_does_not_write(tmp_path: Path) -> None:
    """As a data loader's worker would, with the writer in a variable it inherits."""
    plain = Plain(random_model())
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(plain.model)
        writer.append(plain.add(random_batch((72, 0), plain.model, 50)))
        writer.flush()
        child = multiprocessing.get_context("fork").Process(target=_use, args=(writer,))
        child.start()
        child.join(PATIENCE)
        assert child.exitcode == 0
        writer.append(plain.add(random_batch((72, 1), plain.model, 50)))
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.complete
        assert capture.n_passes == 2
        np.testing.assert_array_equal(capture.experts(0), plain.column("experts", 0))
