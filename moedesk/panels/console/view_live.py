"""The rows of live expressions: each a text that can be edited in place, and its value below the last one."""

import time
from collections.abc import Callable

from PySide6.QtCore import QSize, QTimer, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from moedesk.panels.console.model_live import INTERVAL, LiveExpression, LiveExpressions
from moedesk.panels.console.view_button import flat_button
from moedesk.session.kernel import Answer
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme

_LIMIT = 20  # rows


class LiveRows(QWidget):
    """Shows the live expressions and asks for their values while it is on show.

    Parameters
    ----------
    ask : callable
        Sends a question, its number and text, to the kernel; returns whether there is one to ask.

    Signals
    -------
    left :
        The keyboard belongs to the prompt again.
    """

    left = Signal()

    def __init__(self, ask: Callable[[int, str], bool]) -> None:
        super().__init__()
        self._ask = ask
        self._theme: Theme = LIGHT
        self._model = LiveExpressions()
        self._rows: list[_Row] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self._clock = QTimer(self, interval=INTERVAL)
        self._clock.timeout.connect(self._due)
        self.hide()

    @property
    def texts(self) -> list[str]:
        """The expressions that are not empty."""
        return [row.text for row in self._model.rows if row.text.strip()]

    def add(self, text: str = "") -> None:
        """Add a row; without a text the keyboard goes there."""
        if len(self._rows) >= _LIMIT:
            return
        expression = LiveExpression(text)
        self._model.rows.append(expression)
        row = _Row(expression)
        row.set_theme(self._theme)
        row.edited.connect(lambda new: self._edit(row, new))
        row.removed.connect(lambda: self._remove(row))
        self._rows.append(row)
        self._layout.addWidget(row)
        self.show()
        if text:
            self._due()
        else:
            row.edit.setFocus()

    def set_active(self, active: bool) -> None:
        """Ask for values from now on, or stop."""
        if active and not self._clock.isActive():
            self._clock.start()
            self._due()
        elif not active:
            self._clock.stop()
            self._show_values()

    def take(self, answer: Answer) -> None:
        """Show a value."""
        expression = self._model.take(answer)
        for row in self._rows:
            if row.expression is expression:
                row.show_value(old=False)

    def forget(self) -> None:
        """Drop all values."""
        self._model.forget()
        self._show_values()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        for row in self._rows:
            row.set_theme(theme)

    def _due(self) -> None:
        if not self.isVisible():
            return
        now = time.monotonic()
        for request, text in self._model.due(now):
            if not self._ask(request, text):
                self._model.forget()
                break
        self._show_values()

    def _show_values(self) -> None:
        now = time.monotonic()
        for row in self._rows:
            row.show_value(old=not self._clock.isActive() or row.expression.is_late(now))

    def _edit(self, row: "_Row", text: str) -> None:
        if text.strip():
            self._model.set_text(row.expression, text)
            self._due()
        else:
            self._remove(row)
        self.left.emit()

    def _remove(self, row: "_Row") -> None:
        if row in self._rows:
            self._rows.remove(row)
            self._model.rows.remove(row.expression)
            self._layout.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.setVisible(bool(self._rows))
        self.left.emit()


class _Row(QWidget):
    edited = Signal(str)
    removed = Signal()

    def __init__(self, expression: LiveExpression) -> None:
        super().__init__()
        self.expression = expression
        self._theme: Theme = LIGHT
        self._old = False
        self.remove_button = flat_button("Remove this live expression")
        self.edit = QLineEdit(expression.text, placeholderText="Expression, for example  moe.status()")
        self.edit.setAccessibleName("Live expression")
        self.edit.setMaximumWidth(360)
        self.sign = QLabel()
        self.value = ElidedLabel()
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 1, 4, 1)
        row.setSpacing(6)
        row.addWidget(self.remove_button)
        row.addWidget(self.edit, 2)
        row.addWidget(self.sign)
        row.addWidget(self.value, 3)
        self.remove_button.setIconSize(QSize(12, 12))
        self.remove_button.clicked.connect(self.removed)
        self.edit.returnPressed.connect(lambda: self.edited.emit(self.edit.text()))
        self.edit.editingFinished.connect(self._finish)

    def show_value(self, old: bool) -> None:
        """Show the value, or its error in place of it; an old one in a fainter colour."""
        self._old = old
        expression = self.expression
        text = " ".join(expression.value.split()) if expression.value else ("…" if expression.request else "")
        self.sign.setText("=" if expression.ok else "✕")
        if text != self.value.text():
            self.value.setText(text)
            self.value.setToolTip(expression.value)
        role = "muted" if old or not expression.value else "text" if expression.ok else "error"
        for label in (self.sign, self.value):
            palette = label.palette()
            palette.setColor(QPalette.ColorRole.WindowText, self._theme.color(role))
            label.setPalette(palette)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.remove_button.setIcon(icon("close", theme))
        self.edit.setFont(theme.mono_font)
        self.value.setFont(theme.mono_font)
        self.show_value(self._old)

    def _finish(self) -> None:
        """Take the text over when the keyboard goes elsewhere."""
        if self.edit.text() != self.expression.text or not self.edit.text().strip():
            self.edited.emit(self.edit.text())
