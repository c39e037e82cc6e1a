"""Folders for sockets and connection files that only the user can enter; those that a killed app left are removed."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from moedesk.link.machine import machine_identity

_PREFIX = "moedesk-kernel-"
_OWNER = "owner"


def private_folder() -> Path:
    """Make a folder (mode 0700) for this process, after removing those of processes that ended without doing so."""
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    (folder / _OWNER).write_text(f"{_here()}\n{os.getpid()}\n", encoding="ascii")
    return folder


def _sweep(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
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
