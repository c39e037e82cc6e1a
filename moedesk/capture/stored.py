"""A column as the reader sees it: its dataset up to what is committed, then its tail."""

import threading
from typing import Protocol

import h5py
import numpy as np

from moedesk.core.errors import CaptureError

CLOSED = "the capture is closed; open it again to read it"
READ_BYTES = 4 << 20
"""Read at a time: HDF5 lets no other thread in meanwhile, and a recording may be going on."""


class ColumnRows(Protocol):
    """Rows of a column, by range.

    Attributes
    ----------
    dtype : numpy.dtype
    row : tuple of int
        Shape of a row.
    """

    dtype: np.dtype
    row: tuple[int, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> np.void: ...

    def read(self, i: int, j: int, lane: int | None = None) -> np.ndarray:
        """Return rows i…j, of one layer or of all."""


class StoredColumn:
    """Rows of one dataset, read by range.

    Attributes
    ----------
    dtype : numpy.dtype
    row : tuple of int
        Shape of a row.
    stored : int
        Rows that lie in the dataset; the rest is in its tail.
    """

    def __init__(self, file: h5py.File, path: str, lock: threading.RLock, rows: int, stored: int, tail: str) -> None:
        """Take ``stored`` of ``rows`` rows from the dataset at ``path`` and the rest from the one at ``tail``."""
        self._lock = lock
        self._rows, self.stored = rows, stored
        with lock:
            self._dataset: h5py.Dataset = file[path]
            self._tail: h5py.Dataset | None = file[tail] if rows > stored else None
            self.dtype: np.dtype = self._dataset.dtype
            self.row: tuple[int, ...] = self._dataset.shape[1:]

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> np.void:
        found: np.void = self.read(row, row + 1)[0]
        return found

    def read(self, i: int, j: int, lane: int | None = None) -> np.ndarray:
        """Return rows i…j, of one layer or of all.

        Raises
        ------
        CaptureError
            If the file is closed or damaged.
        """
        with self._lock:
            parts = [read_rows(self._dataset, i, min(j, self.stored), lane)]
            if j > self.stored and self._tail is not None:
                parts.append(read_rows(self._tail, max(i - self.stored, 0), j - self.stored, lane))
        parts = [part for part in parts if len(part)] or parts[:1]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def read_rows(dataset: h5py.Dataset, i: int, j: int, lane: int | None) -> np.ndarray:
    """Return rows i…j of a dataset, of one layer or of all; to be called under the lock of its file.

    Raises
    ------
    CaptureError
        If the file is closed or damaged.
    """
    if not dataset:
        raise CaptureError(CLOSED)
    try:
        row = dataset.shape[1:] if lane is None else dataset.shape[2:]
        whole = dataset.chunks[0] if dataset.chunks else 1
        step = max(1, READ_BYTES // max(1, int(np.prod(row)) * dataset.dtype.itemsize))
        step = step - step % whole if step > whole else step
        if j - i <= step:
            return _slice(dataset, i, j, lane)
        rows = np.empty((j - i, *row), dataset.dtype)
        for start in range(i, j, step):
            stop = min(start + step, j)
            rows[start - i : stop - i] = _slice(dataset, start, stop, lane)
    except OSError as error:
        where = f"{dataset.file.filename}: {dataset.name}, rows {i:,} to {j:,}"
        raise CaptureError(f"{where} can't be read, the file is damaged ({str(error).splitlines()[0]})") from None
    return rows


def _slice(dataset: h5py.Dataset, i: int, j: int, lane: int | None) -> np.ndarray:
    rows: np.ndarray = dataset[i : max(i, j)] if lane is None else dataset[i : max(i, j), lane]
    return rows
