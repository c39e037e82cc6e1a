"""A structured array in a file that is read where it is looked at."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

BATCH = 65536


class LazyRows:
    """Rows that are read when indexed.

    ``rows[7]`` and ``rows[10:20]`` read just these; ``rows["phase"]`` and ``numpy.asarray(rows)`` read everything.

    Attributes
    ----------
    dtype : numpy.dtype
    """

    def __init__(self, read: Callable[[int, int], np.ndarray], length: int, dtype: np.dtype) -> None:
        self._read, self._length = read, length
        self.dtype = dtype

    def __len__(self) -> int:
        return self._length

    @property
    def shape(self) -> tuple[int]:
        """Number of rows."""
        return (self._length,)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer):
            place = range(self._length)[int(key)]
            return self._read(place, place + 1)[0]
        if isinstance(key, slice):
            i, j, step = key.indices(self._length)
            if step > 0:
                return self._read(i, max(i, j))[::step]
        return np.asarray(self)[key]

    def __iter__(self) -> Iterator[Any]:
        for i in range(0, self._length, BATCH):
            yield from self._read(i, min(i + BATCH, self._length))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        rows = self._read(0, self._length)
        return rows if dtype is None else rows.astype(dtype)

    def __repr__(self) -> str:
        return f"<{self._length:,} rows of {', '.join(self.dtype.names or ())}>"
