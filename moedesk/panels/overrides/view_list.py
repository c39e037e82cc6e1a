"""The list of overrides: switched with Space, named with F2, changed with Enter, removed with Delete."""

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from moedesk.core.selection import Selection
from moedesk.panels.overrides.model_rows import COLUMNS, Column
from moedesk.panels.overrides.view_list_model import NAME, WHAT, ListModel
from moedesk.session.overriding import Entry
from moedesk.ui.plain_rows import show_plain_rows

ROOM: dict[Column, int] = {"name": 520, "acted": 420}
"""Width from which on a column is shown; the tooltip has it too."""
_SAMPLES: dict[Column, str] = {
    "what": "M☑ Temperature 0.55",
    "layers": "● 0, 2–7, 12",
    "experts": "17, 33–37",
    "where": "columns 12:128 · prefill",
    "acted": "Rows changed M",
}


class OverridesList(QTableView):
    """Shows a ``ListModel``.

    Signals
    -------
    change_asked, remove_asked : Entry
    menu_asked : Entry, QPoint
    """

    change_asked = Signal(object)
    remove_asked = Signal(object)
    menu_asked = Signal(object, QPoint)

    def __init__(self) -> None:
        super().__init__()
        self.rows = ListModel(self)
        self.setModel(self.rows)
        show_plain_rows(self, "Overrides", room=10)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        header = self.horizontalHeader()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column, sample in _SAMPLES.items():
            self.setColumnWidth(COLUMNS.index(column), self.fontMetrics().horizontalAdvance(sample) + 16)
        self.doubleClicked.connect(self._double_click)
        self.customContextMenuRequested.connect(self._ask_menu)

    @property
    def current(self) -> Entry | None:
        """The override that the keyboard is on."""
        return self.rows.entry(self.currentIndex())

    def set_entries(self, entries: tuple[Entry, ...], editable: bool) -> None:
        """Show other rows; the keyboard stays on the same override, or near it."""
        current, row = self.current, self.currentIndex().row()
        self.rows.set_entries(entries, editable)
        if current is None or not entries:
            return
        found = self.rows.row_of(current.id)
        if found != self.currentIndex().row():
            self.setCurrentIndex(self.rows.index(min(row, len(entries) - 1) if found is None else found, WHAT))

    def show_entry(self, number: int) -> None:
        """Put the keyboard on an override."""
        row = self.rows.row_of(number)
        if row is not None:
            self.setCurrentIndex(self.rows.index(row, WHAT))

    def show_selection(self, selection: Selection) -> None:
        """Mark what is about the selected layer or expert."""
        self.rows.set_selection(selection)

    def edit_name(self) -> None:
        """Let the current override's name be typed."""
        self.setColumnHidden(NAME, False)
        self.edit(self.rows.index(self.currentIndex().row(), NAME))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Take Space, F2, Enter and Delete wherever in a row the keyboard is."""
        entry = self.current
        if entry is None or self.state() == QAbstractItemView.State.EditingState:
            super().keyPressEvent(event)
            return
        match event.key():
            case Qt.Key.Key_Space:
                state = Qt.CheckState.Unchecked if entry.on else Qt.CheckState.Checked
                index = self.rows.index(self.currentIndex().row(), WHAT)
                self.rows.setData(index, state, Qt.ItemDataRole.CheckStateRole)
            case Qt.Key.Key_F2:
                self.edit_name()
            case Qt.Key.Key_Return | Qt.Key.Key_Enter:
                self.change_asked.emit(entry)
            case Qt.Key.Key_Delete | Qt.Key.Key_Backspace:
                self.remove_asked.emit(entry)
            case _:
                super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave out columns for which there is no room."""
        super().resizeEvent(event)
        for column, room in ROOM.items():
            self.setColumnHidden(COLUMNS.index(column), event.size().width() < room)

    def _double_click(self, index: QModelIndex) -> None:
        entry = self.rows.entry(index)
        if entry is not None and index.column() != NAME:
            self.change_asked.emit(entry)

    def _ask_menu(self, position: QPoint) -> None:
        index = self.indexAt(position)
        entry = self.rows.entry(index)
        if entry is not None:
            self.setCurrentIndex(index)
            self.menu_asked.emit(entry, self.viewport().mapToGlobal(position))
