"""The prompt of one kernel: qtconsole's widget, fed a little at a time, so that a flood of output leaves the window live."""

import os
import re
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("QT_API", "pyside6")  # before qtconsole is imported

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QKeyEvent, QKeySequence, QResizeEvent, QShowEvent, QTextCursor
from qtconsole.client import QtKernelClient

from moedesk.panels.console.model_messages import LINES, Message, MessageQueue, clip
from moedesk.panels.console.view_client import connect, disconnect, dispatch
from moedesk.panels.console.view_colors import ansi_colors, recolor, style_sheet, syntax_style, text_colors
from moedesk.panels.console.view_stop_prompt import StopPromptWidget
from moedesk.ui.delivery import Delivery
from moedesk.ui.theme import Theme

TICK = 33  # ms between two portions of output
BUDGET = 0.008  # seconds that a portion may take
_PORTION = 100  # lines taken at once
_LAST_WORDS = 500  # lines of a kernel that ended which are still shown when the next one starts
_COMPLETIONS = 200  # entries of the completion list
_SPARE = (
    1_000  # lines above the limit after which they are taken away: that costs the same for one line as for a thousand
)
_COLOR = re.compile(r"(\x1b\[[0-9;]*m)")
_CONTROL = re.compile(r"[\x1b\r\x08\x07\x0c]")  # what must be interpreted, colours apart
HINT = 'moe.load("sample") loads a model, moe.attach() lets the panels follow it, moe.run("text") runs it'


