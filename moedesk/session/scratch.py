"""Scratch captures: what live sessions record until the user saves it, kept through a crash of the app."""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from platformdirs import user_data_path

from moedesk.core.beside import move_beside, remove_beside
from moedesk.core.errors import MoedeskError

LOCK = "lock"
MOST_BYTES = 20 << 30
"""A scratch capture keeps counts only beyond this, or beyond half of what is free on the disk."""


def scratch_dir() -> Path:
    """Return the folder of all scratch captures; ``MOEDESK_SCRATCH_DIR`` moves it, ``MOEDESK_CONFIG_DIR`` too."""
    for name, below in (("MOEDESK_SCRATCH_DIR", ""), ("MOEDESK_CONFIG_DIR", "scratch")):
        if os.environ.get(name):
            return Path(os.environ[name]) / below
    return user_data_path("moedesk", appauthor=False) / "scratch"


@dataclass(frozen=True)
class Unsaved:
    """A capture that an app left behind without saving it.

    Attributes
    ----------
    path : Path
    size : int
        Bytes.
    changed : datetime
        When something was last written to it, local time.
    name : str
        The model's, or what the file is called if it can't be read.
    passes : int
    """

    path: Path
    size: int
    changed: datetime
    name: str
    passes: int = 0


class Scratch:
    """The scratch captures of one running app: a folder of its own, locked while the app lives.

    Parameters
    ----------
    root : Path, optional
        The folder of all apps' scratch folders; ``scratch_dir()`` if left out.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or scratch_dir()
        self._lock: IO[bytes] | None = None
        self._folder: Path | None = None
        self._count = 0

    def new(self, name: str) -> Path:
        """Return a path for a new scratch capture.

        Raises
        ------
        MoedeskError
            If the folder can't be made.
        """
        self._count += 1
        safe = re.sub(r"[^\w.]+", "-", name).strip("-.")[-60:] or "model"
        return self._own() / f"{self._count:03d}-{safe}.h5"

    def byte_budget(self) -> int:
        """Return how large a scratch capture may grow."""
        with contextlib.suppress(OSError):
            return min(MOST_BYTES, shutil.disk_usage(self._own()).free // 2)
        return MOST_BYTES

    def left_behind(self) -> list[Unsaved]:
        """Return the captures of apps that no longer run, the latest first; empty folders of theirs are removed."""
        found = []
        for folder in self._abandoned():
            captures = [path for path in folder.glob("*.h5") if path.stat().st_size]
            if not captures:
                shutil.rmtree(folder, ignore_errors=True)
            for path in captures:
                status = path.stat()
                changed = datetime.fromtimestamp(status.st_mtime)
                found.append(Unsaved(path, status.st_size, changed, *_content(path)))
        return sorted(found, key=lambda unsaved: unsaved.changed, reverse=True)

    def adopt(self, unsaved: Unsaved) -> Path:
        """Take a capture that was left behind into this app's folder; return its new path."""
        target = self.new(unsaved.name)
        unsaved.path.replace(target)
        move_beside(unsaved.path, target)
        return target

    def discard(self, path: Path) -> None:
        """Remove a scratch capture, and the folder of an app that no longer runs with its last one."""
        path.unlink(missing_ok=True)
        remove_beside(path)
        folder = path.parent
        if folder != self._folder and folder.parent == self.root and not any(folder.glob("*.h5")):
            shutil.rmtree(folder, ignore_errors=True)

    def close(self, discard: bool = False) -> None:
        """Let go of the folder; it is removed unless a capture is still in it, or with what is in it."""
        if self._lock is None or self._folder is None:
            return
        self._lock.close()
        self._lock = None
        if discard or not any(self._folder.glob("*.h5")):
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def _own(self) -> Path:
        if self._folder is None:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                # Locked before it has its name, or an app that starts just then would take it for one left behind.
                draft = Path(tempfile.mkdtemp(prefix=f".{datetime.now():%Y%m%d-%H%M%S}-", dir=self.root))
                self._lock = (draft / LOCK).open("wb")
                _take(self._lock)
                self._folder = draft.rename(self.root / draft.name[1:])
            except OSError as error:
                raise MoedeskError(
                    f"no scratch capture can be made in {self.root}: {error.strerror}; "
                    "set MOEDESK_SCRATCH_DIR to a folder with room"
                ) from None
        return self._folder

    def _abandoned(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        folders = [folder for folder in self.root.iterdir() if folder.is_dir() and folder.name[0] != "."]
        folders = [folder for folder in folders if folder != self._folder]
        return [folder for folder in folders if not _is_held(folder / LOCK)]


def _content(path: Path) -> tuple[str, int]:
    """Return name and passes of a capture."""
    from moedesk.capture.open import open_capture  # not at the start of the window

    with contextlib.suppress(MoedeskError), open_capture(path) as capture:
        return capture.model.name.rstrip("/").rpartition("/")[2], capture.n_passes
    return path.stem.partition("-")[2], 0


if sys.platform == "win32":

    def _take(lock: IO[bytes]) -> None:
        """Nothing to do: Windows removes no file that is open."""

    def _is_held(lock: Path) -> bool:
        try:
            lock.unlink(missing_ok=True)
        except OSError:
            return True
        return False

else:
    import fcntl

    def _take(lock: IO[bytes]) -> None:
        """Lock it; the system gives it free when this process ends, however it ends."""
        with contextlib.suppress(
            OSError
        ):  # a file system without locks: then nothing is ever offered for recovery twice
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_held(lock: Path) -> bool:
        try:
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False  # made by no app, or half made by one that was killed
        except OSError:
            return True
        return False
