"""A dataset that grows by rows: whole chunks go to the dataset compressed, what is left over to an uncompressed tail."""

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np

from moedesk.capture.schema import ColumnSpec

LEVEL = 1
STRATEGY = zlib.Z_RLE
"""For routes and counts: expert ids hardly repeat as strings, so looking for runs only takes half the time of gzip 1 and gives
7 % less (87 bytes a token instead of 94 for 16 layers × top-8 of 64; gzip 4: 91). What comes out is ordinary deflate."""
TAIL_CHUNK_BYTES = 1 << 18


class Column:
    """Collects rows of one column and writes them.

    A chunk is compressed and written once, when it is full: rewriting it at every flush would cost its compression again and, in
    SWMR mode, leave its old place in the file unused. Until then a flush writes its new rows to the tail, in place.

    Attributes
    ----------
    stored : int
        Rows in the dataset: whole chunks.
    advanced : bool
        Whether ``stored`` has grown since the last commit.
    """

    def __init__(self, spec: ColumnSpec, rows: int = 0) -> None:
        """Start at ``rows`` rows that were never written and read as fill."""
        self.spec = spec
        lanes = spec.lanes
        self._buffer = np.empty((lanes, spec.rows, *spec.row[1:]), spec.dtype)
        self._fill = np.zeros((), spec.dtype) if spec.fill is None else np.asarray(spec.fill, spec.dtype)
        self._touched = np.zeros(lanes, bool)
        self._buffer[...] = self._fill
        self.stored, self._used = rows - rows % spec.rows, rows % spec.rows
        self._in_tail = 0
        self.advanced = False
        self._pool: ThreadPoolExecutor | None = None

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.stored + self._used

    @property
    def in_tail(self) -> int:
        """Rows of the unfinished chunk that the tail holds."""
        return self._in_tail

    @property
    def pending_bytes(self) -> int:
        """Bytes of the unfinished chunk, uncompressed."""
        return self._used * self._buffer[:, 0].nbytes

    @property
    def unflushed_bytes(self) -> int:
        """Bytes of the unfinished chunk that are not in the tail yet."""
        return (self._used - self._in_tail) * self._buffer[:, 0].nbytes

    def create(self, file: h5py.File, number: int) -> None:
        """Lay out dataset and tail."""
        self.spec.create(file, self.stored)
        row_bytes = max(1, self._buffer[:, 0].nbytes)
        rows = max(1, min(self.spec.rows, TAIL_CHUNK_BYTES // row_bytes))
        tail = file.create_dataset(
            f"tail/{self.spec.path}",
            shape=(self.spec.rows, *self.spec.row),
            maxshape=(None, *self.spec.row),
            dtype=self.spec.dtype,
            chunks=(rows, *self.spec.row),
            track_times=False,
        )
        tail.attrs["column"] = number  # its place in the commit records

    def attach(self, file: h5py.File, pool: ThreadPoolExecutor) -> None:
        """Take dataset and tail from an open file."""
        self._dataset: h5py.Dataset = file[self.spec.path]
        self._tail: h5py.Dataset = file[f"tail/{self.spec.path}"]
        self._pool = pool

    def append(self, values: np.ndarray) -> None:
        """Append rows of a column without layers."""
        self.extend((values,), len(values))

    def extend(self, lanes: Sequence[np.ndarray | None], rows: int) -> None:
        """Append ``rows`` rows given lane by lane; None leaves a lane at its fill value."""
        done = 0
        while done < rows:
            n = min(rows - done, self.spec.rows - self._used)
            with np.errstate(over="ignore", invalid="ignore"):
                for lane, values in enumerate(lanes):
                    if values is not None:
                        self._buffer[lane, self._used : self._used + n] = values[done : done + n]
                        self._touched[lane] = True
            self._used += n
            done += n
            if self._used == self.spec.rows:
                self.seal()

    def seal(self) -> None:
        """Write the chunk to the dataset, full or not; after one that is not full nothing may be appended."""
        if not self._used:
            return
        assert self._pool is not None, "seal comes after attach"
        lanes = np.flatnonzero(self._touched)
        chunks = self._pool.map(self._encode, lanes)
        self._dataset.resize(self.rows, axis=0)
        inner = (0,) * len(self.spec.row[1:])
        for lane, chunk in zip(lanes, chunks, strict=True):
            place = (self.stored, int(lane), *inner) if self.spec.row else (self.stored,)
            self._dataset.id.write_direct_chunk(place, chunk)
        self.stored, self._used, self._in_tail = self.rows, 0, 0
        self.advanced = True
        self._touched[:] = False
        self._buffer[...] = self._fill

    def _encode(self, lane: int) -> bytes:
        """Do what HDF5's shuffle and deflate filters do, outside its lock."""
        block = self._buffer[lane]
        data = block.tobytes()
        if self.spec.shuffle and block.itemsize > 1:
            data = np.frombuffer(data, np.uint8).reshape(-1, block.itemsize).T.tobytes()
        deflate = zlib.compressobj(LEVEL, strategy=STRATEGY if self.spec.row else zlib.Z_DEFAULT_STRATEGY)
        return deflate.compress(data) + deflate.flush()

    @property
    def tail_bytes(self) -> int:
        """Bytes the tail takes in the file."""
        return int(self._tail.id.get_storage_size())

    def write_tail(self) -> None:
        """Bring the tail up to date."""
        if self._in_tail < self._used:
            new = slice(self._in_tail, self._used)
            rows = np.swapaxes(self._buffer, 0, 1)[new] if self.spec.row else self._buffer[0, new]
            self._tail[new] = rows
            self._in_tail = self._used
