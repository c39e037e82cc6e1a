"""The bar of an audit: run, progress, cancel, what was audited, copy and save."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QMenu, QProgressBar, QPushButton, QToolButton, QWidget

from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.icons import icon
from moedesk.ui.theme import Theme


class AuditBar(QWidget):
    """Buttons and one line of text.

    Signals
    -------
    run_asked, cancel_asked
    copy_asked : str
        ``text`` or ``json``.
    save_asked
    """

    run_asked = Signal()
    cancel_asked = Signal()
    copy_asked = Signal(str)
    save_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.run_button = QPushButton("Run audit")
        self.run_button.setToolTip("Look at every pass again (F5)")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop the audit (Esc); what was found before stays")
        self.progress = QProgressBar()
        self.progress.setRange(0, 100)
        self.progress.setFixedWidth(120)
        self.progress.setMaximumHeight(16)
        self.progress.setAccessibleName("Progress of the audit")
        self.line = ElidedLabel()
        self.copy_button = QToolButton()
        self.copy_button.setText("Copy ▾")
        self.copy_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.copy_button.setToolTip("Copy the whole audit")
        self.copy_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.copy_button)
        menu.addAction("Copy as text", lambda: self.copy_asked.emit("text"))
        menu.addAction("Copy as JSON", lambda: self.copy_asked.emit("json"))
        self.copy_button.setMenu(menu)
        self.save_button = QToolButton()
        self.save_button.setText("Save…")
        self.save_button.setToolTip("Save the whole audit to a file")
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 4, 6, 4)
        row.setSpacing(6)
        for button in (self.run_button, self.cancel_button, self.progress):
            row.addWidget(button)
        row.addWidget(self.line, 1)
        for tool in (self.copy_button, self.save_button):
            tool.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
            row.addWidget(tool)
        self.run_button.clicked.connect(self.run_asked)
        self.cancel_button.clicked.connect(self.cancel_asked)
        self.save_button.clicked.connect(self.save_asked)
        self.set_running(False)
        self.set_report(False)

    def set_running(self, running: bool) -> None:
        """Show progress and Cancel in place of Run, or the other way round; the keyboard stays with whichever is shown."""
        had_focus = self.run_button.hasFocus() or self.cancel_button.hasFocus()
        self.progress.setValue(0)
        self.run_button.setVisible(not running)
        self.cancel_button.setVisible(running)
        self.progress.setVisible(running)
        if had_focus:
            (self.cancel_button if running else self.run_button).setFocus()

    def set_progress(self, share: float) -> None:
        """Show how far the audit has come, 0 to 1."""
        self.progress.setValue(round(100 * share))

    def set_report(self, there: bool) -> None:
        """Offer to copy and save, or not."""
        self.copy_button.setEnabled(there)
        self.save_button.setEnabled(there)

    def set_theme(self, theme: Theme) -> None:
        """Redraw the icons."""
        self.run_button.setIcon(icon("audits", theme))
        self.cancel_button.setIcon(icon("stop", theme))
