"""A table of plain rows: read only, one row picked at a time, as high as its text."""

from collections.abc import Iterable

from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from moedesk.ui.plain_rows import show_plain_rows


class RowTable(QTableWidget):
    """A table without grid and row numbers whose columns are as wide as what they hold.

    Parameters
    ----------
    name : str
        What it is called for who can't see it.
    columns : int
    """

    def __init__(self, name: str, columns: int, parent: QWidget | None = None) -> None:
        super().__init__(0, columns, parent)
        show_plain_rows(self, name)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)

    def set_titles(self, titles: Iterable[tuple[str, str]]) -> None:
        """Name the columns: what each says above it, and what that means as its tool tip."""
        for place, (title, hint) in enumerate(titles):
            item = QTableWidgetItem(title)
            item.setToolTip(hint)
            self.setHorizontalHeaderItem(place, item)
