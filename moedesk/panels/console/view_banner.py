"""The banner over the prompt: what happened to the kernel, its last lines, and what to do."""

import re

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from moedesk.panels.console.model_state import Banner
from moedesk.panels.console.view_button import flat_button
from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme


class TroubleBanner(QWidget):
    """One line, buttons, and the details that open below it."""

    def __init__(self) -> None:
        super().__init__()
        self._theme: Theme = LIGHT
        self._banner: Banner | None = None
        self._dismissed: object = None
        self._room = 200
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setObjectName("trouble")
        self.sign = QLabel()
        self.line = QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText)
        self.line.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.details_button = QPushButton("Details")
        self.details_button.setCheckable(True)
        self.stacks_button = QPushButton("Where does it hang?")
        self.restart_button = QPushButton("Restart")
        self.dismiss_button = flat_button("Dismiss")
        self.details = QPlainTextEdit(readOnly=True, lineWrapMode=QPlainTextEdit.LineWrapMode.NoWrap)
        self.details.setAccessibleName("Details")
        self._lay_out()
        self.details_button.toggled.connect(self.details.setVisible)
        self.dismiss_button.clicked.connect(self._dismiss)
        self.details.hide()
        self.hide()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.sign, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.line, 1)
        for widget in (self.details_button, self.stacks_button, self.restart_button, self.dismiss_button):
            row.addWidget(widget, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 4, 4)
        column.addLayout(row)
        column.addWidget(self.details)

    def show_banner(self, banner: Banner | None, restart_text: str = "Restart") -> None:
        """Show what there is to say, or hide."""
        news = banner != self._banner
        opened = self._banner is not None and banner is not None and banner.detail != self._banner.detail
        self._banner = banner
        if banner is None or _gist(banner) == self._dismissed:
            self.hide()
            return
        self._dismissed = None
        self.line.setText(banner.text)
        self.restart_button.setText(restart_text)
        self.restart_button.setVisible(banner.restart)
        self.stacks_button.setVisible(banner.stacks)
        self.details_button.setVisible(bool(banner.detail))
        if news:
            text = "\n".join(banner.detail)
            if text != self.details.toPlainText():
                self.details.setPlainText(text)
            self.set_room(self._room)
        if not banner.detail:
            self.details_button.setChecked(False)
        elif opened and (banner.stacks or not banner.restart):  # the answer to "Where does it hang?"
            self.details_button.setChecked(True)
        self.set_theme(self._theme)
        self.show()

    def set_room(self, height: int) -> None:
        """Let the details be so high, in pixels, and no higher than their text."""
        self._room = height
        lines = len(self._banner.detail) + 1 if self._banner is not None else 1
        self.details.setFixedHeight(max(min(height, self.details.fontMetrics().lineSpacing() * lines + 12), 40))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.dismiss_button.setIcon(icon("close", theme))
        self.details.setFont(theme.mono_font)
        kind = self._banner.kind if self._banner is not None else "info"
        role = kind if kind in ("error", "warning") else "accent"
        self.sign.setPixmap(icon(kind, theme, role).pixmap(16, 16))
        self.setStyleSheet(
            f"#trouble {{ background: {theme.raised}; border-bottom: 1px solid {getattr(theme, role)}; }}"
            f"#trouble QLabel {{ color: {theme.text}; }}"
            f"#trouble QPlainTextEdit {{ background: {theme.surface}; color: {theme.text}; border: 1px solid {theme.border}; }}"
        )

    def _dismiss(self) -> None:
        if self._banner is not None:
            self._dismissed = _gist(self._banner)
        self.hide()


def _gist(banner: Banner) -> object:
    """What a banner says, whatever its seconds."""
    return re.sub(r"\d+", "", banner.text), banner.detail
