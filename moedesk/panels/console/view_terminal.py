"""The prompt of one kernel: qtconsole's widget, fed a little at a time, so that a flood of output leaves the window live."""

import os
import re
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("QT_API", "pyside6")  # before qtconsole is imported

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QTextCursor
from qtconsole.client import QtKernelClient
from qtconsole.rich_jupyter_widget import RichJupyterWidget

from moedesk.panels.console.model_messages import LINES, Message, MessageQueue, clip
from moedesk.panels.console.view_client import connect, disconnect, dispatch
from moedesk.panels.console.view_colors import ansi_colors, style_sheet, syntax_style
from moedesk.ui.delivery import Delivery
from moedesk.ui.theme import Theme

TICK = 33  # ms between two portions of output
BUDGET = 0.008  # seconds that a portion may take
_PORTION = 100  # lines taken at once
_COMPLETIONS = 500  # entries of the completion list
_PLAIN = re.compile(r"[\x1b\r\x08\x07\x0c]")  # what a text must not hold to be inserted in one go


class Terminal(RichJupyterWidget):
    """The console of one kernel.

    Output waits in a ``MessageQueue`` and is drawn in portions, 30 times a second at most. The text survives a restart.

    Signals
    -------
    busy_changed : bool
        A cell, of this console or another, started or ended.
    interrupt_asked :
        The user pressed Ctrl+C without a selection, or Ctrl+. .
    no_kernel :
        The user typed something although no kernel is there.
    """

    busy_changed = Signal(bool)
    interrupt_asked = Signal()
    no_kernel = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__(gui_completion="droplist", gui_completion_height=220)
        self.buffer_size = LINES
        self.custom_interrupt = True
        self.custom_restart = True
        self.confirm_restart = False
        self.banner = ""
        self.busy = False
        self.connection_file: Path | None = None
        self._queue = MessageQueue(lambda: self._delivery(self._wake))
        self._delivery = Delivery(self)
        self._ticks = QTimer(self, interval=TICK)
        self._ticks.timeout.connect(self._tick)
        self._ticking = False
        self._restarted = False
        self._clients: list[QtKernelClient] = []  # the one in use; a list, so that it outlives this widget
        self.destroyed.connect(partial(_let_go, self._clients))
        self.custom_interrupt_requested.connect(self.interrupt_asked)
        self._drop_shortcuts()
        self.set_theme(theme)

    def connect_to(self, connection_file: Path) -> None:
        """Talk to a kernel from now on; what the one before wrote stays."""
        self.disconnect_from()
        self._restarted = self.connection_file is not None
        self.connection_file = connection_file
        client = connect(connection_file, self._queue)
        self._clients.append(client)
        self.kernel_client = client

    def disconnect_from(self) -> None:
        """Let go of the kernel; what it sent last is still shown."""
        client: QtKernelClient | None = self.kernel_client
        if client is None:
            return
        while len(self._queue):
            self._take(_PORTION * 10)
        self.kernel_client = None
        _let_go(self._clients)
        self._queue.clear()
        self._ticks.stop()
        self._set_busy(False)

    @property
    def waiting(self) -> bool:
        """Whether something that came is not shown yet."""
        return bool(len(self._queue))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.style_sheet = style_sheet(theme)
        self.syntax_style = syntax_style(theme)
        self._ansi_processor.color_map.update(ansi_colors(theme))
        self.font = theme.mono_font
        self._control.setFrameStyle(0)
        if self._highlighter is not None:
            self._highlighter.rehighlight()

    def focus_prompt(self) -> None:
        """Put the keyboard into the prompt."""
        self._control.setFocus()

    # Output

    def _wake(self) -> None:
        """Show what came, then go on at each tick until nothing is left."""
        if not self._ticks.isActive():
            self._ticks.start()
            self._tick()

    def _tick(self) -> None:
        if self._ticking:  # qtconsole lets events in before it writes a prompt
            return
        if not len(self._queue):
            self._ticks.stop()
            return
        until = time.monotonic() + BUDGET
        while len(self._queue) and time.monotonic() < until:
            self._take(_PORTION)
        self._trim()

    def _take(self, lines: int) -> None:
        self._ticking = True
        try:
            for channel, message in self._queue.take(lines):
                if self.kernel_client is not None:
                    dispatch(self.kernel_client, channel, message)
        finally:
            self._ticking = False

    def append_stream(self, text: str) -> None:
        """Write output; in one go where there is nothing to interpret and no prompt to keep."""
        if _PLAIN.search(text) or not self._executing or self._pending_insert_text:
            super().append_stream(text)
            self._flush_pending_stream()
            return
        follow = self._viewport_at_end()
        cursor = self._insert_text_cursor
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(text, self._ansi_processor.get_format())
        if follow:
            self._control.moveCursor(QTextCursor.MoveOperation.End)
            self._control.ensureCursorVisible()

    def _trim(self) -> None:
        """Keep the buffer's size also while a prompt stands, when qtconsole lets it grow."""
        document = self._control.document()
        excess = document.blockCount() - LINES - _PORTION
        if self._executing or excess < 0:
            return
        cursor = QTextCursor(document)
        cursor.movePosition(QTextCursor.MoveOperation.NextBlock, QTextCursor.MoveMode.KeepAnchor, excess + _PORTION)
        cursor.removeSelectedText()
        self._control.setUndoRedoEnabled(False)  # or what was removed would be kept for undo
        self._control.setUndoRedoEnabled(True)

    def _handle_execute_result(self, message: Message) -> None:
        super()._handle_execute_result(_clipped(message))

    def _handle_display_data(self, message: Message) -> None:
        super()._handle_display_data(_clipped(message))

    def _process_execute_error(self, message: Message) -> None:
        content = message["content"]
        short = [clip(line) for line in content.get("traceback", [])]
        super()._process_execute_error({**message, "content": {**content, "traceback": short}})

    def _handle_status(self, message: Message) -> None:
        state = message["content"].get("execution_state")
        if message["parent_header"].get("msg_type") == "execute_request" and state in ("busy", "idle"):
            self._set_busy(state == "busy")

    def _handle_shutdown_reply(self, message: Message) -> None:
        """Do nothing: the kernel's end is told by the panel; qtconsole would ask in a dialog."""

    def _set_busy(self, busy: bool) -> None:
        if busy != self.busy:
            self.busy = busy
            self.busy_changed.emit(busy)

    def reset(self, clear: bool = False) -> None:
        """Begin with an empty text, or after a restart below what is there."""
        if self._restarted:
            self._append_plain_text("\n― restarted ―\n")
        super().reset(clear=clear and not self._restarted)

    # Keys

    def _event_filter_console_keypress(self, event: QKeyEvent) -> bool:
        if self._control_key_down(event.modifiers(), include_command=False):
            if event.key() == Qt.Key.Key_Period:
                self.interrupt_asked.emit()
                return True
            if event.key() == Qt.Key.Key_L:
                self.clear()
                return True
        return bool(super()._event_filter_console_keypress(event))

    def request_interrupt_kernel(self) -> None:
        """Ask for an interrupt."""
        self.interrupt_asked.emit()

    def execute(self, source: str | None = None, hidden: bool = False, interactive: bool = False) -> None:
        """Run what was typed."""
        if self.kernel_client is None:
            self.no_kernel.emit()
        else:
            super().execute(source, hidden, interactive)

    def _complete(self) -> None:
        if self.kernel_client is not None:
            super()._complete()

    def _call_tip(self) -> bool:
        return self.kernel_client is not None and bool(super()._call_tip())

    def _complete_with_items(self, cursor: QTextCursor, items: list[str]) -> None:
        """Offer the first entries: laying out thousands would hold up the window, and typing on narrows them down."""
        super()._complete_with_items(cursor, items[:_COMPLETIONS])

    def _drop_shortcuts(self) -> None:
        """Leave the window's own keys (save, palette, zoom) to the window."""
        for action in (
            self.print_action,
            self.export_action,
            self.select_all_action,
            self.increase_font_size,
            self.decrease_font_size,
            self.reset_font_size,
            self._copy_raw_action,
        ):
            action.setShortcut(QKeySequence())


def _let_go(clients: list[QtKernelClient], *_: object) -> None:
    while clients:
        disconnect(clients.pop())


def _clipped(message: Message) -> Message:
    """Shorten the text of a result: a widget takes seconds to lay out a line of a million characters."""
    content = message["content"]
    data = content.get("data", {})
    if "text/plain" not in data:
        return message
    return {**message, "content": {**content, "data": {**data, "text/plain": clip(data["text/plain"])}}}
