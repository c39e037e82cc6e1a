"""Keeps a file that grows fast from filling the system's memory with its pages."""

import os
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path

CACHED_BYTES, STEP_BYTES = 128 << 20, 16 << 20
"""So much of the file's end stays in the system's cache, and it is written to the disk in such steps."""


class PageCache:
    """Has the system write what is new of a file to the disk, and forget what is old enough.

    A file that grows by hundreds of megabytes a second takes a new page for everything: writing then waits for memory, and for
    the disk whenever too much is unwritten. Pages that are used again cost a fraction.

    A slow disk is only waited for in another thread: whoever writes the file goes on, as long as the system has memory.

    Parameters
    ----------
    pool : Executor
        Does the waiting.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._job: Future[None] | None = None
        self._closed = not hasattr(os, "posix_fadvise")
        self._begun = self._let_go = 0  # bytes

    def grown(self, path: Path, size: int) -> None:
        """Take note of a file's size; returns at once."""
        if self._closed or size < self._begun + STEP_BYTES or (self._job is not None and not self._job.done()):
            return
        self._job = self._pool.submit(self._follow, path, size)

    def close(self) -> None:
        """Begin no more steps."""
        self._closed = True

    def _follow(self, path: Path, size: int) -> None:
        with suppress(OSError), path.open("rb") as file:
            while self._begun + STEP_BYTES <= size and not self._closed:
                self._begun += STEP_BYTES  # what is dirty begins to be written
                os.posix_fadvise(file.fileno(), self._begun - STEP_BYTES, STEP_BYTES, os.POSIX_FADV_DONTNEED)
                old = self._begun - CACHED_BYTES - self._let_go
                if old > 0:  # and is written by now, so that it goes
                    os.posix_fadvise(file.fileno(), self._let_go, old, os.POSIX_FADV_DONTNEED)
                    self._let_go += old
