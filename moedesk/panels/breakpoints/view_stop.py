"""Where the model stands: the slots of the token it stopped at."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QHeaderView,
    QLabel,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from moedesk.session.stop import Stop, weight_text
from moedesk.ui.row_table import RowTable
from moedesk.ui.theme import Theme

TITLES = ("Slot", "Expert", "Weight")


class StopView(QWidget):
    """A small table of slot, expert and weight; hidden while the model runs.

    Signals
    -------
    picked : int
        The expert of the slot that was clicked.
    """

    picked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.heading = QLabel("Stopped here")
        self.heading.setWordWrap(True)
        self.table = RowTable("Experts of the token", len(TITLES))
        self.table.setHorizontalHeaderLabels(list(TITLES))
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.cellClicked.connect(self._pick)
        self.setFixedWidth(210)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 4)
        column.setSpacing(4)
        column.addWidget(self.heading)
        column.addWidget(self.table, 1)
        self._stop: Stop | None = None
        self.hide()

    def show_stop(self, stop: Stop | None) -> None:
        """Show another stop; None while the model runs."""
        self._stop = stop
        self.setVisible(stop is not None)
        if stop is None:
            return
        self.heading.setText(stop.where)
        self.table.setRowCount(len(stop.slots))
        for row, slot in enumerate(stop.slots):
            named = slot.expert == stop.expert
            expert = "dropped" if slot.expert < 0 else f"{slot.expert} ◂" if named else f"{slot.expert}"
            for column, text in enumerate((str(row), expert, weight_text(slot.weight))):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                item.setToolTip("The expert the breakpoint names" if named and column == 1 else "")
                self.table.setItem(row, column, item)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.setStyleSheet(f"QLabel {{ color: {theme.text}; }}")

    def _pick(self, row: int, _: int) -> None:
        if self._stop is not None and self._stop.slots[row].expert >= 0:
            self.picked.emit(self._stop.slots[row].expert)
