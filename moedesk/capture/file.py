"""A capture being written, as a file: its columns laid out, committed, closed."""

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

from moedesk import __version__
from moedesk.capture.column import Column
from moedesk.capture.committed import CommitLog
from moedesk.capture.compact import compact
from moedesk.capture.description import write_model
from moedesk.capture.schema import FORMAT, LIBVER, VERSION, State
from moedesk.core.errors import CaptureError
from moedesk.core.model import ModelInfo

COMPACT_SHARE = 0.05
"""A closed file is rewritten without its tails when these take a larger share of it."""
RESERVE_BYTES = 2 << 20
"""Left free on the disk beyond what closing the file needs."""


class CaptureFile:
    """The file behind a ``CaptureWriter``.

    It is in SWMR mode except while new columns are laid out, so that a killed writer leaves what it had committed readable.
    """

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        """Create the file.

        Raises
        ------
        CaptureError
            If it can't be written there.
        """
        self.path = path
        self.columns: list[Column] = []
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="moedesk-capture-gzip")
        self._sequence = 0
        try:
            if path.is_file():
                path.resolve().unlink()  # rather than truncate it under whoever has it open
            self._file = h5py.File(path, "w", libver=LIBVER, locking=False, track_order=False)
        except OSError as error:
            self._pool.shutdown()
            raise CaptureError(f"{path} can't be written: {reason(error, path)}") from None
        self._file.attrs["format"] = np.bytes_(FORMAT)
        self._file.attrs["version"] = np.int64(VERSION)
        self._file.attrs["created"] = np.bytes_(datetime.now(UTC).isoformat(timespec="seconds"))
        self._file.attrs["writer"] = np.bytes_(f"moedesk {__version__}")
        self._file.create_dataset("state", data=np.uint8(State.RECORDING), track_times=False)
        self._lay_out(columns, 0)

    def extend(self, columns: Sequence[Column], model: ModelInfo, arrays: Mapping[str, np.ndarray], passes: int) -> None:
        """Add columns and small arrays, and rewrite the model, after a commit.

        SWMR mode allows no new datasets: it is left for that moment.
        """
        self._sequence = self._log.sequence
        self._file.close()
        self._file = h5py.File(self.path, "r+", libver=LIBVER, locking=False)
        write_model(self._file, model)
        for path, values in arrays.items():
            if path not in self._file:
                self._file.create_dataset(path, data=values, track_times=False)
        self._lay_out(columns, passes)

    def _lay_out(self, columns: Sequence[Column], passes: int) -> None:
        for column in columns:
            column.create(self._file, len(self.columns))
            self.columns.append(column)
        for column in self.columns:
            column.attach(self._file, self._pool)
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

    def _write_record(self, passes: int) -> None:
        self._file.flush()
        stored = [column.stored for column in self.columns]
        self._log.write(passes, [column.stored + column.in_tail for column in self.columns], stored)
        for column in self.columns:
            column.advanced = False

    def size(self) -> int:
        """Return the bytes it takes on disk."""
        return int(self._file.id.get_filesize()) if self._file else self.path.stat().st_size

    def lacks_space(self) -> bool:
        """Whether the disk has no more room than closing the file takes."""
        pending = sum(column.pending_bytes for column in self.columns)
        return free_bytes(self.path) < 2 * pending + RESERVE_BYTES

    def close(self, passes: int, state: State) -> None:
        """Write what is pending, mark the file as ``state`` and close it."""
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
        if tails > COMPACT_SHARE * size and free_bytes(self.path) > size + RESERVE_BYTES:
            compact(self.path)

    def abandon(self) -> None:
        """Close as well as a broken disk allows; what was committed stays readable."""
        self._pool.shutdown()
        try:
            self._file.close()
        except (OSError, RuntimeError, ValueError):
            return


def free_bytes(path: Path) -> int:
    """Return how many more bytes the file's disk takes."""
    return shutil.disk_usage(path.parent).free


def reason(error: OSError, path: Path) -> str:
    """Say in a few words why the system refused a path; HDF5 wraps its errno in a long message."""
    if path.is_dir():
        return "it is a folder"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    known = {"Errno 13": "permission denied", "errno = 13": "permission denied", "errno = 28": "the disk is full"}
    known |= {"errno = 30": "the disk is read-only", "unable to lock file": "another process is writing it"}
    text = str(error)
    return next((said for sign, said in known.items() if sign in text), text.splitlines()[0])
