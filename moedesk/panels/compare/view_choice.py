"""The bar that says what is compared with what."""

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from moedesk.analysis.diff.verdict import PRECISION
from moedesk.session.session import Session
from moedesk.ui.elided_label import ElidedLabel

_OPEN = "Open another capture…"
_FORMS = (
    ("json", "Copy as JSON"),
    ("csv", "Copy the layers as CSV"),
    ("command", "Copy the command line"),
)


class ChoiceBar(QWidget):
    """A, B, precision, and what runs.

    Signals
    -------
    chosen : Session or None
        Compare with this one.
    open_asked : Path or None
        Open this capture, or one that the user picks.
    copy_asked : str
        ``json``, ``csv`` or ``command``.
    swap_asked, again_asked, cancel_asked, precision_changed
    """

    chosen = Signal(object)
    open_asked = Signal(object)
    copy_asked = Signal(str)
    swap_asked = Signal()
    again_asked = Signal()
    cancel_asked = Signal()
    precision_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.mine, self.letter, self.other_letter = ElidedLabel(), QLabel("A"), QLabel("B")
        self.swap = QToolButton()
        self.swap.setText("⇄")
        self.swap.setToolTip("Swap A and B: rates stay, margins and relative errors are those of A")
        self.other = QComboBox()
        self.other.setAccessibleName("What to compare with")
        self.other.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.other.setMinimumContentsLength(12)
        self.other.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.precision = QComboBox()
        self.precision.setAccessibleName("Precision that noise is measured by")
        self.precision.addItem("Precision as recorded", None)
        for name in sorted(PRECISION, key=PRECISION.__getitem__):
            self.precision.addItem(name, name)
        self.precision.setToolTip(
            "What the coarser one computed in: rounding in it counts as noise.\n"
            "A float32 model that computes in TF32 has to be said."
        )
        self.again = QPushButton("Compare again")
        self.progress = QProgressBar()
        self.progress.setMaximumWidth(120)
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName("How much is compared")
        self.cancel = QPushButton("Cancel")
        self.copy = QToolButton()
        self.copy.setText("Copy")
        self.copy.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.copy)
        for form, title in _FORMS:
            menu.addAction(title).triggered.connect(lambda _=False, form=form: self.copy_asked.emit(form))
        self.copy.setMenu(menu)
        self._lay_out()
        self._connect()
        self.set_running(None)
        self.set_again(False)

    def _lay_out(self) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 4, 8, 4)
        row.setSpacing(6)
        for widget, stretch in (
            (self.letter, 0),
            (self.mine, 2),
            (self.swap, 0),
            (self.other_letter, 0),
            (self.other, 3),
            (self.precision, 0),
            (self.again, 0),
            (self.progress, 0),
            (self.cancel, 0),
            (self.copy, 0),
        ):
            row.addWidget(widget, stretch)
        for label in (self.letter, self.other_letter):
            font = label.font()
            font.setBold(True)
            label.setFont(font)

    def _connect(self) -> None:
        self.swap.clicked.connect(self.swap_asked)
        self.again.clicked.connect(self.again_asked)
        self.cancel.clicked.connect(self.cancel_asked)
        self.precision.activated.connect(lambda _: self.precision_changed.emit())
        self.other.activated.connect(self._activate)

    def set_swapped(self, swapped: bool) -> None:
        """Say which of the two is A."""
        self.letter.setText("B" if swapped else "A")
        self.other_letter.setText("A" if swapped else "B")

    def set_others(self, others: tuple[Session, ...], chosen: Session | None, recent: tuple[Path, ...]) -> None:
        """Offer open sessions, captures that were opened lately, and to open another one."""
        self.other.blockSignals(True)
        self.other.clear()
        self.other.addItem("Choose a capture" if chosen is None else "Nothing", None)
        for session in others:
            self.other.addItem(session.label, session)
            self.other.setItemData(
                self.other.count() - 1, str(session.path or session.label), Qt.ItemDataRole.ToolTipRole
            )
            if session is chosen:
                self.other.setCurrentIndex(self.other.count() - 1)
        self.other.insertSeparator(self.other.count())
        for path in recent:
            self.other.addItem(f"Open {path.name}", path)
            self.other.setItemData(self.other.count() - 1, str(path), Qt.ItemDataRole.ToolTipRole)
        self.other.addItem(_OPEN, _OPEN)
        self.other.blockSignals(False)

    def set_running(self, share: float | None) -> None:
        """Show how much is done, or that nothing runs."""
        running = share is not None
        self.progress.setVisible(running)
        self.cancel.setVisible(running)
        self.progress.setValue(round(100 * share) if share is not None else 0)

    def set_again(self, offered: bool, hint: str = "") -> None:
        """Offer to compare again, or don't."""
        self.again.setVisible(offered)
        self.again.setToolTip(hint)

    def _activate(self, place: int) -> None:
        data = self.other.itemData(place)
        if data == _OPEN:
            self.open_asked.emit(None)
        elif isinstance(data, Path):
            self.open_asked.emit(data)
        else:
            self.chosen.emit(data)
