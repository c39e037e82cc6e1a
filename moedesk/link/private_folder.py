"""Folders for sockets and connection files that only the user can enter; those that a killed app left are removed."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from moedesk.link.machine import machine_identity

KERNEL = "moedesk-kernel-"
LINK = "moedesk-link-"
_OWNER = "owner"


def private_folder(prefix: str = KERNEL, place: Path | None = None) -> Path:
    """Make a folder (mode 0700) for this process, after removing those of processes that ended without doing so.

    Parameters
    ----------
    prefix : str
        What it is for; only folders for the same are looked at.
    place : Path, optional
        Where; the system's temporary folder if left out.
    """
    place = place or Path(tempfile.gettempdir())
    _sweep(place, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    (folder / _OWNER).write_text(f"{_here()}\n{os.getpid()}\n", encoding="ascii")
    return folder


def _sweep(place: Path, prefix: str) -> None:
    for folder in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError, ValueError):  # another user's, or just being made
            here, pid = (folder / _OWNER).read_text(encoding="ascii").split()
            if here == _here() and not _lives(int(pid)):
                shutil.rmtree(folder)


def _here() -> str:
    """Where a process number means this process: containers number their processes on their own."""
    try:
        numbers = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        numbers = ""
    return machine_identity() + numbers


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
