"""Opens HDF5 files for reading, whatever state their writer left them in."""

from pathlib import Path

import h5py

from moedesk.core.errors import CaptureError

CACHE_BYTES = 2 << 20
"""For chunks of each dataset: HDF5 2 would take four times that, and a capture has dozens of datasets."""
_MARKED = ("already open for write", "already open for SWMR write")


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading, also one that is marked as open for writing.

    Raises
    ------
    CaptureError
        If HDF5 can't open it.
    """
    try:
        return _without_lock(path)
    except OSError as error:
        said = str(error)
    if any(mark in said for mark in _MARKED):
        try:
            return _without_lock(path, swmr=True)
        except OSError:
            raise CaptureError(
                f"{path} was cut short while its layout was written; `moedesk recover {path}` makes a readable copy"
            ) from None
    if "truncated file" in said:
        raise CaptureError(f"{path} is truncated: a part at its end is missing; copy or download it again")
    if "signature not found" in said or not h5py.is_hdf5(path):
        raise CaptureError(f"{path} is not an HDF5 file, so not a capture")
    raise CaptureError(f"{path} is damaged: {said.splitlines()[0]}")


def _without_lock(path: Path, swmr: bool = False) -> h5py.File:
    """Open for reading; read-only and network file systems may have no locks."""
    try:
        return h5py.File(path, "r", swmr=swmr, locking=False, rdcc_nbytes=CACHE_BYTES)
    except OSError as error:
        if "locking flag values" not in str(error):
            raise
    return h5py.File(path, "r", swmr=swmr, rdcc_nbytes=CACHE_BYTES)  # this process has it open already, with a lock
