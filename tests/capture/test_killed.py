"""A writer killed at any moment leaves a file that opens, and that other tools open once it is recovered."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import moedesk
from moedesk.capture.recovery import recover
from moedesk.capture.superblock import clear_mark, fit_end, lookup3
from moedesk.capture.writer import CaptureWriter
from moedesk.core.errors import CaptureError
from tests.support.killed import FLUSH_EVERY, check, kill_once
from tests.support.routing import random_batch, random_model

KILL_IN_LAYOUT = """
import h5py, os, signal, sys
file = h5py.File(sys.argv[1], "r+", libver=("v110", "v110"), locking=False)
file.create_group("half-way")
file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def h5dump_reads(path: Path) -> bool:
    """Whether a tool that knows nothing of SWMR reads everything."""
    tool = shutil.which("h5dump")
    if tool is None:
        with h5py.File(path, "r") as file:
            file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
        return True
    return subprocess.run([tool, "-o", "/dev/null", str(path)], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("seed", "seconds", "passes", "compress"),
    [
        (1, 0.0, 0, True),
        (2, 0.6, 0, True),
        (3, 0.02, 39, True),
        (4, 0.4, 40, True),
        (5, 0.1, 90, True),
        (6, 0.5, 0, False),
        (7, 0.03, 39, False),
        (8, 0.4, 90, False),
    ],
)
def test_kill(tmp_path: Path, seed: int, seconds: float, passes: int, compress: bool) -> None:
    path = tmp_path / "a.h5"
    _, handed = kill_once(path, seed, seconds, passes, compress)
    left = check(path, seed, handed // FLUSH_EVERY * FLUSH_EVERY)
    before = path.read_bytes()
    copy = recover(path)
    assert path.read_bytes() == before
    assert copy == tmp_path / "a.recovered.h5"
    assert check(copy, seed, left) == left
    assert h5dump_reads(copy)
    with moedesk.open(copy) as capture:
        assert capture.is_whole
        assert any("recovered" in note for note in capture.notes)
    assert recover(path, in_place=True) == path
    assert path.stat().st_size == copy.stat().st_size
    assert h5dump_reads(path)
    assert sorted(tmp_path.glob("*.h5")) == [path, copy]


def test_a_kill_while_the_layout_of_a_very_large_file_changes(tmp_path: Path) -> None:
    """Only then is a file not in SWMR mode."""
    path = tmp_path / "a.h5"
    model = random_model()
    with CaptureWriter(path) as writer:
        writer.describe(model)
        writer.append(random_batch((41, 0), model, 5000))
    with moedesk.open(path) as capture:
        experts = capture.experts(1)
    done = subprocess.run([sys.executable, "-c", KILL_IN_LAYOUT, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(CaptureError, match=r"cut short while its layout was written; `moedesk recover .*a\.h5` makes"):
        moedesk.open(path)
    with moedesk.open(recover(path)) as capture:
        np.testing.assert_array_equal(capture.experts(1), experts)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "a.recovered.h5"]


def test_nothing_to_recover(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(random_model())
    before = (tmp_path / "a.h5").read_bytes()
    assert recover(tmp_path / "a.h5") == tmp_path / "a.h5"
    assert (tmp_path / "a.h5").read_bytes() == before
    with pytest.raises(CaptureError, match="there is no file"):
        recover(tmp_path / "b.h5")


def test_checksum_is_hdf5s(tmp_path: Path) -> None:
    """The value that HDF5 itself wrote; and known values of lookup3."""
    with h5py.File(tmp_path / "a.h5", "w", libver=("v110", "v110")) as file:
        file["x"] = 1
    block = (tmp_path / "a.h5").read_bytes()[:48]
    assert lookup3(block[:44]) == int.from_bytes(block[44:], "little")
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551
    before = (tmp_path / "a.h5").read_bytes()
    clear_mark(tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == before


def test_a_file_that_lacks_its_end(tmp_path: Path) -> None:
    """HDF5 refuses it until the superblock says where it ends; then what lies before reads, and a whole file stays as it is."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file["x"] = np.arange(10)
        file.create_dataset("y", data=np.zeros(5000), chunks=(5000,))
    before = path.read_bytes()
    fit_end(path)
    assert path.read_bytes() == before
    with path.open("r+b") as raw:
        raw.truncate(len(before) - 8)
    with pytest.raises(OSError, match="truncated"):
        h5py.File(path, "r")
    fit_end(path)
    with h5py.File(path, "r") as file:
        assert file["x"][:].tolist() == list(range(10))
