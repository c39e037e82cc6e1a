"""Asks the model for an explanation: a button, then how far it is, a way to stop it, and a line about what went wrong."""

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QToolButton, QVBoxLayout, QWidget

from moedesk.session.explaining import Asking
from moedesk.ui.theme import LIGHT, Theme

WAITS = "Waits for the kernel: a cell runs, or the model is stopped at a breakpoint. It begins when that ends."
SOON = 400
"""Milliseconds after which a question that has not begun is said to wait."""


class AskBar(QWidget):
    """A line of controls, above it ``options`` of the question, and below it what is to be said.

    Signals
    -------
    asked, cancelled
    """

    asked = Signal()
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = LIGHT
        self._asking: Asking | None = None
        self.button = QPushButton()
        self.progress = QProgressBar()
        self.cancel = QToolButton()
        self.line = QLabel()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON)
        self._lay_out()
        self.button.clicked.connect(self.asked)
        self.cancel.clicked.connect(self.cancelled)
        self._soon.timeout.connect(self._say_progress)

    def _lay_out(self) -> None:
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(8)
        self.progress.setAccessibleName("How far the model is")
        self.cancel.setText("Cancel")
        self.cancel.setToolTip("Stop the model; what is stored already stays")
        self.line.setWordWrap(True)
        self.controls = QHBoxLayout()
        self.controls.setContentsMargins(0, 0, 0, 0)
        self.controls.addWidget(self.button)
        self.controls.addWidget(self.progress, 1)
        self.controls.addWidget(self.cancel)
        self.controls.addStretch(0)
        self.options = QHBoxLayout()
        self.options.setContentsMargins(0, 0, 0, 0)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 2, 6, 2)
        column.setSpacing(3)
        column.addLayout(self.options)
        column.addLayout(self.controls)
        column.addWidget(self.line)
        self.show_state("Explain", None, "", "")

    def show_state(self, verb: str, asking: Asking | None, problem: str, why_not: str, stored: str = "") -> None:
        """Show whether a question is under way, what went wrong with the last, or why none can be asked.

        Parameters
        ----------
        stored : str
            What is said instead of the controls where there is an explanation and new ones can't be asked for.
        """
        if asking is not None and self._asking is None:
            self._soon.start()
        elif asking is None:
            self._soon.stop()
        self._asking = asking
        self.button.setText(verb)
        only_stored = bool(why_not and stored)
        self.button.setVisible(asking is None and not only_stored)
        self.button.setEnabled(not why_not)
        self.button.setToolTip(why_not)
        self.progress.setVisible(asking is not None)
        self.cancel.setVisible(asking is not None)
        if asking is None:
            self.line.setToolTip(why_not)
            said = stored if only_stored else why_not
            self._say(problem or said, "error" if problem and problem != why_not else "muted")
        else:
            self._say_progress()

    def _say_progress(self) -> None:
        asking = self._asking
        if asking is None:
            return
        waits = not asking.began
        self.progress.setValue(round(1000 * min(max(asking.share, 0.0), 1.0)))
        if waits and self._soon.isActive():
            self._say("", "muted")
        else:
            self._say(WAITS if waits else asking.text or "The model runs …", "muted")

    def _say(self, text: str, role: str) -> None:
        self.line.setText(text)
        self.line.setVisible(bool(text))
        self.line.setStyleSheet(f"color: {self._theme.color(role).name()}")

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        if self._asking is not None:
            self._say_progress()
