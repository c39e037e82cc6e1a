"""What may lie beside a capture and goes where it goes: labels and explanations given afterwards."""

import contextlib
import shutil
from pathlib import Path

from moedesk.core.label_set import label_path

ATTRIBUTIONS_ENDING = ".attributions"


def attributions_path(capture: Path) -> Path:
    """Return where the explanations given afterwards to a capture lie: ``run.h5.attributions`` beside ``run.h5``."""
    return capture.with_name(capture.name + ATTRIBUTIONS_ENDING)


def _pairs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    return [(path(source), path(target)) for path in (label_path, attributions_path)]


def move_beside(source: Path, target: Path) -> None:
    """Move what lies beside one capture to another place."""
    for old, new in _pairs(source, target):
        with contextlib.suppress(FileNotFoundError):
            old.replace(new)


def copy_beside(source: Path, target: Path) -> None:
    """Copy what lies beside one capture to another one."""
    for old, new in _pairs(source, target):
        if old.exists():
            shutil.copyfile(old, new)


def remove_beside(capture: Path) -> None:
    """Remove what lies beside a capture."""
    for path, _ in _pairs(capture, capture):
        path.unlink(missing_ok=True)
