"""The list of findings: grouped, sorted by a click on a heading, driven by mouse or keyboard."""

from PySide6.QtCore import QModelIndex, QPoint, QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QStyledItemDelegate, QStyleOptionViewItem, QTreeView

from moedesk.core.selection import Selection
from moedesk.panels.audits.model_findings import COLUMNS, NOT_JUDGED, PASSED, Column, Entry, Group
from moedesk.panels.audits.view_list_model import Index, ListModel
from moedesk.ui.theme import Theme

COLLAPSED = (PASSED, NOT_JUDGED)
"""Groups that start closed, as in Lighthouse."""
ROOM: dict[Column, int] = {"confidence": 480, "category": 600}
"""Width from which on a column is shown; the details have it too."""


class Roomy(QStyledItemDelegate):
    """Rows with some room above and below the text."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        """Return a line's height and some room."""
        return QSize(super().sizeHint(option, index).width(), option.fontMetrics.height() + 8)


class FindingsList(QTreeView):
    """Shows groups of findings.

    Signals
    -------
    picked : Entry or Quiet or None
        Another row became the current one.
    opened : Entry
        Double click or Enter on a finding.
    menu_asked : Entry, QPoint
    sort_asked : str, bool
        Sort by a column, descending or not.
    """

    picked = Signal(object)
    opened = Signal(object)
    menu_asked = Signal(object, QPoint)
    sort_asked = Signal(str, bool)

    def __init__(self) -> None:
        super().__init__()
        self.rows = ListModel(self)
        self._open: dict[str, bool] = {}
        self._filling = False
        self.setModel(self.rows)
        self.setItemDelegate(Roomy(self))
        self.setAccessibleName("Findings")
        self.setUniformRowHeights(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAllColumnsShowFocus(True)
        self.setExpandsOnDoubleClick(True)
        self.setIndentation(14)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header = self.header()
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(0, Qt.SortOrder.AscendingOrder)
        header.setStretchLastSection(False)
        header.setSectionsMovable(False)
        header.setMinimumSectionSize(40)
        header.setSectionResizeMode(COLUMNS.index("title"), QHeaderView.ResizeMode.Stretch)
        for column, sample in (
            ("severity", "MWarning"),
            ("where", "● expert 88.888"),
            ("confidence", "Confidence M"),
        ):
            place = COLUMNS.index(column)
            extra = 62 if column == "severity" else 12
            self.setColumnWidth(place, self.fontMetrics().horizontalAdvance(sample) + extra)
        header.sectionClicked.connect(self._sort)
        self.selectionModel().currentChanged.connect(self._moved)
        self.activated.connect(self._activate)
        self.customContextMenuRequested.connect(self._ask_menu)
        self.expanded.connect(lambda index: self._folded(index, True))
        self.collapsed.connect(lambda index: self._folded(index, False))

    @property
    def current(self) -> Entry | None:
        """The finding that the keyboard is on."""
        row = self.rows.row_of(self.currentIndex())
        return row if isinstance(row, Entry) else None

    def set_groups(self, groups: tuple[Group, ...]) -> None:
        """Show other groups; what was open or closed, and the current finding, stay where they are still there."""
        current = self.current
        self._filling = True
        self.rows.set_groups(groups)
        for place, group in enumerate(groups):
            heading = self.rows.index(place, 0)
            self.setFirstColumnSpanned(place, QModelIndex(), True)
            self.setExpanded(heading, self._open.get(group.key, group.key not in COLLAPSED))
        self._filling = False
        if current is not None:
            self.setCurrentIndex(self.rows.index_of(current.number))

    def show_first(self) -> Entry | None:
        """Put the keyboard on the first finding without picking it; return it, or None if there is none."""
        for group in self.rows.groups:
            for entry in group.entries:
                if isinstance(entry, Entry):
                    self._filling = True
                    self.setCurrentIndex(self.rows.index_of(entry.number))
                    self._filling = False
                    return entry
        return None

    def show_selection(self, selection: Selection) -> None:
        """Mark what is about a layer or an expert, and bring the first such row into view."""
        self.rows.set_selection(selection)
        first = self.rows.first_marked()
        current = self.current
        if first.isValid() and (current is None or not current.is_about(selection)):
            self.scrollTo(first)

    def show_sorted(self, column: Column, descending: bool) -> None:
        """Put the arrow on a heading."""
        order = Qt.SortOrder.DescendingOrder if descending else Qt.SortOrder.AscendingOrder
        self.header().setSortIndicator(COLUMNS.index(column), order)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.rows.set_theme(theme)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave out columns for which there is no room."""
        super().resizeEvent(event)
        for column, room in ROOM.items():
            self.setColumnHidden(COLUMNS.index(column), event.size().width() < room)

    def _folded(self, index: QModelIndex, is_open: bool) -> None:
        if not self._filling and index.row() < len(self.rows.groups):
            self._open[self.rows.groups[index.row()].key] = is_open

    def _sort(self, section: int) -> None:
        header = self.header()
        column: Column = COLUMNS[section]
        self.sort_asked.emit(column, header.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder)

    def _moved(self, index: QModelIndex) -> None:
        if not self._filling:
            self.picked.emit(self.rows.row_of(index))

    def _activate(self, index: QModelIndex) -> None:
        entry = self.rows.row_of(index)
        if isinstance(entry, Entry):
            self.opened.emit(entry)

    def _ask_menu(self, position: QPoint) -> None:
        entry = self.rows.row_of(self.indexAt(position))
        if isinstance(entry, Entry):
            self.menu_asked.emit(entry, self.viewport().mapToGlobal(position))
