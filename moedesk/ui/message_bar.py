"""Messages inside the window: a line each, to be dismissed, never a dialog in the way."""

from collections.abc import Callable, Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme

LIMIT = 4
Actions = Sequence[tuple[str, Callable[[], None]]]
"""What a message offers to do: the button's text, and what it does."""


class MessageBar(QWidget):
    """The messages, the latest last; no more than ``LIMIT``, and the same one once."""

    def __init__(self) -> None:
        super().__init__()
        self._theme = LIGHT
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self._rows: list[_Row] = []
        self.hide()

    @property
    def texts(self) -> list[str]:
        """What is shown."""
        return [row.text for row in self._rows]

    def show_message(self, text: str, kind: str = "error", actions: Actions = ()) -> None:
        """Show a line of a kind: ``error``, ``warning`` or ``info``; an action dismisses it."""
        for row in list(self._rows):
            if row.text == text:
                self.dismiss(row)
        while len(self._rows) >= LIMIT:
            self.dismiss(self._rows[0])
        row = _Row(text, kind, self, actions)
        row.set_theme(self._theme)
        self._rows.append(row)
        self._layout.addWidget(row)
        self.show()

    def dismiss(self, row: "_Row") -> None:
        """Take a line away."""
        self._rows.remove(row)
        self._layout.removeWidget(row)
        row.hide()
        row.deleteLater()
        self.setVisible(bool(self._rows))

    def clear(self) -> None:
        """Take all lines away."""
        for row in list(self._rows):
            self.dismiss(row)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        for row in self._rows:
            row.set_theme(theme)


class _Row(QWidget):
    def __init__(self, text: str, kind: str, bar: MessageBar, actions: Actions) -> None:
        super().__init__()
        self.text = text
        self.kind = kind
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setObjectName("message")
        self._sign = QLabel()
        line = QLabel(text)
        line.setTextFormat(Qt.TextFormat.PlainText)
        line.setWordWrap(True)
        line.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        line.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._close = QToolButton()
        self._close.setToolTip("Dismiss")
        self._close.setAutoRaise(True)
        self._close.setAccessibleName("Dismiss")
        self._close.setIconSize(QSize(14, 14))
        self._close.clicked.connect(lambda: bar.dismiss(self))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 3, 4, 3)
        layout.addWidget(self._sign)
        layout.addWidget(line, 1)
        for label, act in actions:
            button = QPushButton(label)
            button.clicked.connect(lambda: bar.dismiss(self))
            button.clicked.connect(lambda _=False, act=act: act())
            layout.addWidget(button)
        layout.addWidget(self._close)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        role = self.kind if self.kind in ("error", "warning") else "accent"
        name = self.kind if self.kind in ("error", "warning") else "info"
        self._sign.setPixmap(icon(name, theme, role).pixmap(16, 16))
        self._close.setIcon(icon("close", theme))
        self.setStyleSheet(
            f"#message {{ background: {theme.raised}; border-bottom: 1px solid {getattr(theme, role)}; }}"
            f"#message QLabel {{ color: {theme.text}; }}"
        )
