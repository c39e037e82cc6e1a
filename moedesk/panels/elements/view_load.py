"""A layer's load: the chart, how to sort it, and the numbers."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from moedesk.analysis.conventions import Conventions
from moedesk.analysis.load import LayerLoad
from moedesk.panels.elements.model_load import bars, idle_text, numbers
from moedesk.panels.elements.view_chart import LoadChart
from moedesk.panels.elements.view_facts import FactTiles, text_label
from moedesk.ui.theme import Theme

NO_SLOTS = "Nothing was routed here in these passes. Brush more passes in Network, or move the replay cursor on."


class LoadView(QWidget):
    """Shows one layer's load; ``picked`` names an expert that was clicked."""

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._load: LayerLoad | None = None
        self._conventions = Conventions()
        self._expert = -1
        self.title = QLabel("Load per expert")
        self.sort = QComboBox()
        self.sort.addItems(["By expert", "By load"])
        self.sort.setAccessibleName("Order of the bars")
        self.chart = LoadChart()
        self.idle = text_label("")
        self.idle.setProperty("warning", True)
        self.empty = text_label("")
        self.empty.setProperty("muted", True)
        self.tiles = FactTiles()
        bar = QHBoxLayout()
        bar.addWidget(self.title)
        bar.addStretch()
        bar.addWidget(self.sort)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(bar)
        column.addWidget(self.empty)
        column.addWidget(self.chart, 1)
        column.addWidget(self.idle)
        column.addWidget(self.tiles)
        self.sort.currentIndexChanged.connect(lambda _: self._draw())
        self.chart.picked.connect(self.picked)

    @property
    def by_load(self) -> bool:
        """Whether the bars fall from left to right."""
        return self.sort.currentIndex() == 1

    def set_load(self, load: LayerLoad | None, expert: int = -1, with_numbers: bool = True) -> None:
        """Show a layer's load with one expert marked; None while it isn't known."""
        self._load, self._expert = load, expert
        self.tiles.setVisible(with_numbers and load is not None and load.slots > 0)
        self._draw()

    def set_conventions(self, new: Conventions) -> None:
        """Show the numbers by other definitions."""
        if new != self._conventions:
            self._conventions = new
            self._draw()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.chart.theme = theme
        self.chart.update()

    def _draw(self) -> None:
        drawn = bars(self._load, self.by_load) if self._load is not None else None
        self.chart.set_bars(drawn, self._expert)
        self.chart.setVisible(drawn is not None)
        self.sort.setVisible(drawn is not None)
        self.empty.setText("Counting …" if self._load is None else NO_SLOTS)
        self.empty.setVisible(drawn is None)
        idle = idle_text(self._load) if self._load is not None else ""
        self.idle.setText(idle)
        self.idle.setVisible(bool(idle))
        self.tiles.set_facts(
            numbers(self._load, self._conventions) if self._load is not None and self._load.slots else []
        )
