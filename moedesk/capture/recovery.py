"""Makes a capture that was cut short readable by every HDF5 tool."""

import shutil
from os import PathLike
from pathlib import Path

import h5py

from moedesk.capture.compact import copy_capture
from moedesk.capture.open import open_capture
from moedesk.capture.reader import Capture
from moedesk.capture.schema import LIBVER, State
from moedesk.capture.superblock import clear_mark
from moedesk.capture.whole import Whole
from moedesk.core.beside import copy_beside
from moedesk.core.errors import CaptureError


def recover(path: str | PathLike[str], in_place: bool = False) -> Path:
    """Write a capture that was cut short as one that plain h5py, h5dump and HDFView open, with all that was committed.

    Parameters
    ----------
    path : path-like
    in_place : bool
        Replace the file by its recovered copy, once that is whole; else the copy lies beside it as ``NAME.recovered.h5``.

    Returns
    -------
    Path
        The recovered capture; ``path`` itself if there was nothing to do.

    Raises
    ------
    CaptureError
        If nothing can be saved, or the copy can't be written.
    """
    path = Path(path)
    target = path if in_place else path.with_name(f"{path.stem}.recovered.h5")
    marked, draft = path.with_name(f"{path.name}.marked"), path.with_name(f"{path.name}.recovering")
    try:
        with _open(path, marked) as capture:
            if capture.is_whole and capture.path == path:
                return path
            _write_copy(capture, draft)
        draft.replace(target)
        if target != path:
            copy_beside(path, target)
    except (OSError, RuntimeError) as error:
        raise CaptureError(f"{path} can't be recovered: {str(error).splitlines()[0]}") from None
    finally:
        marked.unlink(missing_ok=True)
        draft.unlink(missing_ok=True)
    return target


def _open(path: Path, marked: Path) -> Capture:
    """Open a capture, if need be through a copy without the mark of a writer."""
    try:
        return open_capture(path)
    except CaptureError as error:
        if "layout was written" not in str(error):
            raise
    shutil.copyfile(path, marked)
    clear_mark(marked)
    return open_capture(marked)


def _write_copy(capture: Capture, target: Path) -> None:
    with h5py.File(target, "w", libver=LIBVER) as copy:
        copy_capture(capture.contents.file, copy)
        if capture.contents.state == State.RECORDING:
            rows_of = Whole(capture).stored | {"notes": len(capture.contents.lines)}
            for path, rows in rows_of.items():
                column = capture.contents.column(path)
                stored = min(rows, column.stored)
                copy[path].resize(stored, axis=0)  # drops what was written but never committed
                copy[path].resize(rows, axis=0)
                if stored < rows:
                    copy[path][stored:] = column.read(stored, rows)
            copy["state"][()] = int(State.RECOVERED)
