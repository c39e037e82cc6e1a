"""What lies beside a capture goes where it goes."""

from pathlib import Path

from moedesk.core.beside import attributions_path, copy_beside, move_beside, remove_beside
from moedesk.core.label_set import label_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_both_files_are_copied_moved_and_removed(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("a.h5", "b.h5", "c.h5"))
    label_path(first).write_text("labels")
    attributions_path(first).write_text("explanations")
    copy_beside(first, second)
    assert names(tmp_path) == ["a.h5.attributions", "a.h5.labels.json", "b.h5.attributions", "b.h5.labels.json"]
    move_beside(second, third)
    assert attributions_path(third).read_text() == "explanations"
    assert label_path(third).read_text() == "labels"
    remove_beside(first)
    assert names(tmp_path) == ["c.h5.attributions", "c.h5.labels.json"]


def test_what_is_not_there_is_not_missed(tmp_path: Path) -> None:
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    attributions_path(first).write_text("explanations")
    move_beside(first, second)
    copy_beside(first, second)
    remove_beside(second)
    assert names(tmp_path) == []
