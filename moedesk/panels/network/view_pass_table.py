"""The Qt model of the table of passes: it holds the rows that are looked at, and asks for those it misses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtWidgets import QWidget

from moedesk.analysis.conventions import Conventions
from moedesk.panels.network.model_passes import COLUMNS, PassRows, column_hint, column_title

BLOCK = 64  # rows read at once
KEPT = 4096  # passes whose values are kept in memory

Numbers = Sequence[int] | npt.NDArray[np.int64]
AnyIndex = QModelIndex | QPersistentModelIndex
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
TIMELINE = next(place for place, column in enumerate(COLUMNS) if column.id == "timeline")
LEFT_ALIGNED = frozenset(place for place, column in enumerate(COLUMNS) if column.id in ("phase", "label", "timeline"))


class _Read(NamedTuple):
    """Where the values of a pass are, and what its cells say as far as they were drawn."""

    rows: PassRows
    place: int
    start: int
    end: int
    texts: dict[int, str]


class PassTable(QAbstractTableModel):
    """Rows of passes; one that was not read yet is empty, and its block is asked for. What was read of a pass is final.

    Signals
    -------
    missing
        Some rows that are being looked at must be read.

    Attributes
    ----------
    version : int
        Grows when what was read of a pass may say something else.
    """

    missing = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.version = 0
        self.conventions = Conventions()
        self._numbers: Numbers = range(0)
        self._matches: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
        self._read: dict[int, _Read] = {}  # by pass
        self._wanted: dict[int, None] = {}
        self._origin = 0
        self._time: tuple[int, int] = (0, 1)
        self._rising = True

    @property
    def numbers(self) -> Numbers:
        """The pass in each row."""
        return self._numbers

    def set_numbers(
        self, numbers: Numbers, matches: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None, rising: bool
    ) -> None:
        """Show these passes; the selection stays with its pass, and more rows at the end leave the others where they are.

        Parameters
        ----------
        matches : tuple or None
            Pass numbers in order, and matching events of each.
        rising : bool
            Whether ``numbers`` are in order of time.
        """
        before, was_rising = self._numbers, self._rising
        if matches is not self._matches:
            self._matches = matches
            self.version += 1
        if rising and was_rising and _continues(numbers, before):
            if len(numbers) > len(before):
                self.beginInsertRows(QModelIndex(), len(before), len(numbers) - 1)
                self._numbers = numbers
                self.endInsertRows()
        elif not rising and not was_rising:
            self._move(numbers)
        else:
            self.beginResetModel()
            self._numbers, self._rising = numbers, rising
            self._wanted.clear()
            self.endResetModel()

    def _move(self, numbers: Numbers) -> None:
        """Put the rows into another order, so that what is marked moves with its pass."""
        self.layoutAboutToBeChanged.emit()
        marked = self.persistentIndexList()
        passes = [int(self._numbers[index.row()]) for index in marked]
        self._numbers = numbers
        rows = {number: self.row_of(number) for number in set(passes)}
        moved = []
        for index, number in zip(marked, passes, strict=True):
            row = rows[number]
            moved.append(QModelIndex() if row is None else self.index(row, index.column()))
        self.changePersistentIndexList(marked, moved)
        self._wanted.clear()
        self.layoutChanged.emit()

    def set_time(self, origin: int, first: int, last: int) -> None:
        """Say when the capture, and what is in view, starts and ends (ns)."""
        if origin != self._origin:
            self.version += 1
            for read in self._read.values():
                read.texts.clear()
        self._origin, self._time = origin, (first, max(last, first + 1))

    def row_of(self, number: int) -> int | None:
        """Return the row of a pass, None if it is not shown."""
        numbers = self._numbers
        if isinstance(numbers, range):
            return numbers.index(number) if number in numbers else None
        if self._rising:
            row = int(np.searchsorted(numbers, number))
            return row if row < len(numbers) and numbers[row] == number else None
        found = np.flatnonzero(np.asarray(numbers) == number)
        return int(found[0]) if len(found) else None

    def take_wanted(self) -> npt.NDArray[np.int64]:
        """Return the passes that were looked at, or lie near one, and are missing, those looked at last at the end."""
        blocks = tuple(self._wanted)[-KEPT // 4 // BLOCK :]
        self._wanted.clear()
        rows = [self._numbers[block * BLOCK : (block + 1) * BLOCK] for block in blocks]
        return np.array([number for part in rows for number in part if number not in self._read], np.int64)

    def set_rows(self, rows: PassRows) -> None:
        """Take over what was read of some passes."""
        new = []
        columns = (rows.header[name].tolist() for name in ("id", "t0_ns", "t1_ns"))
        for place, (number, start, end) in enumerate(zip(*columns, strict=True)):
            if self._read.pop(number, None) is None:
                new.append(number)
            self._read[number] = _Read(rows, place, start, end, {})
        while len(self._read) > KEPT:
            del self._read[next(iter(self._read))]
        if len(self._numbers) and new:
            first, last = (self.row_of(number) for number in (min(new), max(new))) if self._rising else (None, None)
            if first is None or last is None:  # somewhere among all rows
                first, last = 0, len(self._numbers) - 1
            self.dataChanged.emit(self.index(first, 0), self.index(last, len(COLUMNS) - 1))

    def missing_from(self, first: int, last: int) -> int:
        """Return the first of passes first…last (end excluded) that was not read, ``last`` if all were."""
        return next((number for number in range(first, last) if number not in self._read), last)

    def forget_rows(self) -> None:
        """Read everything anew: other columns are shown."""
        self._read.clear()
        self._wanted.clear()
        self.version += 1

    def choose_conventions(self, new: Conventions) -> None:
        """Read everything anew by other definitions, and name them."""
        self.conventions = new
        self.forget_rows()
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(COLUMNS) - 1)

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of passes shown."""
        return 0 if parent.isValid() else len(self._numbers)

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of columns, hidden ones included."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:  # noqa: N802
        """Return title, explanation and side of a column."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return column_title(COLUMNS[section], self.conventions)
            if role == Qt.ItemDataRole.ToolTipRole:
                return column_hint(COLUMNS[section], self.conventions)
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _side(section)
        return None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return what a cell says."""
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _side(index.column())
        if role == Qt.ItemDataRole.ToolTipRole:
            read = self._read.get(int(self._numbers[index.row()]))
            overrides = "" if read is None else read.rows.overrides[read.place]
            return f"overridden: {overrides}" if overrides else None
        return self.text(index.row(), index.column()) if role == Qt.ItemDataRole.DisplayRole else None

    def text(self, row: int, place: int) -> str | None:
        """Return what a cell says; None, and it is asked for, if it was not read yet."""
        shown, number = COLUMNS[place], int(self._numbers[row])
        if place == 0:
            return f"{number:,}"
        if shown.id == "matches":
            return "" if self._matches is None else f"{_looked_up(self._matches, number):,}"
        read = self._read.get(number)
        if read is None:
            self._want(row // BLOCK)
            return None
        known = read.texts.get(place)
        if known is None:
            text = shown.text(read.rows, read.place, self._origin) if shown.text is not None else ""
            known = read.texts[place] = text
        return known

    def bar(self, row: int) -> tuple[float, float] | None:
        """Return start and end of a pass as shares of the time in view; None while it is read."""
        read = self._read.get(int(self._numbers[row]))
        if read is None:
            return None
        first, last = self._time
        return (read.start - first) / (last - first), (read.end - first) / (last - first)

    def _want(self, block: int) -> None:
        asked = bool(self._wanted)
        self._wanted.pop(block, None)
        self._wanted[block] = None
        if not asked:
            self.missing.emit()


def _continues(numbers: Numbers, before: Numbers) -> bool:
    """Return whether ``numbers`` begin with ``before``."""
    if isinstance(numbers, range) and isinstance(before, range):
        return not before or (numbers.start == before.start and len(numbers) >= len(before))
    return len(numbers) >= len(before) > 0 and np.array_equal(np.asarray(numbers[: len(before)]), np.asarray(before))


def _side(place: int) -> Qt.AlignmentFlag:
    return _LEFT if place in LEFT_ALIGNED else _RIGHT


def _looked_up(matches: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], number: int) -> int:
    place = int(np.searchsorted(matches[0], number))
    return int(matches[1][place]) if place < len(matches[0]) and matches[0][place] == number else 0
