"""A capture being written, as a file: its columns laid out, committed, closed."""

import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from moedesk import __version__
from moedesk.capture.column import Column
from moedesk.capture.committed import CommitLog
from moedesk.capture.compact import compact
from moedesk.capture.description import write_model
from moedesk.capture.hdf5 import CACHE_BYTES, open_hdf5
from moedesk.capture.page_cache import PageCache
from moedesk.capture.schema import FORMAT, LIBVER, VERSION, State
from moedesk.capture.superblock import fit_end
from moedesk.core.errors import CaptureError
from moedesk.core.model import ModelInfo

COMPACT_SHARE = 0.05
"""A closed file is rewritten without its tails when these take a larger share of it."""
COPY_BYTES = 1 << 30
"""Larger files are laid out anew in place."""
RESERVE_BYTES = 2 << 20
"""Left free on the disk beyond what closing the file needs."""
SHORT_TAIL_BYTES = 1 << 20
_OPTIONS: dict[str, Any] = {"libver": LIBVER, "locking": False, "rdcc_nbytes": CACHE_BYTES}


class CaptureFile:
    """The file behind a ``CaptureWriter``.

    It is in SWMR mode except while new columns are laid out, so that a killed writer leaves what it had committed readable.
    One thread writes. While someone watches, its columns can be read from any thread, also after it was closed or abandoned.

    Attributes
    ----------
    path : Path
    columns : list of Column
        In the order of their numbers.
    created : str
        ISO 8601, UTC.
    """

    def __init__(self, path: Path, columns: Sequence[Column], compress: bool) -> None:
        """Create the file.

        Raises
        ------
        CaptureError
            If it can't be written there.
        """
        self.path = path.resolve()
        self.columns: list[Column] = []
        self.created = datetime.now(UTC).isoformat(timespec="seconds")
        self._compress = compress
        self._lock = threading.RLock()  # held while it is opened or closed, and by readers
        self._watchers = 0
        self._writes = True
        self._recorded: list[int] = []  # rows of each column that the last commit counts in its dataset
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="moedesk-capture-gzip")
        self._sequence = 0
        self._page_cache = PageCache(self._pool)
        try:
            check_target(self.path)
            self._file = h5py.File(self._draft, "w", **_OPTIONS)
            self._file.attrs["format"] = np.bytes_(FORMAT)
            self._file.attrs["version"] = np.int64(VERSION)
            self._file.attrs["created"] = np.bytes_(self.created)
            self._file.attrs["writer"] = np.bytes_(f"moedesk {__version__}")
            self._file.create_dataset("state", data=np.uint8(State.RECORDING), track_times=False)
            self._lay_out(columns, 0)
            self._draft.replace(self.path)
        except OSError as error:
            self._pool.shutdown()
            self._draft.unlink(missing_ok=True)
            raise CaptureError(f"{path} can't be written: {reason(error)}") from None

    @property
    def _draft(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    def extend(
        self, columns: Sequence[Column], model: ModelInfo, arrays: Mapping[str, np.ndarray], passes: int
    ) -> None:
        """Add columns and small arrays, and rewrite the model, after a commit.

        SWMR mode allows no new datasets, and a writer killed outside it leaves a file that doesn't open. So the layout is
        written in a copy that then takes the file's place, unless the file is very large.
        """
        self._sequence = self._log.sequence
        size = self.size()
        in_copy = size <= COPY_BYTES and free_bytes(self.path) > size + RESERVE_BYTES
        with self._lock:
            self._file.close()
            if in_copy:
                shutil.copyfile(self.path, self._draft)
            self._file = h5py.File(self._draft if in_copy else self.path, "r+", **_OPTIONS)
            write_model(self._file, model)
            for path, values in arrays.items():
                if path not in self._file:
                    self._file.create_dataset(path, data=values, track_times=False)
            self._lay_out(columns, passes)
            if in_copy:
                self._draft.replace(self.path)

    def _lay_out(self, columns: Sequence[Column], passes: int) -> None:
        for column in columns:
            column.create(self._file, len(self.columns), self._compress)
            self.columns.append(column)
        for column in self.columns:
            column.attach(self._file, self._pool, self._lock)
            column.write_tail()  # rows before a late column began
        CommitLog.create(self._file, len(self.columns))
        self._log = CommitLog(self._file, self._sequence)
        self._write_record(passes)  # at no moment is SWMR mode on without a record
        self._file.swmr_mode = True

    def commit(self, passes: int, passes_before: int) -> None:
        """Make everything appended so far survive a kill.

        A tail may only be overwritten once the record no longer counts on it, so chunks that went to their datasets are
        committed first, with the number of passes as it was.
        """
        if any(column.advanced for column in self.columns):
            self._write_record(passes_before)
        for column in self.columns:
            column.write_tail()
        self._write_record(passes)
        if not self._compress:
            self._page_cache.grown(self.path, self.size())

    @property
    def has_short_tails(self) -> bool:
        """Whether a commit would write little twice: chunks went to their datasets just now, and few rows are left over."""
        return (
            any(column.advanced for column in self.columns)
            and sum(column.unflushed_bytes for column in self.columns) <= SHORT_TAIL_BYTES
        )

    def _write_record(self, passes: int) -> None:
        self._file.flush()
        stored = [column.stored for column in self.columns]
        self._log.write(passes, [column.stored + column.in_tail for column in self.columns], stored)
        self._recorded = stored
        for column in self.columns:
            column.advanced = False

    def size(self) -> int:
        """Return the bytes it takes on disk."""
        return int(self._file.id.get_filesize()) if self._file else self.path.stat().st_size

    def lacks_space(self, more: int) -> bool:
        """Whether the disk has no more room than ``more`` bytes and closing the file take."""
        pending = more + sum(column.pending_bytes for column in self.columns)
        return free_bytes(self.path) < 2 * pending + RESERVE_BYTES

    def close(self, passes: int, state: State) -> None:
        """Write what is pending, mark the file as ``state`` and close it."""
        self._page_cache.close()
        with self._lock:
            try:
                for column in self.columns:
                    column.seal()
                self._write_record(passes)
                self._file["state"][()] = int(state)
                tails = sum(column.tail_bytes for column in self.columns)
                size = self.size()
                self._file.close()
            finally:
                self._pool.shutdown()
            for column in self.columns:
                column.release()
            # An uncompressed file is one that will be saved compressed, or thrown away.
            if self._compress and tails > COMPACT_SHARE * size and free_bytes(self.path) > size + RESERVE_BYTES:
                compact(self.path)
            self._writes = False
            if self._watchers:
                self._open_for_reading()

    def abandon(self) -> None:
        """Leave the file as a kill would: what was committed stays readable there, the rest in memory while someone watches.

        After a failed write HDF5 would still write metadata when it closes the file, about data that is not there, and if that
        fails too it may crash the process later. So all that goes to the null device.
        """
        self._page_cache.close()
        self._pool.shutdown()
        with self._lock:
            self._writes = False
            with suppress(OSError, RuntimeError, ValueError, CaptureError):
                if self._file and self._watchers:
                    for column, stored in zip(self.columns, self._recorded, strict=False):
                        column.take_back(stored)
            with suppress(OSError, RuntimeError, ValueError):
                if self._file:
                    with Path(os.devnull).open("r+b") as nowhere:
                        os.dup2(nowhere.fileno(), self._file.id.get_vfd_handle())
                    self._file.close()
            with suppress(OSError):
                self._draft.unlink(missing_ok=True)
                fit_end(self.path)
            if self._watchers:
                self._open_for_reading()

    def watch(self) -> None:
        """Keep all columns readable until as many calls of ``unwatch``."""
        with self._lock:
            self._watchers += 1
            if not self._file:
                self._open_for_reading()

    def unwatch(self) -> None:
        """Nobody reads any more on behalf of one ``watch``."""
        with self._lock, suppress(OSError, RuntimeError, ValueError):
            self._watchers -= 1
            if not self._watchers and not self._writes:
                self._file.close()

    def _open_for_reading(self) -> None:
        """Open the closed file, unless somebody took it away: reading then says that it is closed."""
        with suppress(CaptureError, OSError, RuntimeError, ValueError, KeyError):
            self._file = open_hdf5(self.path)
            for column in self.columns:
                if column.spec.path in self._file:
                    column.attach_stored(self._file, self._lock)


def free_bytes(path: Path) -> int:
    """Return how many more bytes the file's disk takes."""
    return shutil.disk_usage(path.parent).free


def check_target(path: Path) -> None:
    """Raise an OSError that says why a file can't be written there."""
    if path.is_dir():
        raise IsADirectoryError("it is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError("permission denied")


def reason(error: OSError | RuntimeError) -> str:
    """Say in a few words why the system refused; HDF5 wraps its errno in a long message."""
    known = {"errno = 13": "permission denied", "errno = 28": "the disk is full", "errno = 30": "the disk is read-only"}
    known |= {"errno = 27": "the file may not grow any more", "errno = 122": "the disk quota is used up"}
    text = str(error)
    return next((said for sign, said in known.items() if sign in text), text.splitlines()[0])
