"""The columns of a recording that goes on, as they were after one of its passes."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moedesk.capture.column import Column
from moedesk.capture.contents import TableInfo
from moedesk.capture.schema import State
from moedesk.capture.texts import Vocabulary
from moedesk.core.model import ModelInfo


@dataclass(frozen=True)
class Layout:
    """What only changes when the model is described.

    Attributes
    ----------
    created : str
        When recording began: ISO 8601, UTC.
    model : ModelInfo
    streams : tuple of str
    tables : tuple of TableInfo
    columns : tuple of Column
        In the order of their numbers.
    numbers : mapping of path to number
    """

    created: str
    model: ModelInfo
    streams: tuple[str, ...]
    tables: tuple[TableInfo, ...]
    columns: tuple[Column, ...]
    numbers: Mapping[str, int]


class RecordedTexts:
    """Texts of a recording's token ids, read from its columns as far as they were asked for."""

    def __init__(self) -> None:
        self._vocabulary = Vocabulary()
        self._rows = {"vocabulary/ids": 0, "vocabulary/ends": 0, "vocabulary/bytes": 0}
        self._lock = threading.Lock()

    def of(self, contents: "RecordedContents") -> Vocabulary:
        """Return a vocabulary with at least the texts that were there at a moment."""
        with self._lock:
            columns = {path: contents.column(path) for path in self._rows}
            if len(columns["vocabulary/ids"]) > self._rows["vocabulary/ids"]:
                self._vocabulary.add(*(column.read(self._rows[path], len(column)) for path, column in columns.items()))
                self._rows = {path: len(column) for path, column in columns.items()}
        return self._vocabulary


@dataclass(frozen=True, eq=False)
class RecordedContents:
    """Implements ``Contents``; cheap to make, and never changes.

    Attributes
    ----------
    layout : Layout
    n_passes : int
    rows : tuple of int
        Rows of each column.
    tokens : mapping of stream to int
        Token rows of these passes.
    lines : tuple of str
    state : State
    texts : RecordedTexts
    """

    layout: Layout
    n_passes: int
    rows: tuple[int, ...]
    tokens: Mapping[str, int]
    lines: tuple[str, ...]
    state: State
    texts: RecordedTexts

    @property
    def created(self) -> str:
        """When recording began: ISO 8601, UTC."""
        return self.layout.created

    @property
    def model(self) -> ModelInfo:
        """The model; one without layers before it is known."""
        return self.layout.model

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all token streams."""
        return self.layout.streams

    @property
    def tables(self) -> tuple[TableInfo, ...]:
        """All tables of routes."""
        return self.layout.tables

    @property
    def vocabulary(self) -> Vocabulary:
        """Texts of the token ids that occur."""
        return self.texts.of(self)

    def n_tokens(self, stream: str) -> int:
        """Return the rows of a stream that belong to these passes."""
        return self.tokens.get(stream, 0)

    def column(self, path: str) -> "RecordedColumn":
        """Return the column at a path."""
        number = self.layout.numbers[path]
        return RecordedColumn(self.layout.columns[number], self.rows[number])

    def has(self, path: str) -> bool:
        """Whether there is such a column."""
        return path in self.layout.numbers


class RecordedColumn:
    """The first rows of a column that may go on growing.

    Attributes
    ----------
    dtype : numpy.dtype
    row : tuple of int
        Shape of a row.
    """

    def __init__(self, column: Column, rows: int) -> None:
        self._column, self._rows = column, rows
        self.dtype, self.row = column.spec.dtype, column.spec.row

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> np.void:
        found: np.void = self._column.read(row, row + 1)[0]
        return found

    def read(self, i: int, j: int, lane: int | None = None) -> np.ndarray:
        """Return rows i…j, of one layer or of all."""
        return self._column.read(i, min(j, self._rows), lane)
