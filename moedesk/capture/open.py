"""Opens captures, and says in one line why a file isn't one."""

import os
from os import PathLike
from pathlib import Path
from typing import TypeVar

import h5py

from moedesk.capture.hdf5 import open_hdf5
from moedesk.capture.reader import Capture
from moedesk.capture.schema import FORMAT, VERSION
from moedesk.core.errors import CaptureError

Kind = TypeVar("Kind", bound=Capture)


def open_capture(path: str | PathLike[str]) -> Capture:
    """Open a capture for reading.

    A capture whose writer was killed, or is still running, opens with what was committed: ``complete`` is False and
    ``notes`` says so.

    Raises
    ------
    CaptureError
        If there is no such file, it can't be read, or it isn't a capture of a version known here.
    """
    return open_as(path, Capture)


def open_as(path: str | PathLike[str], kind: type[Kind]) -> Kind:
    """Open a capture as an object of class ``kind``; else the same."""
    path = Path(path)
    _check_file(path)
    file = open_hdf5(path)
    try:
        _check_capture(file, path)
        return kind(file, path)
    except CaptureError:
        file.close()
        raise
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        file.close()
        raise CaptureError(f"{path} is damaged: {_first_line(error)}") from None


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CaptureError(f"{path} is a folder, not a capture; name the .h5 file in it")
    if not path.exists():
        raise CaptureError(f"there is no file {path}")
    if not os.access(path, os.R_OK):
        raise CaptureError(f"{path} can't be read: permission denied")
    if path.stat().st_size == 0:
        raise CaptureError(f"{path} is empty: nothing was ever recorded in it")


def _check_capture(file: h5py.File, path: Path) -> None:
    name = file.attrs.get("format", b"")
    if name not in (FORMAT, FORMAT.encode()):
        raise CaptureError(f"{path} is an HDF5 file but not a moedesk capture")
    version = int(file.attrs.get("version", 0))
    if version > VERSION:
        raise CaptureError(
            f"{path} has capture format {version}, this moedesk reads up to {VERSION}; upgrade with `pip install -U moedesk`"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
