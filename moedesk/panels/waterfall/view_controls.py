"""The Waterfall panel's toolbar: what to colour by, which curves over which window, follow."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QToolButton, QToolTip, QWidget

from moedesk.analysis.balance import BALANCE
from moedesk.analysis.conventions import Conventions, hint, title
from moedesk.analysis.waterfall_measure import MEASURES
from moedesk.panels.waterfall.model import WINDOWS, window_help, window_title
from moedesk.ui.measure_legend import MeasureLegend
from moedesk.ui.theme import Theme

HELP = """Click an expert to select it; double-click to zoom into its layer and back.
Wheel zooms the passes (Ctrl: experts, Shift: scrolls), drag moves; scrolled back, new passes wait at the right.
Drag below the picture to brush passes; double-click there shows all.
Curves: a line a layer, the selected one in the colour of text. With more than 16 layers a band from the least to the most,
the median in grey, and in red the layer that is least even in the last column, which the title names.
Keys: arrows, Shift+arrows brush, + −, Return a layer, Page up and down scroll, End follows the newest, Home shows all."""


class Controls(QWidget):
    """Says what was chosen.

    Signals
    -------
    measure_chosen, curves_chosen, all_asked
    window_chosen : int
    follow_chosen : bool
    """

    measure_chosen = Signal()
    window_chosen = Signal(int)
    curves_chosen = Signal()
    follow_chosen = Signal(bool)
    all_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.measures = _chooser("Colour by", [(m.title, m.key, m.convention) for m in MEASURES.values()])
        whole = "All three, one above the other"
        metrics = [(title(key), key, hint(key)) for key in BALANCE]
        self.metrics = _chooser("Curves", [("All curves", "all", whole), *metrics, ("No curves", "none", "")])
        self.windows = _chooser("Window", [(window_title(window), window, window_help()) for window in WINDOWS])
        self.windows.setToolTip(window_help())
        self.follow = QToolButton()
        self.follow.setText("Follow")
        self.follow.setCheckable(True)
        self.follow.setChecked(True)
        self.follow.setToolTip("Keep the newest pass at the right edge (End)")
        self.all = QToolButton()
        self.all.setText("Show all")
        self.all.setToolTip("Show all layers and all passes (Home)")
        self.help = QToolButton()
        self.help.setAutoRaise(True)
        self.help.setText("?")
        self.help.setToolTip(HELP)
        self.help.setAccessibleName("How to use the picture")
        self.legend = MeasureLegend()
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 2, 8, 0)
        row.addWidget(QLabel("Colour by"))
        for widget in (self.measures, self.metrics, self.windows, self.follow, self.all, self.help):
            row.addWidget(widget)
        row.addStretch(1)
        self.measures.currentIndexChanged.connect(lambda _: self.measure_chosen.emit())
        self.metrics.currentIndexChanged.connect(lambda _: self.curves_chosen.emit())
        self.windows.currentIndexChanged.connect(lambda _: self.window_chosen.emit(self.window_passes))
        self.follow.toggled.connect(self.follow_chosen)
        self.all.clicked.connect(self.all_asked)
        self.help.clicked.connect(self._show_help)

    @property
    def measure(self) -> str:
        """Key of the measure chosen."""
        return str(self.measures.currentData())

    @property
    def window_passes(self) -> int:
        """Passes that the balance is computed over; 0 for automatic."""
        return int(self.windows.currentData())

    @property
    def curves(self) -> tuple[str, ...]:
        """Keys of the metrics chosen."""
        chosen = str(self.metrics.currentData())
        return BALANCE if chosen == "all" else () if chosen == "none" else (chosen,)

    def set_conventions(self, conventions: Conventions) -> None:
        """Name the curves as they are chosen."""
        for key in BALANCE:
            place = self.metrics.findData(key)
            self.metrics.setItemText(place, title(conventions.of(key)))
            tip = f"{hint(conventions.of(key))}\nView > Conventions chooses another definition"
            self.metrics.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)

    def set_follow(self, follow: bool) -> None:
        """Show whether the newest pass is kept in sight."""
        self.follow.setChecked(follow)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.legend.set_theme(theme)

    def _show_help(self) -> None:
        QToolTip.showText(self.help.mapToGlobal(self.help.rect().bottomLeft()), HELP, self.help)

    def save_state(self) -> dict[str, object]:
        """Return what is chosen."""
        return {"measure": self.measure, "curves": self.metrics.currentData(), "window": self.window_passes}

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over what ``save_state`` returned; what doesn't fit is left as it is."""
        for chooser, name in ((self.measures, "measure"), (self.metrics, "curves"), (self.windows, "window")):
            place = chooser.findData(state.get(name))
            if place >= 0:
                chooser.setCurrentIndex(place)


def _chooser(name: str, choices: list[tuple[str, object, str]]) -> QComboBox:
    chooser = QComboBox()
    chooser.setAccessibleName(name)
    chooser.setMinimumWidth(70)  # narrower than its texts: the panel may be small
    for place, (text, data, tip) in enumerate(choices):
        chooser.addItem(text, data)
        chooser.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)
    return chooser
