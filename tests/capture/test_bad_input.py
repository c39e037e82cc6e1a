"""What is no capture is refused in one line that says what it is."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import moedesk
from moedesk.capture.writer import CaptureWriter
from moedesk.core.errors import CaptureError
from tests.support.routing import random_batch, random_model


@pytest.fixture
def capture_path(tmp_path: Path) -> Path:
    model = random_model()
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(model)
        for number in range(8):
            writer.append(random_batch((51, number), model, 2000))
    return tmp_path / "a.h5"


def refusal(path: Path) -> str:
    with pytest.raises(CaptureError) as caught:
        moedesk.open(path)
    said = str(caught.value)
    assert "\n" not in said
    assert str(path) in said
    return said


def test_missing(tmp_path: Path) -> None:
    assert "there is no file" in refusal(tmp_path / "none.h5")


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder, not a capture" in refusal(tmp_path)


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    assert "is empty" in refusal(tmp_path / "a.h5")


@pytest.mark.parametrize("content", [b"x", b"PK\x03\x04" * 5000, b"\x89HDF\r\n\x1a\n"])
def test_not_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    said = refusal(tmp_path / "a.h5")
    assert "is not an HDF5 file" in said or "is damaged" in said


def test_another_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(10)
    assert "is an HDF5 file but not a moedesk capture" in refusal(tmp_path / "a.h5")


def test_a_newer_version(capture_path: Path) -> None:
    with h5py.File(capture_path, "r+") as file:
        file.attrs["version"] = 7
    assert "has capture format 7, this moedesk reads up to 1; upgrade" in refusal(capture_path)


def test_a_missing_part(capture_path: Path) -> None:
    with h5py.File(capture_path, "r+") as file:
        del file["passes"]
    assert "is damaged" in refusal(capture_path)


@pytest.mark.parametrize("share", [0.0002, 0.01, 0.5, 0.999])
def test_truncated(capture_path: Path, share: float) -> None:
    size = capture_path.stat().st_size
    os.truncate(capture_path, int(size * share))
    said = refusal(capture_path)
    assert "is truncated" in said or "is not an HDF5 file" in said


def test_damaged_inside(capture_path: Path) -> None:
    """A chunk overwritten: opening works, reading that layer says so, the others read."""
    with h5py.File(capture_path) as file:
        chunk = file["routes/0/experts"].id.get_chunk_info_by_coord((0, 1, 0))
    with capture_path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\0" * 64)
    with moedesk.open(capture_path) as capture:
        assert len(capture.experts(0)) == 16000
        with pytest.raises(CaptureError, match="can't be read, the file is damaged") as caught:
            capture.experts(1)
        assert "\n" not in str(caught.value)


def test_no_permission(capture_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read and write everything, so there the system's answer is put on."""
    capture_path.chmod(0)
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "access", lambda *_: False)
    assert "can't be read: permission denied" in refusal(capture_path)
    with pytest.raises(CaptureError, match="can't be written: permission denied"):
        CaptureWriter(capture_path)


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "it is a folder"), (tmp_path / "none" / "a.h5", "there is no folder")):
        with pytest.raises(CaptureError, match=f"can't be written: {said}"):
            CaptureWriter(path)
    assert list(tmp_path.iterdir()) == []


def test_no_such_layer(capture_path: Path) -> None:
    with moedesk.open(capture_path) as capture:
        with pytest.raises(moedesk.MoedeskError, match=r"no MoE layer 3; the model has 3: model\.layers\.0\.mlp"):
            capture.experts(3)
        np.testing.assert_array_equal(capture.experts("model.layers.2.mlp"), capture.experts(-1))


def test_opening_imports_neither_torch_nor_qt(capture_path: Path) -> None:
    code = """
import sys, moedesk
assert "numpy" not in sys.modules and "h5py" not in sys.modules
with moedesk.open(sys.argv[1]) as capture:
    capture.load_blocks(0, 8, 4)
print(sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "transformers", "PySide6", "pyqtgraph")))
"""
    done = subprocess.run([sys.executable, "-c", code, str(capture_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
