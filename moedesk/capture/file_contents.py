"""The columns of an open file, cut to what is committed."""

import threading
from functools import cached_property

import h5py
import numpy as np

from moedesk.capture.committed import Committed, read_committed
from moedesk.capture.contents import TableInfo
from moedesk.capture.description import read_model
from moedesk.capture.schema import State
from moedesk.capture.stored import CLOSED, StoredColumn
from moedesk.capture.texts import Vocabulary
from moedesk.core.errors import CaptureError
from moedesk.core.model import ModelInfo


class FileContents:
    """Implements ``Contents``; opens columns when they are first needed.

    Attributes
    ----------
    file : h5py.File
    lock : threading.RLock
        Held while the file is read or closed.
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

    def has(self, path: str) -> bool:
        """Whether there is such a column."""
        with self.lock:
            if not self.file:
                raise CaptureError(CLOSED)
            return path in self.file

    def n_tokens(self, stream: str) -> int:
        """Return the rows of a stream that belong to these passes."""
        if not self.n_passes:
            return 0
        last = self.column(f"streams/{stream}/spans")[self.n_passes - 1]
        return int(last["first"] + last["count"])

    @cached_property
    def created(self) -> str:
        """When recording began: ISO 8601, UTC."""
        with self.lock:
            text = self.file.attrs["created"]
        return text.decode() if isinstance(text, bytes) else str(text)

    @cached_property
    def model(self) -> ModelInfo:
        """The model it was recorded from."""
        with self.lock:
            return read_model(self.file)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Notes taken while recording."""
        return tuple(line.decode("utf-8", "replace") for line in self.read_all("notes").tolist())

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """Names of all token streams."""
        with self.lock:
            return tuple(self.file["streams"]) if "streams" in self.file else ()

    @cached_property
    def tables(self) -> tuple[TableInfo, ...]:
        """All tables of routes."""
        with self.lock:
            groups = self.file.get("routes", {})
            places = {f"routes/{name}": tuple(int(n) for n in groups[name]["layers"][()]) for name in groups}
        found = [(path, layers, self.model.layers[layers[0]]) for path, layers in places.items()]
        return tuple(TableInfo(path, layers, first.stream, first.experts, first.top_k) for path, layers, first in found)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Texts of the token ids that occur."""
        vocabulary = Vocabulary()
        vocabulary.add(*(self.read_all(f"vocabulary/{name}") for name in ("ids", "ends", "bytes")))
        return vocabulary

    def read_all(self, path: str) -> np.ndarray:
        """Return a whole column; for small ones."""
        column = self.column(path)
        return column.read(0, len(column))
