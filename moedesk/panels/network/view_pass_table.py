"""The Qt model of the table of passes: it holds the rows that are looked at, and asks for those it misses."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtWidgets import QWidget

from moedesk.panels.network.model_passes import COLUMNS, Column, PassRows

BLOCK = 64  # rows read at once
KEPT = 64  # blocks kept in memory

AnyIndex = QModelIndex | QPersistentModelIndex
TIMELINE_ROLE = Qt.ItemDataRole.UserRole + 1
"""Start and end of a pass as shares of the time in view, or None while it is being read."""


class PassTable(QAbstractTableModel):
    """Rows of passes; a row that was not read yet is empty, and its block is asked for.

    Signals
    -------
    missing
        Some rows that are being looked at must be read.
    """

    missing = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._numbers: Sequence[int] | npt.NDArray[np.int64] = range(0)
        self._matches: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
        self._blocks: dict[int, PassRows] = {}
        self._wanted: dict[int, None] = {}
        self._origin = 0
        self._time: tuple[int, int] = (0, 1)
        self._rising = True

    @property
    def numbers(self) -> Sequence[int] | npt.NDArray[np.int64]:
        """The pass in each row."""
        return self._numbers

    def set_numbers(
        self,
        numbers: Sequence[int] | npt.NDArray[np.int64],
        matches: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None,
        rising: bool,
    ) -> None:
        """Show these passes; ``rising``: in order of time. ``matches``: pass numbers in order, and matching events of each."""
        self.beginResetModel()
        self._numbers, self._matches, self._rising = numbers, matches, rising
        self._blocks.clear()
        self._wanted.clear()
        self.endResetModel()

    def set_time(self, origin: int, first: int, last: int) -> None:
        """Say when the capture, and what is in view, starts and ends (ns)."""
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

    def take_wanted(self) -> tuple[int, ...]:
        """Return the blocks that were looked at and are missing, the latest last; they are then asked for."""
        wanted = tuple(self._wanted)[-KEPT // 4 :]
        self._wanted.clear()
        return wanted

    def set_blocks(self, blocks: dict[int, PassRows]) -> None:
        """Take over rows that were read."""
        for number, rows in blocks.items():
            self._blocks.pop(number, None)
            self._blocks[number] = rows
            first = number * BLOCK
            last = min(first + len(rows), len(self._numbers)) - 1
            if last >= first:
                self.dataChanged.emit(self.index(first, 0), self.index(last, len(COLUMNS) - 1))
        while len(self._blocks) > KEPT:
            del self._blocks[next(iter(self._blocks))]

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
                return COLUMNS[section].title
            if role == Qt.ItemDataRole.ToolTipRole:
                return COLUMNS[section].hint
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return self._side(COLUMNS[section])
        return None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return what a cell says."""
        shown = COLUMNS[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._side(shown)
        if role not in (Qt.ItemDataRole.DisplayRole, TIMELINE_ROLE):
            return None
        number = int(self._numbers[index.row()])
        if role == Qt.ItemDataRole.DisplayRole and shown.id == "id":
            return f"{number:,}"
        if role == Qt.ItemDataRole.DisplayRole and shown.id == "matches":
            return "" if self._matches is None else f"{_looked_up(self._matches, number):,}"
        rows = self._blocks.get(index.row() // BLOCK)
        if rows is None:
            self._want(index.row() // BLOCK)
            return None
        row = index.row() % BLOCK
        if role == TIMELINE_ROLE:
            return self._bar(rows, row)
        return shown.text(rows, row, self._origin) if shown.text is not None else None

    def _side(self, shown: Column) -> Qt.AlignmentFlag:
        side = Qt.AlignmentFlag.AlignLeft if shown.id in ("phase", "timeline") else Qt.AlignmentFlag.AlignRight
        return side | Qt.AlignmentFlag.AlignVCenter

    def _bar(self, rows: PassRows, row: int) -> tuple[float, float]:
        first, last = self._time
        start, end = (int(rows.header[name][row]) for name in ("t0_ns", "t1_ns"))
        return (start - first) / (last - first), (end - first) / (last - first)

    def _want(self, block: int) -> None:
        asked = bool(self._wanted)
        self._wanted.pop(block, None)
        self._wanted[block] = None
        if not asked:
            self.missing.emit()


def _looked_up(matches: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], number: int) -> int:
    place = int(np.searchsorted(matches[0], number))
    return int(matches[1][place]) if place < len(matches[0]) and matches[0][place] == number else 0
