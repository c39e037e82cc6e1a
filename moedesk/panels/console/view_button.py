"""A flat button."""

from PySide6.QtWidgets import QToolButton


def flat_button(hint: str, text: str = "") -> QToolButton:
    """Return a button without a frame; ``hint`` is its tool tip and what a screen reader says."""
    button = QToolButton()
    button.setAutoRaise(True)
    button.setText(text)
    button.setToolTip(hint)
    button.setAccessibleName(text or hint)
    return button
