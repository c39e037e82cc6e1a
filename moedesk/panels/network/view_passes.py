"""The table of passes: order, sorting, columns, and what is marked in it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QModelIndex, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QPaintEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QMenu, QTableView, QWidget

from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store
from moedesk.panels.network.model_passes import (
    COLUMNS,
    Column,
    PassRows,
    SortKeys,
    column_hint,
    column_title,
    read_rows,
    runs,
    sort_keys,
)
from moedesk.panels.network.view_pass_table import PassTable
from moedesk.panels.network.view_rows import RowPainter
from moedesk.session.jobs import Ticket
from moedesk.session.session import Session
from moedesk.ui.follow_end import FollowEnd
from moedesk.ui.paced_question import PacedQuestion


class PassesView(QTableView):
    """The table of the passes in view, or of those that match the filter.

    Signals
    -------
    menu_asked : Selection, QPoint
    failed : str
        Something could not be read.
    """

    menu_asked = Signal(object, QPoint)
    failed = Signal(str)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._marking = False
        self._sort: tuple[Column, bool] | None = None
        self._keys: SortKeys | None = None
        self._found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
        self.table = PassTable(self)
        self._growing, self._sorting, self._rows = (
            PacedQuestion(session, f"network.{name}", self) for name in ("grow", "sort", "rows")
        )
        self.setModel(self.table)
        self.painter = RowPainter(self, self.table)
        self._set_up()
        self.end = FollowEnd(self, session, self._follows_rows)
        self._reading = QTimer(self)
        self._reading.setSingleShot(True)
        self._reading.setInterval(0)
        self._reading.timeout.connect(self._read)
        self.table.missing.connect(self._reading.start)
        self.selectionModel().currentRowChanged.connect(self._pick)
        self.customContextMenuRequested.connect(self._menu)
        self.horizontalHeader().customContextMenuRequested.connect(self._choose_columns)
        self.horizontalHeader().sectionClicked.connect(self._click_header)

    def _set_up(self) -> None:
        self.setAccessibleName("Passes")
        self.viewport().setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        rows = self.verticalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(self.fontMetrics().height() + 6)
        header = self.horizontalHeader()
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.setSectionsClickable(True)
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        header.setMinimumSectionSize(36)
        width = self.fontMetrics().averageCharWidth()
        for place, shown in enumerate(COLUMNS):
            widest = {
                "phase": 20,
                "timeline": 24,
                "shape": 11,
                "start": 14,
                "time": 10,
                "matches": 10,
                "label": 12,
            }.get(shown.id, 8)
            self.setColumnWidth(place, width * max(widest, len(shown.title) + 3))
            self.setColumnHidden(place, not shown.shown or shown.id == "matches")

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the rows in view."""
        self.painter.paint(event.rect())

    def refresh(self, changed: frozenset[str]) -> None:
        """Take over what changed in the session."""
        if "store" in changed:
            digits = len(f"{self._session.store.n_passes:,}")
            self.setColumnWidth(_place("id"), self.fontMetrics().averageCharWidth() * (max(digits, 5) + 3))
        grows = self._session.live is not None and len(self.table.numbers) > 0
        if changed & {"window", "found"} or ("store" in changed and not grows):
            self._order()
        elif "store" in changed:
            self._grow()
        if self.table.conventions != self._session.conventions:
            self.table.choose_conventions(self._session.conventions)
            changed |= {"labels"}
        if "labels" in changed:
            self.table.forget_rows()
            self._keys = None
            self._order()
            self.viewport().update()
        if changed & {"store", "window", "found", "selection", "cursor"}:
            self._mark()
        if changed & {"store", "window", "found", "live"}:
            self.end.keep()

    def set_found(self, passes: npt.NDArray[np.int64] | None, matches: npt.NDArray[np.int64] | None) -> None:
        """Show only these passes (in order), with so many matching events each; all with None."""
        self._found = None if passes is None or matches is None else (passes, matches)
        self.setColumnHidden(_place("matches"), self._found is None)
        self.refresh(frozenset({"found"}))

    def _window(self) -> tuple[int, int]:
        return self._session.window or (0, self._session.store.n_passes)

    def _follows_rows(self) -> bool:
        """Whether the last row is the newest pass that is shown."""
        return self._sort is None and self._session.cursor is None

    def _shown_numbers(self) -> tuple[Sequence[int] | npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
        """Return the passes of the window that match, in order of time, and the matching events of each."""
        first, last = self._window()
        if self._found is None:
            return range(first, last), None
        passes, counts = self._found
        low, high = np.searchsorted(passes, (first, last))
        return passes[low:high], counts[low:high]

    def _order(self) -> None:
        """Show the passes of the window that match, in time's order at once, and sorted when that has been worked out."""
        self._ask_growth()
        if self._sort is None:
            self._sorting.cancel()
            self.table.set_numbers(self._shown_numbers()[0], self._found, True)
            return
        if not len(self.table.numbers):
            self.table.set_numbers(self._shown_numbers()[0], self._found, True)
        self._ask_order(urgent=True)

    def _ask_order(self, urgent: bool) -> None:
        """Sort, reading only what was not read for it before."""
        assert self._sort is not None
        store, matches, (numbers, counts) = self._session.store, self._found, self._shown_numbers()
        column, descending = self._sort
        conventions = self._session.conventions

        def work(ticket: Ticket) -> tuple[SortKeys, npt.NDArray[np.int64]]:
            keys = sort_keys(store, numbers, column, ticket, counts, self._keys, conventions)
            return keys, keys.order(descending)

        def done(answer: tuple[SortKeys, npt.NDArray[np.int64]]) -> None:
            self._keys = answer[0]
            self.table.set_numbers(answer[1], matches, False)
            self._mark()

        self._sorting.ask(work, done, self._fail, urgent=urgent)

    def _grow(self) -> None:
        """Take in new passes, if the window and the filter let them in."""
        if self._session.window is not None:
            return
        self._ask_growth()
        if self._sort is not None:
            self._ask_order(urgent=False)

    def _ask_growth(self) -> None:
        """Ask for the time in view; where the end is followed, for the values of the newest passes too, to show with them."""
        session, store, needs = self._session, self._session.store, self._needs()
        window, conventions = session.window, session.conventions
        tail = self.end.follows and window is None and self._found is None
        visible = self.viewport().height() // max(self.verticalHeader().defaultSectionSize(), 1) + 2

        def work(_: Ticket) -> tuple[int, tuple[int, int, int], PassRows | None]:
            first, last = window or (0, store.n_passes)
            start = self.table.missing_from(max(last - visible, 0), last) if tail else last
            rows = read_rows(store, range(start, last), needs, conventions) if start < last else None
            return last, _times(store, first, last), rows

        def done(answer: tuple[int, tuple[int, int, int], PassRows | None]) -> None:
            last, times, rows = answer
            self.table.set_time(*times)
            if rows is not None:
                self.table.set_rows(rows)
            if window is None and session.window is None and self._found is None and self._sort is None:
                self.table.set_numbers(range(0, max(last, len(self.table.numbers))), None, True)
                self._mark()
                self.executeDelayedItemsLayout()  # now, not after a first paint
                self.end.keep()
            self._redraw_timeline()

        self._growing.ask(work, done, self._fail, urgent=session.live is None)

    def _redraw_timeline(self) -> None:
        """Draw the bars anew: the time in view has grown."""
        place = _place("timeline")
        if not self.isColumnHidden(place):
            left, width = self.columnViewportPosition(place), self.columnWidth(place)
            self.viewport().update(left, 0, width, self.viewport().height())

    def _needs(self) -> str:
        """Return the dearest that the columns shown need."""
        needs = {shown.needs for place, shown in enumerate(COLUMNS) if not self.isColumnHidden(place)}
        return next(need for need in ("routes", "counts", "header") if need in needs)

    def _read(self) -> None:
        store, needs, conventions = self._session.store, self._needs(), self._session.conventions
        wanted = self.table.take_wanted()
        if len(wanted):
            self._rows.ask(lambda _: read_rows(store, wanted, needs, conventions), self.table.set_rows, self._fail)

    def _fail(self, error: Exception) -> None:
        self.failed.emit(f"The passes could not be read: {error}")

    def _mark(self) -> None:
        """Mark and show the row of the cursor, else of the selected pass."""
        cursor, selected = self._session.cursor, self._session.selection.pass_id
        number = cursor if cursor is not None else selected
        row = None if number is None else self.table.row_of(number)
        self._marking = True
        if row is None:
            self.clearSelection()
            self.setCurrentIndex(QModelIndex())
        elif row != self.currentIndex().row():
            self.setCurrentIndex(self.table.index(row, max(self.currentIndex().column(), 0)))
            self.scrollTo(self.currentIndex(), QAbstractItemView.ScrollHint.EnsureVisible)
        self._marking = False

    def _pick(self, current: QModelIndex) -> None:
        if self._marking or not current.isValid():
            return
        number = int(self.table.numbers[current.row()])
        self._session.select(Selection(Kind.PASS, pass_id=number))
        if self._session.cursor is not None:
            self._session.seek(number)

    def _menu(self, position: QPoint) -> None:
        index = self.indexAt(position)
        if index.isValid():
            number = int(self.table.numbers[index.row()])
            self.menu_asked.emit(Selection(Kind.PASS, pass_id=number), self.viewport().mapToGlobal(position))

    @property
    def selected_spans(self) -> list[tuple[int, int]]:
        """The passes of the selected rows, as ranges first…last, end excluded."""
        numbers = sorted(int(self.table.numbers[index.row()]) for index in self.selectionModel().selectedRows())
        return list(runs(numbers))

    def _click_header(self, section: int) -> None:
        """Sort by a column: first upwards, then downwards, then by time again."""
        column = COLUMNS[section]
        if self._sort is None or self._sort[0] is not column:
            self._sort = (column, False)
        else:
            self._sort = (column, True) if not self._sort[1] else None
        header = self.horizontalHeader()
        header.setSortIndicatorShown(self._sort is not None)
        if self._sort is not None:
            order = Qt.SortOrder.DescendingOrder if self._sort[1] else Qt.SortOrder.AscendingOrder
            header.setSortIndicator(section, order)
        self._order()
        self._mark()
        self.end.keep()

    def column_menu(self) -> QMenu:
        """Return the menu that chooses columns."""
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        for place, shown in enumerate(COLUMNS):
            action = QAction(column_title(shown, self._session.conventions), menu)
            action.setCheckable(True)
            action.setToolTip(column_hint(shown, self._session.conventions))
            action.setChecked(not self.isColumnHidden(place))
            action.setEnabled(shown.id != "id")
            action.toggled.connect(lambda on, place=place: self._show_column(place, on))
            menu.addAction(action)
        return menu

    def _choose_columns(self, position: QPoint) -> None:
        menu = self.column_menu()
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.horizontalHeader().mapToGlobal(position))

    def _show_column(self, place: int, shown: bool) -> None:
        self.setColumnHidden(place, not shown)
        if shown and COLUMNS[place].needs != "header":
            self.table.forget_rows()
            self.viewport().update()

    def shown_columns(self) -> list[str]:
        """Return the ids of the columns shown."""
        return [shown.id for place, shown in enumerate(COLUMNS) if not self.isColumnHidden(place)]

    def show_columns(self, ids: Sequence[str]) -> None:
        """Show the columns with these ids."""
        for place, shown in enumerate(COLUMNS):
            if shown.id not in ("id", "matches"):
                self.setColumnHidden(place, shown.id not in ids)


def _times(store: Store, first: int, last: int) -> tuple[int, int, int]:
    """Return when the capture starts, and passes first…last start and end (ns)."""
    if last <= first:
        return 0, 0, 1
    start, end = store.read_passes(first, first + 1)[0], store.read_passes(last - 1, last)[0]
    return int(store.read_passes(0, 1)["t0_ns"][0]), int(start["t0_ns"]), int(end["t1_ns"])


def _place(column_id: str) -> int:
    return next(place for place, column in enumerate(COLUMNS) if column.id == column_id)
