"""What the console shows while there is no kernel."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from moedesk.panels.console.model_state import START_HINT


class NoKernel(QWidget):
    """Says what to do, with a button for it.

    Signals
    -------
    start, connect_asked :
        A button was pressed.
    """

    start = Signal()
    connect_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        line = QLabel(START_HINT, wordWrap=True, alignment=Qt.AlignmentFlag.AlignCenter)
        self.start_button = QPushButton("Start kernel")
        self.connect_button = QPushButton("Connect to a running kernel…")
        self.start_button.clicked.connect(self.start)
        self.connect_button.clicked.connect(self.connect_asked)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(self.start_button)
        row.addWidget(self.connect_button)
        row.addStretch()
        column = QVBoxLayout(self)
        column.addStretch()
        column.addWidget(line)
        column.addLayout(row)
        column.addStretch()
