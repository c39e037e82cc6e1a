"""The prompt of a model that stands at a breakpoint: qtconsole's line of input, with a history, that can be taken back."""

import os

os.environ.setdefault("QT_API", "pyside6")  # before qtconsole is imported

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QTextCursor
from qtconsole.rich_jupyter_widget import RichJupyterWidget

from moedesk.panels.console.model_messages import Message
from moedesk.panels.console.model_stop import LineHistory, is_stop_prompt

_SETTLE = 300  # ms for the news that the model stopped to overtake its prompt, or the other way round


class StopPromptWidget(RichJupyterWidget):
    """A console whose kernel may ask for lines while a cell runs.

    While the model stands, lines have a history of their own, several pasted lines are sent as one, and output goes above the
    prompt. When the model goes on without a line, by F8 say, the prompt goes, and what was typed waits for the next one.

    Signals
    -------
    stop_prompt_changed :
        The prompt of a stop came or went.
    """

    stop_prompt_changed = Signal()

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.at_stop = False
        self._stands: bool | None = None
        self._early: Message | None = None  # asks for a line at a stop of which nothing was heard yet
        self._lines = LineHistory()
        self._unsent = ""
        self._settling = QTimer(self, singleShot=True, interval=_SETTLE)
        self._settling.timeout.connect(self._settle)

    def set_stopped(self, stands: bool | None) -> None:
        """Say whether the kernel's model stands at a breakpoint; None where nobody knows."""
        if stands != self._stands:
            self._stands = stands
            self._settling.stop()
            early, self._early = self._early, None
            if stands and early is not None and not self._reading:  # it was given up too soon, on a busy machine
                self._handle_input_request(early)
            self._watch()

    def withdraw_prompt(self) -> None:
        """Take the prompt of a stop away: nobody waits for a line any more."""
        if not self.at_stop:
            return
        self._unsent = self._get_input_buffer(force=True).rstrip("\n")
        cursor = self._get_end_cursor()
        cursor.setPosition(self._append_before_prompt_pos, QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        self._finish()

    def _watch(self) -> None:
        """Look again in a moment if there is a prompt, but no stop: one of the two comes first."""
        if self.at_stop and self._stands is False:
            self._settling.start()

    def _settle(self) -> None:
        if self._stands is False:
            self.withdraw_prompt()

    def _finish(self) -> None:
        self._set_at_stop(False)
        self._finalize_input_request()

    def _set_at_stop(self, at_stop: bool) -> None:
        if at_stop != self.at_stop:
            self.at_stop = at_stop
            self.stop_prompt_changed.emit()

    # qtconsole

    def _handle_input_request(self, message: Message) -> None:
        """Ask for a line; a prompt that is still there belongs to a stop that is over."""
        self.withdraw_prompt()
        self._early = None
        if not is_stop_prompt(message["content"].get("prompt", "")):
            super()._handle_input_request(message)
            return
        keyboard = self._control.hasFocus()
        self._set_at_stop(True)
        super()._handle_input_request(message)
        if keyboard:
            self._control.setFocus()
        self._control.ensureCursorVisible()
        self._early = message if self._stands is False else None
        self._watch()

    def _prompt_started(self) -> None:
        super()._prompt_started()
        if self._unsent and (self.at_stop or not self._reading):
            text, self._unsent = self._unsent, ""
            self._put(text)

    def _handle_execute_reply(self, message: Message) -> None:
        self._early = None
        if self.at_stop:  # the cell ended with its prompt open: interrupted
            self._finish()
        super()._handle_execute_reply(message)

    def reset(self, clear: bool = False) -> None:
        """Begin anew; the prompt went with the process."""
        self._early = None
        self._set_at_stop(False)
        super().reset(clear=clear)

    def _event_filter_console_keypress(self, event: QKeyEvent) -> bool:
        if self.at_stop and self._reading and event.modifiers() == Qt.KeyboardModifier.NoModifier:
            key = event.key()
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._in_buffer(self._control.textCursor().position()):
                self._lines.add(self._get_input_buffer(force=True))
                self._early = None
                self._set_at_stop(False)  # the kernel asks again
            elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down) and self._on_edge(key == Qt.Key.Key_Up):
                self._put(self._lines.step(-1 if key == Qt.Key.Key_Up else 1, self._get_input_buffer(force=True)))
                return True
            elif key == Qt.Key.Key_Tab:
                self._insert_plain_text_into_buffer(self._control.textCursor(), "    ")
                return True
        return bool(super()._event_filter_console_keypress(event))

    def _on_edge(self, upper: bool) -> bool:
        """Whether the cursor is on the first line of what is typed, or on the last."""
        edge = self._get_prompt_cursor() if upper else self._get_end_cursor()
        return bool(self._control.textCursor().blockNumber() == edge.blockNumber())

    def _put(self, text: str) -> None:
        """Put a text in place of what is typed."""
        cursor = self._get_end_cursor()
        cursor.beginEditBlock()
        cursor.setPosition(self._prompt_pos, QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        self._insert_plain_text_into_buffer(self._get_prompt_cursor(), text)
        cursor.endEditBlock()
        self._control.moveCursor(QTextCursor.MoveOperation.End)
