"""A dataset that grows by rows: whole chunks go to the dataset, what is left over to a tail."""

import threading
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np

from moedesk.capture.schema import ColumnSpec
from moedesk.capture.stored import read_rows
from moedesk.core.columns import as_bytes

LEVEL = 1
STRATEGY = zlib.Z_RLE
"""For routes and counts: expert ids hardly repeat as strings, so looking for runs only takes half the time of gzip 1 and gives
7 % less (87 bytes a token instead of 94 for 16 layers × top-8 of 64; gzip 4: 91). What comes out is ordinary deflate."""
TAIL_CHUNK_BYTES = 1 << 18
Lanes = slice | list[int]
Piece = tuple[Lanes, np.ndarray]
"""Some lanes, and their values: (lanes, rows, …)."""
EVERY = slice(None)


class Column:
    """Collects rows of one column and writes them; what was appended can be read at any time, from any thread.

    A chunk is encoded and written once, when it is full: rewriting it at every flush would cost its compression again and, in
    SWMR mode, leave its old place in the file unused. Until then a flush writes its new rows to the tail, in place.

    One thread appends. Rows never change, so a reader that knows how many there are needs only be kept from looking at the
    unfinished chunk while it moves to the dataset.

    Attributes
    ----------
    stored : int
        Rows in the dataset: whole chunks.
    used : int
        Rows of the unfinished chunk.
    advanced : bool
        Whether ``stored`` has grown since the last commit.
    """

    def __init__(self, spec: ColumnSpec, rows: int = 0) -> None:
        """Start at ``rows`` rows that were never written and read as fill."""
        self.spec = spec
        self._buffer = np.empty((spec.lanes, spec.rows, *spec.row[1:]), spec.dtype)
        self._fill = spec.fill_value
        self._buffer[...] = self._fill
        self._row_bytes = self._buffer[:, 0].nbytes
        self._touched = np.zeros(spec.lanes, bool)
        self._stale = np.zeros(spec.lanes, bool)  # lanes that hold values of an earlier chunk
        self.stored, self.used = rows - rows % spec.rows, rows % spec.rows
        self._in_tail = 0
        self.advanced = False
        self._moving = threading.Lock()
        self._file_lock = threading.RLock()
        self._pool: ThreadPoolExecutor | None = None
        self._compress = True

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.stored + self.used

    @property
    def in_tail(self) -> int:
        """Rows of the unfinished chunk that the tail holds."""
        return self._in_tail

    @property
    def pending_bytes(self) -> int:
        """Bytes of the unfinished chunk, uncompressed."""
        return self.used * self._row_bytes

    @property
    def unflushed_bytes(self) -> int:
        """Bytes of the unfinished chunk that are not in the tail yet."""
        return (self.used - self._in_tail) * self._row_bytes

    def create(self, file: h5py.File, number: int, compress: bool) -> None:
        """Lay out dataset and tail."""
        self.spec.create(file, self.stored, compress)
        rows = max(1, min(self.spec.rows, TAIL_CHUNK_BYTES // max(1, self._row_bytes)))
        tail = file.create_dataset(
            f"tail/{self.spec.path}",
            shape=(self.spec.rows, *self.spec.row),
            maxshape=(None, *self.spec.row),
            dtype=self.spec.dtype,
            chunks=(rows, *self.spec.row),
            track_times=False,
        )
        tail.attrs["column"] = number  # its place in the commit records

    def attach(self, file: h5py.File, pool: ThreadPoolExecutor, lock: threading.RLock) -> None:
        """Take dataset and tail from a file open for writing; ``lock`` is held by whoever opens or closes it."""
        self.attach_stored(file, lock)
        self._tail: h5py.Dataset = file[f"tail/{self.spec.path}"]
        self._pool, self._compress = pool, self._dataset.compression is not None

    def attach_stored(self, file: h5py.File, lock: threading.RLock) -> None:
        """Take the dataset from a file open for reading: nothing is appended any more."""
        self._file_lock = lock
        self._dataset: h5py.Dataset = file[self.spec.path]

    def append(self, values: np.ndarray) -> None:
        """Append rows of a column without layers."""
        self.extend(((EVERY, values[None]),), len(values))

    def extend(self, pieces: Sequence[Piece], rows: int) -> None:
        """Append ``rows`` rows given for some lanes each; a lane that is in none of the pieces stays at its fill value."""
        done = 0
        while done < rows:
            n = min(rows - done, self.spec.rows - self.used)
            self._put([(lanes, values[:, done : done + n]) for lanes, values in pieces], n)
            self.used += n
            done += n
            if self.used == self.spec.rows:
                self.seal()

    def _put(self, pieces: Sequence[Piece], n: int) -> None:
        """Copy ``n`` rows into the unfinished chunk."""
        place = as_bytes(self._buffer)[:, self.used : self.used + n]
        missing = self._stale.copy()
        for lanes, values in pieces:
            place[lanes] = as_bytes(values.astype(self.spec.dtype, copy=False)) if self.spec.dtype.names else values
            self._touched[lanes], missing[lanes] = True, False
        if missing.any():
            place[missing] = as_bytes(self._fill)

    def seal(self) -> None:
        """Write the chunk to the dataset, full or not; after one that is not full nothing may be appended."""
        if not self.used:
            return
        assert self._pool is not None, "seal comes after attach"
        self._buffer[:, self.used :] = self._fill
        lanes = np.flatnonzero(self._touched).tolist()
        chunks = self._encoded(lanes) if self._compress else (self._buffer[lane] for lane in lanes)
        self._dataset.id.set_extent((self.rows, *self.spec.row))
        inner = (0,) * len(self.spec.row[1:])
        for lane, chunk in zip(lanes, chunks, strict=True):
            place = (self.stored, lane, *inner) if self.spec.row else (self.stored,)
            self._dataset.id.write_direct_chunk(place, chunk)
        with self._moving:
            self.stored, self.used, self._in_tail = self.rows, 0, 0
        self.advanced = True
        self._stale |= self._touched
        self._touched[:] = False

    def _encoded(self, lanes: Sequence[int]) -> Iterable[bytes]:
        assert self._pool is not None
        try:
            return self._pool.map(self._encode, lanes)
        except RuntimeError:  # the interpreter is on its way out: pools take nothing any more
            return map(self._encode, lanes)

    def _encode(self, lane: int) -> bytes:
        return encode(self._buffer[lane], self.spec)

    def take_back(self, stored: int) -> None:
        """Hold all rows but the first ``stored`` in memory again: the file will not have them. Nothing is appended afterwards."""
        if stored >= self.stored:
            return
        rows = read_rows(self._dataset, stored, self.stored, None)
        lanes = np.swapaxes(rows, 0, 1) if self.spec.row else rows[None]
        with self._moving:
            self._buffer = np.concatenate([lanes, self._buffer[:, : self.used]], axis=1)
            self.stored, self.used = stored, self.rows - stored

    def release(self) -> None:
        """Give the memory back, after the last ``seal``."""
        assert not self.used
        self._buffer = self._buffer[:, :0].copy()

    @property
    def tail_bytes(self) -> int:
        """Bytes the tail takes in the file."""
        return int(self._tail.id.get_storage_size())

    def write_tail(self) -> None:
        """Bring the tail up to date."""
        if self._in_tail < self.used:
            new = slice(self._in_tail, self.used)
            rows = np.swapaxes(self._buffer[:, new], 0, 1) if self.spec.row else self._buffer[0, new]
            self._tail[new] = rows
            self._in_tail = self.used

    def read(self, i: int, j: int, lane: int | None = None) -> np.ndarray:
        """Return rows i…j, of one lane or of all, from the dataset and from the unfinished chunk. For any thread.

        Raises
        ------
        CaptureError
            If the file is closed or damaged.
        """
        with self._moving:
            stored = self.stored
            kept = self._kept(max(i, stored) - stored, max(j, stored) - stored, lane)
        if i >= min(j, stored):
            return kept
        with self._file_lock:
            first = read_rows(self._dataset, i, min(j, stored), lane)
        return np.concatenate([first, kept]) if len(kept) else first

    def _kept(self, i: int, j: int, lane: int | None) -> np.ndarray:
        if lane is None and self.spec.row:
            return np.ascontiguousarray(np.swapaxes(self._buffer[:, i:j], 0, 1))
        return self._buffer[lane or 0, i:j].copy()


def encode(block: np.ndarray, spec: ColumnSpec) -> bytes:
    """Do what HDF5's shuffle and deflate filters do with a chunk of a column, outside its lock."""
    data = block.tobytes()
    if spec.shuffle and block.itemsize > 1:
        data = np.frombuffer(data, np.uint8).reshape(-1, block.itemsize).T.tobytes()
    deflate = zlib.compressobj(LEVEL, strategy=STRATEGY if spec.row else zlib.Z_DEFAULT_STRATEGY)
    return deflate.compress(data) + deflate.flush()
