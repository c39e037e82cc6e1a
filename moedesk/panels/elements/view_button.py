"""A flat button."""

from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QToolButton


def flat_button(hint: str, text: str = "", shortcut: str = "") -> QToolButton:
    """Return a button without a frame; ``hint`` is its tool tip and what a screen reader says."""
    button = QToolButton()
    button.setAutoRaise(True)
    button.setToolTip(hint)
    button.setText(text)
    if not text:
        button.setAccessibleName(hint)
    if shortcut:
        button.setShortcut(QKeySequence(shortcut))
    return button
