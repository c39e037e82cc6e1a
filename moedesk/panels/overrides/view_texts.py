"""Two texts, one above the other: what the model writes without overrides and with them."""

from collections.abc import Sequence

from PySide6.QtGui import QColor, QFont, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QLabel, QTextEdit, QVBoxLayout, QWidget

from moedesk.core.visible import visible_text
from moedesk.panels.overrides.model_before_after import Piece
from moedesk.ui.theme import LIGHT, Theme

_TITLES = (
    ("Before", "What the model writes without overrides; what only this text has is underlined"),
    ("After", "What the model writes with overrides; what only this text has is underlined"),
)


class TwoTexts(QWidget):
    """The prompt is pale; tokens that only one of the two has are underlined and on a tint."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self._shown: tuple[Sequence[Piece], Sequence[Piece]] = ((), ())
        self.texts = (QTextEdit(), QTextEdit())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for (title, hint), text in zip(_TITLES, self.texts, strict=True):
            label = QLabel(title)
            label.setContentsMargins(6, 2, 6, 2)
            label.setToolTip(hint)
            text.setReadOnly(True)
            text.setAccessibleName(hint)
            text.setFrameShape(QTextEdit.Shape.NoFrame)
            column.addWidget(label)
            column.addWidget(text, 1)

    def set_texts(self, before: Sequence[Piece], after: Sequence[Piece]) -> None:
        """Show two texts."""
        self._shown = (before, after)
        for text, pieces in zip(self.texts, self._shown, strict=True):
            text.clear()
            cursor = text.textCursor()
            for piece in pieces:
                cursor.insertText(_shown(piece), self._format(piece))
            text.moveCursor(QTextCursor.MoveOperation.Start)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        for text in self.texts:
            text.setFont(theme.mono_font)
        self.set_texts(*self._shown)

    def _format(self, piece: Piece) -> QTextCharFormat:
        theme, form = self._theme, QTextCharFormat()
        form.setForeground(QColor(theme.muted if piece.role == "prompt" else theme.text))
        if piece.role == "differs":
            form.setFontUnderline(True)
            form.setFontWeight(QFont.Weight.Bold)
            form.setBackground(QColor(theme.selection))
            form.setForeground(QColor(theme.selection_text))
        return form


def _shown(piece: Piece) -> str:
    """Return a token as it is written; blanks and control characters that only one text has can be seen."""
    if piece.role == "differs":
        return visible_text(piece.text) + "\n" * piece.text.count("\n")
    return piece.text.replace("\r", "␍")
