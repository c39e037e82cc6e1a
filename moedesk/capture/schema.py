"""What a capture holds: names, dtypes and chunk shapes of its datasets. docs/capture-format.md says the same in words."""

from dataclasses import dataclass, replace
from enum import IntEnum
from math import prod
from typing import Any

import h5py
import numpy as np

from moedesk.core.columns import ACTED, LABEL, PASS, SPAN, STEP, TOKEN, RouteFlag, expert_dtype

FORMAT = "moedesk-capture"
VERSION = 1
LIBVER = ("v110", "v110")
"""The oldest file format that has SWMR, so that HDF5 1.10 and later (h5dump, HDFView, MATLAB) read it."""

FANOUT = 8
"""Blocks of one level that make a block of the next."""
LEVELS = 7
"""Levels of the count pyramid; the last one sums 8^6 = 262,144 base blocks a row."""
BLOCK_TOKENS = 1024
BLOCK_PASSES = 256
"""A base block closes when it holds this many token rows or this many passes."""

ROUTE_ROWS = 4096
"""Token rows in a chunk of a route column: 32 KiB of ids of a top-8 layer with up to 127 experts."""
LARGE_CHUNKS, LARGE_BYTES = 4, 16 << 20
"""Without compression the number of chunks is what costs: they are up to so many times as long, if a table's fit into this."""
NOTE_BYTES = 400


class State(IntEnum):
    """What became of the recording, as the file says."""

    RECORDING = 0  # or killed
    COMPLETE = 1
    STOPPED = 2  # closed, but the writer had to stop before the end; a note says why
    RECOVERED = 3  # closed by ``recover``


BLOCK = np.dtype([("first", "<i8"), ("count", "<i8")])
"""The passes of one block of counts."""


@dataclass(frozen=True)
class ColumnSpec:
    """One dataset that grows by rows.

    Attributes
    ----------
    path : str
        Where it lies in the file.
    dtype : numpy.dtype
    row : tuple of int
        Shape of a row; if it has an axis, the first is the layer, and a chunk holds one layer.
    rows : int
        Rows in a chunk.
    shuffle : bool
        Whether bytes are shuffled before gzip: helps floats and records, hurts expert ids.
    fill : object
        Value of rows and layers never written.
    """

    path: str
    dtype: np.dtype
    row: tuple[int, ...] = ()
    rows: int = 4096
    shuffle: bool = True
    fill: object = None

    @property
    def lanes(self) -> int:
        """Chunks side by side: one per layer."""
        return self.row[0] if self.row else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, uncompressed."""
        return prod(self.row) * self.dtype.itemsize

    @property
    def fill_value(self) -> np.ndarray:
        """What rows never written read as."""
        return np.zeros((), self.dtype) if self.fill is None else np.asarray(self.fill, self.dtype)

    def create(self, file: h5py.File, rows: int, compress: bool) -> h5py.Dataset:
        """Create the empty dataset; the first ``rows`` rows read as ``fill``."""
        filters: dict[str, Any] = {"shuffle": self.shuffle, "compression": "gzip", "compression_opts": 1}
        return file.create_dataset(
            self.path,
            shape=(rows, *self.row),
            maxshape=(None, *self.row),
            dtype=self.dtype,
            chunks=(self.rows, *(1 if axis == 0 else n for axis, n in enumerate(self.row))),
            fillvalue=self.fill,
            track_times=False,
            **(filters if compress else {}),
        )


PASSES = ColumnSpec("passes", PASS, rows=1024)
NOTES = ColumnSpec("notes", np.dtype(f"S{NOTE_BYTES}"), rows=16)
STEPS = ColumnSpec("steps", STEP, rows=256)
LABELS = ColumnSpec("labels", LABEL, rows=128)
OVERRIDE_RANGES = ColumnSpec("overrides/ranges", ACTED, rows=256)
OVERRIDE_ENDS = ColumnSpec("overrides/ends", np.dtype("<i8"), rows=256)
OVERRIDE_BYTES = ColumnSpec("overrides/bytes", np.dtype("u1"), shuffle=False)
VOCABULARY_IDS = ColumnSpec("vocabulary/ids", np.dtype("<i4"))
VOCABULARY_ENDS = ColumnSpec("vocabulary/ends", np.dtype("<i8"))
VOCABULARY_BYTES = ColumnSpec("vocabulary/bytes", np.dtype("u1"), rows=32768, shuffle=False)


def stream_columns(stream: str) -> tuple[ColumnSpec, ColumnSpec]:
    """Return tokens and spans of a stream."""
    return ColumnSpec(f"streams/{stream}/tokens", TOKEN), ColumnSpec(f"streams/{stream}/spans", SPAN)


def block_columns() -> tuple[ColumnSpec, ...]:
    """Return which passes a row of counts covers, for each level."""
    return tuple(ColumnSpec(f"blocks/{level}", BLOCK) for level in range(LEVELS))


def route_columns(
    table: str, layers: int, experts: int, top_k: int, half: bool, logits: bool
) -> tuple[ColumnSpec, ...]:
    """Return the columns of a table of routes with a row per token."""
    real = np.dtype("<f2") if half else np.dtype("<f4")

    def column(
        name: str, dtype: np.dtype, fill: object, width: tuple[int, ...] = (), shuffle: bool = True
    ) -> ColumnSpec:
        return ColumnSpec(f"routes/{table}/{name}", dtype, (layers, *width), ROUTE_ROWS, shuffle, fill)

    columns = (
        column("experts", expert_dtype(experts), -1, (top_k,), shuffle=False),
        column("weights", real, np.nan, (top_k,)),
        column("entropy", real, np.nan),
        column("margin", real, np.nan),
        column("flags", np.dtype("u1"), int(RouteFlag.ABSENT)),
    )
    return (*columns, column("logits", real, np.nan, (experts,))) if logits else columns


def in_large_chunks(columns: tuple[ColumnSpec, ...]) -> tuple[ColumnSpec, ...]:
    """Return the columns of a table of routes as they are laid out without compression."""
    chunk_bytes = sum(column.rows * column.row_bytes for column in columns)
    times = 1
    while times < LARGE_CHUNKS and 2 * times * chunk_bytes <= LARGE_BYTES:
        times *= 2
    return tuple(replace(column, rows=times * column.rows) for column in columns)


def count_columns(table: str, layers: int, experts: int) -> tuple[ColumnSpec, ...]:
    """Return the counts of a table of routes, a row per block, for each level."""
    rows = min(1024, max(16, 16384 // experts))  # 64 KiB: sums read a few rows of every level
    return tuple(
        ColumnSpec(f"routes/{table}/counts/{level}", np.dtype("<u4"), (layers, experts), rows, fill=0)
        for level in range(LEVELS)
    )


def norm_columns(table: str, layers: int, experts: int) -> tuple[ColumnSpec, ...]:
    """Return what was measured of the layers of a table in training, a row per step."""
    rows = min(1024, max(16, 16384 // experts))

    def column(name: str, width: tuple[int, ...] = ()) -> ColumnSpec:
        return ColumnSpec(f"routes/{table}/norms/{name}", np.dtype("<f4"), (layers, *width), rows, fill=np.nan)

    return column("gradients", (experts,)), column("outputs", (experts,)), column("router"), column("shared")
