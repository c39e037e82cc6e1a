"""A column as the reader sees it: its dataset up to what is committed, then its tail."""

import threading

import h5py
import numpy as np

from moedesk.core.errors import CaptureError


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
        self._file, self._lock = file, lock
        self._rows, self.stored = rows, stored
        with lock:
            self._dataset: h5py.Dataset = file[path]
            self._tail: h5py.Dataset | None = file[tail] if rows > stored else None
            self.dtype: np.dtype = self._dataset.dtype
            self.row: tuple[int, ...] = self._dataset.shape[1:]

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row):  # type: ignore[no-untyped-def]  # bisect asks for one row at a time
        return self.read(row, row + 1)[0]

    def read(self, i: int, j: int, lane: int | None = None) -> np.ndarray:
        """Return rows i…j, of one layer or of all.

        Raises
        ------
        CaptureError
            If the file is closed or damaged.
        """
        with self._lock:
            if not self._file:
                raise CaptureError("the capture is closed; open it again to read it")
            try:
                parts = [_slice(self._dataset, i, min(j, self.stored), lane)]
                if j > self.stored and self._tail is not None:
                    parts.append(_slice(self._tail, max(i - self.stored, 0), j - self.stored, lane))
            except OSError as error:
                where = f"{self._file.filename}: {self._dataset.name}, rows {i:,} to {j:,}"
                raise CaptureError(
                    f"{where} can't be read, the file is damaged ({str(error).splitlines()[0]})"
                ) from None
        parts = [part for part in parts if len(part)] or parts[:1]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _slice(dataset: h5py.Dataset, i: int, j: int, lane: int | None) -> np.ndarray:
    j = max(i, j)
    rows: np.ndarray = dataset[i:j] if lane is None else dataset[i:j, lane]
    return rows
