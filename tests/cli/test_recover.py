"""``moedesk recover`` on a capture whose writer was killed."""

from pathlib import Path

import h5py
import pytest

import moedesk
from moedesk.cli.main import main
from tests.support.killed import kill_once


def test_a_killed_capture_becomes_an_ordinary_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.h5"
    kill_once(path, 1, 0.0, 40)
    assert main(["recover", str(path)]) == 0
    copy = tmp_path / "a.recovered.h5"
    with moedesk.open(path) as before, moedesk.open(copy) as after:
        assert after.n_passes == before.n_passes > 0
        assert f"{copy}: {after.n_passes:,} passes" in capsys.readouterr().out
    with h5py.File(copy, "r") as plain:
        assert len(plain["passes"]) == after.contents.n_passes
    assert main(["recover", str(path), "--in-place"]) == 0
    assert main(["recover", str(path)]) == 0
    assert "needs no recovery" in capsys.readouterr().out


def test_what_is_no_capture_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.h5"
    path.write_text("hello")
    assert main(["recover", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
