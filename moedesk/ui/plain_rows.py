"""How tables of plain rows look, whatever is in them: no grid, no row numbers, one row high as its text."""

from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

ROOM = 6
"""Pixels of a row beside its text."""


def show_plain_rows(view: QTableView, name: str, room: int = ROOM) -> None:
    """Have a table look and behave like all others of the window: one row or cell is picked at a time, Tab leaves it.

    Parameters
    ----------
    name : str
        What it is called for who can't see it.
    room : int
        Pixels of a row beside its text.
    """
    view.setAccessibleName(name)
    view.setShowGrid(False)
    view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    view.setTabKeyNavigation(False)
    view.verticalHeader().hide()
    view.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    view.verticalHeader().setDefaultSectionSize(view.fontMetrics().height() + room)
    view.horizontalHeader().setHighlightSections(False)