class Terminal(StopPromptWidget):
    """The console of one kernel.

    Output waits in a ``MessageQueue`` and is drawn in portions, 30 times a second at most. The text survives a restart.

    Signals
    -------
    busy_changed : bool
        A cell, of this console or another, started or ended.
    interrupt_asked :
        The user pressed Ctrl+C without a selection, or Ctrl+. .
    said : str
        A line for the user.
    """

    busy_changed = Signal(bool)
    interrupt_asked = Signal()
    said = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__(gui_completion="droplist", gui_completion_height=220)
        self.buffer_size = 0  # no limit of qtconsole's: see _trim
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
        self._colors: list[str] = []
        self._clients: list[QtKernelClient] = []  # the one in use; a list, so that it outlives this widget
        self.destroyed.connect(partial(_let_go, self._clients))
        self.custom_interrupt_requested.connect(self.interrupt_asked)
        self._at_end = True  # before a change of size
        self._control.verticalScrollBar().valueChanged.connect(self._scrolled)
        self._drop_shortcuts()
        self.set_theme(theme)

    def connect_to(self, connection_file: Path) -> None:
        """Talk to a kernel from now on; what the one before wrote stays."""
        self.disconnect_from()
        self._queue.shorten(_LAST_WORDS)
        while self._take(_LAST_WORDS):
            pass
        self._restarted = self.connection_file is not None
        self.connection_file = connection_file
        client = connect(connection_file, self._queue)
        self._queue.session = client.session.session
        self._clients.append(client)
        self.kernel_client = client

    def disconnect_from(self) -> None:
        """Let go of the kernel; what it sent last is still shown."""
        _let_go(self._clients)
        self.withdraw_prompt()
        self._set_busy(False)

    @property
    def waiting(self) -> bool:
        """Whether something that came is not shown yet."""
        return not self._queue.settled

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours, also for what is written already."""
        old, self._colors = self._colors, text_colors(theme)
        recolor(self._control.document(), dict(zip(old, self._colors, strict=False)))
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

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Catch up."""
        super().showEvent(event)
        self._wake()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Draw nothing more."""
        super().hideEvent(event)
        self._ticks.stop()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Keep the end in sight where it was; the text has its new size already."""
        super().resizeEvent(event)
        if self._at_end:
            QTimer.singleShot(0, self, self._scroll_to_end)

    def _wake(self) -> None:
        """Show what came, then go on at each tick until nothing is left; not while hidden."""
        if self.isVisible() and not self._ticks.isActive():
            self._ticks.start()
            self._tick()

    def _tick(self) -> None:
        if self._ticking:  # qtconsole lets events in before it writes a prompt
            return
        if self._queue.settled:
            self._ticks.stop()
            return
        if self._trim():
            return  # that took a tick's time
        until = time.monotonic() + BUDGET
        while self._take(_PORTION) and time.monotonic() < until:
            pass

    def _take(self, lines: int) -> bool:
        """Show what comes next; return whether there was anything."""
        self._ticking = True
        try:
            taken = self._queue.take(lines)
            for channel, message in taken:
                dispatch(self.kernel_client, channel, message)
        finally:
            self._ticking = False
        return bool(taken)

    def append_stream(self, text: str) -> None:
        """Write output, above a line that the kernel waits for; in one go where there is nothing to interpret but colours."""
        pieces = _COLOR.split(text)
        if self._reading:  # qtconsole would write over that line
            pieces[::2] = [_CONTROL.sub("", piece) for piece in pieces[::2]]
            cursor = self._get_end_cursor()
            cursor.setPosition(self._append_before_prompt_pos)
        elif not self._executing or self._pending_insert_text or any(_CONTROL.search(piece) for piece in pieces[::2]):
            super().append_stream(text)
            self._flush_pending_stream()
            return
        else:
            cursor = self._insert_text_cursor
            cursor.movePosition(QTextCursor.MoveOperation.End)
        follow = self._viewport_at_end()
        cursor.beginEditBlock()
        for place, piece in enumerate(pieces):
            if place % 2:
                list(self._ansi_processor.split_string(piece))  # takes the colour over
            elif piece:
                cursor.insertText(piece, self._ansi_processor.get_format())
        cursor.endEditBlock()
        if follow:
            self._scroll_to_end()

    def _trim(self) -> bool:
        """Keep the last ``LINES`` lines, prompt or not; return whether any had to go.

        The text widget's own limit lays out the whole text again for each new line.
        """
        document = self._control.document()
        excess = document.blockCount() - LINES
        if excess < _SPARE:
            return False
        cursor = QTextCursor(document)
        cursor.movePosition(QTextCursor.MoveOperation.NextBlock, QTextCursor.MoveMode.KeepAnchor, excess)
        cursor.removeSelectedText()
        if self._control.isUndoRedoEnabled():  # or what was removed would be kept for undo
            self._control.setUndoRedoEnabled(False)
            self._control.setUndoRedoEnabled(True)
        return True

    def _adjust_scrollbars(self) -> None:
        """Let the text end at the lower edge; qtconsole scrolls a page further, and a key pressed meanwhile shows it empty."""
        scroll, height = self._control.verticalScrollBar(), self._control.viewport().height()
        scroll.setRange(0, max(round(self._control.document().size().height()) - height, 0))
        scroll.setPageStep(height)

    def _scroll_to_end(self) -> None:
        scroll = self._control.verticalScrollBar()
        scroll.setValue(scroll.maximum())

    def _scrolled(self, value: int) -> None:
        self._at_end = value >= self._control.verticalScrollBar().maximum()

    def _handle_execute_result(self, message: Message) -> None:
        super()._handle_execute_result(_clipped(message))

    def _handle_display_data(self, message: Message) -> None:
        super()._handle_display_data(_clipped(message))

    def _process_execute_error(self, message: Message) -> None:
        content = message["content"]
        short = [clip(line) for line in content.get("traceback", [])]
        super()._process_execute_error({**message, "content": {**content, "traceback": short}})

    def _handle_execute_reply(self, message: Message) -> None:
        self._set_busy(False)  # the status that says so may have got lost in a flood
        super()._handle_execute_reply(message)

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

    def _handle_kernel_info_reply(self, reply: Message) -> None:
        version = reply["content"].get("language_info", {}).get("version", "")
        reply["content"]["banner"] = f"Python {version}\n{HINT}\n"
        super()._handle_kernel_info_reply(reply)

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
        if not self._clients:
            self.said.emit("The kernel has ended; restart it")
        else:
            super().execute(source, hidden, interactive)

    def _complete(self) -> None:
        if self._clients:
            super()._complete()

    def _call_tip(self) -> bool:
        return bool(self._clients) and bool(super()._call_tip())

    def _show_interpreter_prompt(self, number: int | None = None) -> None:
        if number is not None or self._clients:  # without one the kernel is asked for it
            super()._show_interpreter_prompt(number)

    def _complete_with_items(self, cursor: QTextCursor, items: list[str]) -> None:
        """Offer the first entries: laying out thousands would hold up the window, and typing on narrows them down."""
        if len(items) > _COMPLETIONS:
            self.said.emit(f"{len(items):,} completions; {_COMPLETIONS} are listed, type on to narrow them down")
            # The last two keep what all of them begin with.
            items = [*items[: _COMPLETIONS - 2], min(items), max(items)]
        super()._complete_with_items(cursor, items)

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
