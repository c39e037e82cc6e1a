"""The console's colours in both themes."""

from collections.abc import Mapping

from PySide6.QtGui import QColor, QTextCharFormat, QTextCursor, QTextDocument, QTextFormat

from moedesk.ui.theme import Theme

_SYNTAX = {"light": "xcode", "dark": "native"}  # Pygments styles that read at 5:1 or more on the themes' surfaces
_ANSI = {
    # black, red, green, yellow, blue, magenta, cyan, white; then the bright ones
    "light": "#1f1f1f #b3261e #146c2e #7a5200 #0b57d0 #8e24aa #00677d #55595f",
    "dark": "#aeb3ba #f6998f #81c995 #f5c04e #8ab4f8 #d7a9f7 #78d9ec #e8eaed",
}


def syntax_style(theme: Theme) -> str:
    """Return the Pygments style of code."""
    return _SYNTAX[theme.name]


def ansi_colors(theme: Theme) -> dict[int, str]:
    """Return the sixteen terminal colours by number; all read as text on the theme's surface."""
    colors = _ANSI[theme.name].split()
    return dict(enumerate(colors * 2))


def text_colors(theme: Theme) -> list[str]:
    """Return the colours that prompts and output are written in; the same place stands for the same role in each theme."""
    return [*_ANSI[theme.name].split(), theme.accent, theme.warning]


def recolor(document: QTextDocument, colors: Mapping[str, str]) -> None:
    """Give written text other colours; a text keeps the colour it was written in, else, when the theme is switched."""
    changes: list[tuple[int, int, str]] = []
    block = document.begin() if colors else document.end()
    while block.isValid():
        pieces = block.begin()
        while not pieces.atEnd():
            piece = pieces.fragment()
            new = colors.get(piece.charFormat().foreground().color().name())
            if new is not None and piece.charFormat().hasProperty(QTextFormat.Property.ForegroundBrush):
                changes.append((piece.position(), piece.length(), new))
            pieces += 1
        block = block.next()
    cursor = QTextCursor(document)
    cursor.beginEditBlock()
    for start, length, new in changes:
        cursor.setPosition(start)
        cursor.setPosition(start + length, QTextCursor.MoveMode.KeepAnchor)
        form = QTextCharFormat()
        form.setForeground(QColor(new))
        cursor.mergeCharFormat(form)
    cursor.endEditBlock()


def style_sheet(theme: Theme) -> str:
    """Return the style sheet of the text and its prompts."""
    return f"""
QPlainTextEdit, QTextEdit {{ background-color: {theme.surface}; color: {theme.text}; border: none;
  selection-background-color: {theme.selection}; selection-color: {theme.selection_text}; }}
QListWidget {{ background-color: {theme.raised}; color: {theme.text}; border: 1px solid {theme.border}; }}
QListWidget::item:selected {{ background-color: {theme.selection}; color: {theme.selection_text}; }}
.inverted {{ background-color: {theme.text}; color: {theme.surface}; }}
.error {{ color: {theme.error}; }}
.in-prompt {{ color: {theme.accent}; }}
.out-prompt {{ color: {theme.warning}; }}
.in-prompt-number, .out-prompt-number {{ font-weight: bold; }}
"""
