"""A disk that fills while recording: the model goes on, the file keeps what it has and opens."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import moedesk
from tests.support.routing import Plain, random_batch, random_model
from tests.support.until import PATIENCE

ROOT = Path(__file__).resolve().parent.parent.parent
WRITE = """
import resource, sys
from moedesk.capture.writer import CaptureWriter
from tests.support.routing import random_batch, random_model

path, limit = sys.argv[1], int(sys.argv[2])
writer = CaptureWriter(path)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
model = random_model()
writer.describe(model)
for number in range(400):
    writer.append(random_batch((31, number), model, 500))
    if number % 5 == 0:
        writer.flush()
writer.close()
print(writer.stopped)
"""


def write(path: Path, limit: int = 0) -> str:
    """Record 400 passes in a process of its own; return why it stopped."""
    command = [sys.executable, "-W", "error", "-c", WRITE, str(path), str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def check(path: Path, stopped: str) -> None:
    """What the file holds is what was recorded first."""
    with moedesk.open(path) as capture:
        assert not capture.complete
        assert 20 < capture.n_passes < 400
        plain = Plain(random_model())
        for number in range(capture.n_passes):
            plain.add(random_batch((31, number), plain.model, 500))
        for place in range(3):
            np.testing.assert_array_equal(capture.experts(place), plain.column("experts", place))
            np.testing.assert_array_equal(capture.weights(place), plain.column("weights", place))
            np.testing.assert_array_equal(capture.counts(place, by="pass"), plain.counts(place))
        assert stopped in capture.notes or "cut short" in capture.notes[-1]


def test_writes_refused_by_the_system(tmp_path: Path) -> None:
    """The file may not grow beyond 3 MB: no check of free space sees that coming, writes fail."""
    stopped = write(tmp_path / "a.h5", 3_000_000)
    assert "passes: the file may not grow any more" in stopped
    check(tmp_path / "a.h5", stopped)


def test_a_small_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        stopped = write(disk / "a.h5")
        assert stopped.startswith("recording stopped after ")
        assert "passes: the disk is full" in stopped
        check(disk / "a.h5", stopped)
        with moedesk.open(disk / "a.h5") as capture:
            assert capture.notes == (stopped,)
            assert capture.is_whole
        assert list(disk.iterdir()) == [disk / "a.h5"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
