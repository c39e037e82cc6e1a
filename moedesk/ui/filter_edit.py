"""The line in which a filter is typed: completion, history, and an error underlined where it is."""

from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QPointF, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent, QPen, QPolygonF, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QAbstractItemView, QCompleter, QLineEdit, QWidget

from moedesk.core.filter import Completion, complete
from moedesk.core.model import ModelInfo

HISTORY = 50


class FilterEdit(QLineEdit):
    """A line edit that offers completions of the filter language and remembers what was entered.

    Signals
    -------
    entered
        Return was pressed: what stands here is kept in the history.
    """

    entered = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model_info: ModelInfo | None = None
        self.token_texts: Sequence[str] = ()
        self.label_names: Sequence[str] = ()
        self.history: list[str] = []
        self._place = 0  # in the history; its length is the line being typed
        self._draft = ""
        self._error: tuple[int, int] | None = None
        self._error_color = QColor("#b3261e")
        self._completions: list[Completion] = []
        self._choices = QStandardItemModel(self)
        self._completer = QCompleter(self._choices, self)
        self._completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        self._completer.setMaxVisibleItems(12)
        self._completer.setWidget(self)
        self._completer.activated[QModelIndex].connect(self._take)  # type: ignore[index] # overloaded signal
        self.textEdited.connect(self._offer)
        self.returnPressed.connect(self._enter)

    @property
    def popup(self) -> QAbstractItemView:
        """The list of completions."""
        popup = self._completer.popup()
        assert popup is not None
        return popup

    @property
    def completions(self) -> tuple[Completion, ...]:
        """What the list offers now."""
        return tuple(self._completions)

    def set_error(self, span: tuple[int, int] | None, color: QColor) -> None:
        """Underline characters first…last (end excluded), or nothing."""
        self._error, self._error_color = span, color
        self.update()

    def _offer(self) -> None:
        """Show what could stand at the cursor."""
        if self.model_info is None:
            return
        known = self.model_info, self.token_texts, self.label_names
        self._completions = complete(self.text(), self.cursorPosition(), *known)
        only = self._completions[0] if len(self._completions) == 1 else None
        if only is not None and self.text()[only.start : only.end] == only.text:
            self._completions = []
        self._choices.clear()
        for completion in self._completions:
            shown = completion.text.replace("\n", "↵")
            hint = "" if not completion.hint else f"   {completion.hint}"
            item = QStandardItem(shown + hint)
            item.setEditable(False)
            self._choices.appendRow(item)
        if not self._completions:
            self.popup.hide()
            return
        rect = self.cursorRect()
        rect.setBottom(self.height())  # below the field, not over the letters
        wanted = self.popup.sizeHintForColumn(0) + 40
        rect.setWidth(min(max(wanted, 220), max(self.width(), 420)))
        self._completer.complete(rect)

    def _take(self, index: QModelIndex) -> None:
        if not 0 <= index.row() < len(self._completions):
            return
        completion = self._completions[index.row()]
        text = self.text()
        self.setText(text[: completion.start] + completion.text + text[completion.end :])
        self.setCursorPosition(completion.start + len(completion.text))
        self.textEdited.emit(self.text())

    def _enter(self) -> None:
        self.popup.hide()
        self.remember(self.text())
        self.entered.emit()

    def remember(self, text: str) -> None:
        """Put a text at the end of the history."""
        if text.strip():
            self.history = [*(entry for entry in self.history if entry != text), text][-HISTORY:]
        self._place = len(self.history)

    def set_history(self, texts: Sequence[str]) -> None:
        """Take over the history of an earlier run."""
        self.history = list(texts)[-HISTORY:]
        self._place = len(self.history)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Up and Down walk through the history, Ctrl+Space offers completions, Escape clears."""
        key = event.key()
        if key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self._walk(-1 if key == Qt.Key.Key_Up else 1)
        elif key == Qt.Key.Key_Space and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._offer()
        elif key == Qt.Key.Key_Escape and self.text():
            self.clear()
            self.textEdited.emit("")
        else:
            super().keyPressEvent(event)

    def _walk(self, step: int) -> None:
        place = min(max(self._place + step, 0), len(self.history))
        if place == self._place:
            return
        if self._place == len(self.history):
            self._draft = self.text()
        self._place = place
        self.setText(self.history[place] if place < len(self.history) else self._draft)
        self.popup.hide()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the line, and a wave under the error."""
        super().paintEvent(event)
        if self._error is None:
            return
        metrics = self.fontMetrics()
        text = self.text()
        origin = self.cursorRect().center().x() - metrics.horizontalAdvance(text[: self.cursorPosition()])
        left = origin + metrics.horizontalAdvance(text[: self._error[0]])
        right = max(origin + metrics.horizontalAdvance(text[: self._error[1]]), left + 6)
        y = (self.height() + metrics.height()) / 2 - 1
        points = [QPointF(x, y + (2 if (i % 2) else 0)) for i, x in enumerate(range(int(left), int(right) + 3, 3))]
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setClipRect(self.rect().adjusted(4, 0, -4, 0))
        painter.setPen(QPen(self._error_color, 1.5))
        painter.drawPolyline(QPolygonF(points))
        painter.end()
