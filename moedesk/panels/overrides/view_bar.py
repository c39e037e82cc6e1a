"""The bar of the Overrides panel: add, undo, redo, clear, and a menu for files and the clipboard."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QMenu, QPushButton, QToolButton, QWidget

from moedesk.session.overriding import Told
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.icons import icon
from moedesk.ui.theme import Theme


class OverridesBar(QWidget):
    """Buttons and one line of text.

    Signals
    -------
    add_asked, undo_asked, redo_asked, clear_asked, save_asked, load_asked
    apply_asked
        Of a capture: set its overrides on a running model.
    copy_asked : str
        ``python`` for code without moedesk, ``console`` for lines of the console.
    """

    add_asked = Signal()
    undo_asked = Signal()
    redo_asked = Signal()
    clear_asked = Signal()
    save_asked = Signal()
    load_asked = Signal()
    apply_asked = Signal()
    copy_asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.add_button = QPushButton("Add override…")
        self.apply_button = QPushButton("Apply to the live model")
        self.undo_button, self.redo_button, self.clear_button, self.more_button = (QToolButton() for _ in range(4))
        self._changing = (self.add_button, self.undo_button, self.redo_button, self.clear_button)
        self.line = ElidedLabel()
        for button, text in (
            (self.undo_button, "Undo"),
            (self.redo_button, "Redo"),
            (self.clear_button, "Clear all"),
            (self.more_button, "More ▾"),
        ):
            button.setText(text)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.more_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.more_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.more_button)
        self.save_action = menu.addAction("Save to a file…", self.save_asked.emit)
        self.load_action = menu.addAction("Add those of a file…", self.load_asked.emit)
        menu.addSeparator()
        self.copy_actions = (
            menu.addAction("Copy as Python, without moedesk", lambda: self.copy_asked.emit("python")),
            menu.addAction("Copy as lines for the console", lambda: self.copy_asked.emit("console")),
        )
        self.more_button.setMenu(menu)
        self.clear_button.setToolTip("Take all overrides away; Undo brings them back")
        self.apply_button.setToolTip(
            "Sets these overrides on the model that runs in another session, on all of its passes"
        )
        self.apply_button.hide()
        self.add_button.setToolTip("Also in the context menu of experts, layers and tokens")
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 4, 6, 4)
        row.setSpacing(4)
        for widget in (*self._changing, self.apply_button, self.more_button):
            row.addWidget(widget)
        row.addSpacing(4)
        row.addWidget(self.line, 1)
        self.add_button.clicked.connect(self.add_asked)
        self.undo_button.clicked.connect(self.undo_asked)
        self.apply_button.clicked.connect(self.apply_asked)
        self.redo_button.clicked.connect(self.redo_asked)
        self.clear_button.clicked.connect(self.clear_asked)

    def show_state(self, told: Told, possible: bool, line: str) -> None:
        """Enable what can be done, and say what undo and redo would do."""
        there = bool(told.entries)
        self._show_recorded(False)
        self.add_button.setEnabled(possible)
        self.undo_button.setEnabled(possible and bool(told.undo))
        self.redo_button.setEnabled(possible and bool(told.redo))
        self.undo_button.setToolTip(f"Undo: {told.undo} (Ctrl+Z)" if told.undo else "Nothing to undo (Ctrl+Z)")
        self.redo_button.setToolTip(
            f"Redo: {told.redo} (Ctrl+Shift+Z)" if told.redo else "Nothing to redo (Ctrl+Shift+Z)"
        )
        self.clear_button.setEnabled(possible and there)
        self.save_action.setEnabled(there)
        for action in self.copy_actions:
            action.setEnabled(any(entry.on for entry in told.entries))
        self.load_action.setEnabled(possible)
        self.line.setText(line)

    def show_recorded(self, line: str) -> None:
        """Offer what can be done with overrides that a capture tells of."""
        self._show_recorded(True)
        for action in (self.save_action, *self.copy_actions):
            action.setEnabled(True)
        self.load_action.setEnabled(False)
        self.line.setText(line)

    def _show_recorded(self, recorded: bool) -> None:
        for button in self._changing:
            button.setVisible(not recorded)
        self.apply_button.setVisible(recorded)

    def set_theme(self, theme: Theme) -> None:
        """Redraw the icons."""
        self.add_button.setIcon(icon("add", theme))
