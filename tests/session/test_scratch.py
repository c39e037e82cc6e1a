import subprocess
import sys
from pathlib import Path

import pytest

from moedesk.core.errors import MoedeskError
from moedesk.session.scratch import LOCK, Scratch


def write(scratch: Scratch, name: str, content: bytes = b"routes") -> Path:
    path = scratch.new(name)
    path.write_bytes(content)
    return path


def test_names_are_safe_and_never_the_same(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch")
    first, second = scratch.new("org/Model 7B:free"), scratch.new("org/Model 7B:free")
    assert first != second
    assert first.parent == second.parent
    assert first.name == "001-org-Model-7B-free.h5"
    assert scratch.new("…").suffix == ".h5"
    scratch.close()


def test_nothing_is_offered_while_its_app_runs(tmp_path: Path) -> None:
    running, other = Scratch(tmp_path), Scratch(tmp_path)
    write(running, "olmoe")
    assert other.left_behind() == []
    running.close()
    assert [unsaved.name for unsaved in other.left_behind()] == ["olmoe"]


def test_a_killed_app_leaves_its_captures_to_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, pathlib\n"
        "from moedesk.session.scratch import Scratch\n"
        f"path = Scratch(pathlib.Path({str(tmp_path)!r})).new('mixtral')\n"
        "path.write_bytes(b'routes'); (path.parent / '002-empty.h5').touch()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code])
    scratch = Scratch(tmp_path)
    (unsaved,) = scratch.left_behind()
    assert (unsaved.name, unsaved.size) == ("mixtral", 6)
    adopted = scratch.adopt(unsaved)
    assert adopted.read_bytes() == b"routes"
    assert scratch.left_behind() == [], "it is this app's now"
    assert [folder for folder in tmp_path.iterdir() if folder.is_dir()] == [adopted.parent], "the old folder is gone"
    scratch.close()


def test_discarding_removes_the_capture_and_its_empty_folder(tmp_path: Path) -> None:
    gone = Scratch(tmp_path)
    path = write(gone, "olmoe")
    gone.close()
    scratch = Scratch(tmp_path)
    scratch.discard(scratch.left_behind()[0].path)
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_closing_keeps_captures_unless_told_otherwise(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    path = write(scratch, "olmoe")
    scratch.close()
    assert path.exists()
    again = Scratch(tmp_path)
    write(again, "other")
    again.close(discard=True)
    assert [folder.name for folder in tmp_path.iterdir()] == [path.parent.name]


def test_a_folder_that_is_just_being_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".20261122-221500-new").mkdir()
    assert Scratch(tmp_path).left_behind() == []
    assert (tmp_path / ".20261122-221500-new").exists()


def test_a_folder_that_cannot_be_made_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MoedeskError, match="MOEDESK_SCRATCH_DIR"):
        Scratch(tmp_path / "file" / "scratch").new("olmoe")


def test_the_lock_lies_in_the_folder(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    assert (scratch.new("a").parent / LOCK).exists()
    scratch.close()
    assert list(tmp_path.iterdir()) == []
