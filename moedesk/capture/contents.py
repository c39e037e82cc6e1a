"""The columns of an open capture by name, cut to what is committed, and where each layer lies among them."""

import threading
from dataclasses import dataclass

import h5py
import numpy as np

from moedesk.capture.committed import Committed, read_committed
from moedesk.capture.schema import State
from moedesk.capture.stored import StoredColumn
from moedesk.core.model import ModelInfo


@dataclass(frozen=True)
class TableInfo:
    """A table of routes.

    Attributes
    ----------
    path : str
    places : tuple of int
        Layers in the order of its lanes.
    stream : str
    experts, top_k : int
    """

    path: str
    places: tuple[int, ...]
    stream: str
    experts: int
    top_k: int


class Contents:
    """Opens columns when they are first needed.

    Attributes
    ----------
    n_passes : int
        Passes whose data is all there.
    """

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self.lock = threading.RLock()
        self.state = State(int(file["state"][()]))
        self._columns: dict[str, StoredColumn] = {}
        self._committed: Committed | None = None
        if self.state == State.RECORDING:
            self._committed = read_committed(file)
            self.n_passes = self._committed.passes if self._committed else 0
        else:
            self.n_passes = len(file["passes"])

    def column(self, path: str) -> StoredColumn:
        """Return the column at a path."""
        with self.lock:
            if path not in self._columns:
                self._columns[path] = self._open(path)
            return self._columns[path]

    def _open(self, path: str) -> StoredColumn:
        if self.state != State.RECORDING:
            rows = len(self.file[path])
            return StoredColumn(self.file, path, self.lock, rows, rows, "")
        number = int(self.file[f"tail/{path}"].attrs["column"])
        rows, stored = (self._committed.rows[number], self._committed.stored[number]) if self._committed else (0, 0)
        return StoredColumn(self.file, path, self.lock, rows, stored, f"tail/{path}")

    def streams(self) -> tuple[str, ...]:
        """Return the names of all token streams."""
        with self.lock:
            return tuple(self.file["streams"]) if "streams" in self.file else ()

    def tables(self, model: ModelInfo) -> tuple[TableInfo, ...]:
        """Return all tables of routes."""
        with self.lock:
            groups = self.file.get("routes", {})
            places = {f"routes/{name}": tuple(int(n) for n in groups[name]["layers"][()]) for name in groups}
        found = [(path, layers, model.layers[layers[0]]) for path, layers in places.items()]
        return tuple(TableInfo(path, layers, first.stream, first.experts, first.top_k) for path, layers, first in found)

    def read_all(self, path: str) -> np.ndarray:
        """Return a whole column; for small ones."""
        column = self.column(path)
        return column.read(0, len(column))
