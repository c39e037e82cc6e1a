"""The Console panel: the prompt of each kernel, what became of it, and live expressions."""

import contextlib
from collections.abc import Callable
from functools import partial

from PySide6.QtGui import QHideEvent, QPalette, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from moedesk.panels.console import model_state
from moedesk.panels.console.model_stop import stop_hint
from moedesk.panels.console.view_banner import TroubleBanner
from moedesk.panels.console.view_bar import KernelBar
from moedesk.panels.console.view_choice import KernelMenu
from moedesk.panels.console.view_empty import NoKernel
from moedesk.panels.console.view_live import LiveRows
from moedesk.panels.console.view_terminal import Terminal
from moedesk.session.desk import Desk
from moedesk.session.kernel import Kernel, KernelState
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.panel import Shell
from moedesk.ui.theme import Theme


class ConsolePanel(QWidget):
    """One prompt for each kernel of the desk; the one of the current kernel is on show.

    Parameters
    ----------
    desk : Desk
    shell : Shell
    """

    def __init__(self, desk: Desk, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk = desk
        self.shell = shell
        self.bar = KernelBar()
        self.banner = TroubleBanner()
        self.hint = ElidedLabel()
        self.hint.setAccessibleName("What can be typed at a stop")
        self.live = LiveRows(self._ask)
        self.menu = KernelMenu(desk, shell.say, self)
        self.empty = NoKernel()
        self._terminals: dict[Kernel, Terminal] = {}
        self._shown: Kernel | None = None
        self._wants_keyboard = False
        self._listening: list[Callable[[], None]] = []  # what ends it; a list, so that it outlives this widget
        self._stack = QStackedWidget()
        self._stack.addWidget(self.empty)
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        hint = QHBoxLayout()
        hint.setContentsMargins(8, 2, 8, 2)
        hint.addWidget(self.hint)
        column.addWidget(self.bar)
        column.addWidget(self.banner)
        column.addLayout(hint)
        column.addWidget(self.live)
        column.addWidget(self._stack, 1)

    def _connect(self) -> None:
        self.bar.new_button.setMenu(self.menu)
        self.bar.chosen.connect(self.desk.choose_kernel)
        self.bar.clear_button.clicked.connect(self._clear)
        self.bar.live_button.clicked.connect(lambda: self.live.add())
        self.bar.interrupt_button.clicked.connect(self._interrupt)
        self.bar.restart_button.clicked.connect(self._restart)
        self.banner.restart_button.clicked.connect(self._restart)
        self.banner.stacks_button.clicked.connect(self._dump_stacks)
        self.live.left.connect(self.focus_find)
        self.empty.start.connect(lambda: self.desk.start_kernel())
        self.empty.connect_asked.connect(self.menu.connect_kernel)
        self.destroyed.connect(partial(_call_all, self._listening))

    @property
    def terminal(self) -> Terminal | None:
        """The prompt on show."""
        kernel = self.desk.kernel
        return self._terminals.get(kernel) if kernel is not None else None

    def refresh(self, changed: frozenset[str]) -> None:
        """Show what became of the kernels."""
        if "kernels" not in changed:
            return
        kernel = self.desk.kernel
        self._drop_gone()
        self.bar.set_kernels(self.desk.kernels, kernel)
        if kernel is not self._shown:
            self._switch(kernel)
        if kernel is None:
            self.bar.show_state(None)
            self.banner.show_banner(None)
            self._show_hint("")
            self._stack.setCurrentWidget(self.empty)
        else:
            self._show_kernel(kernel)
        self._pace_live()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        palette = self.hint.palette()
        palette.setColor(QPalette.ColorRole.WindowText, theme.color("muted"))
        self.hint.setPalette(palette)
        self.bar.set_theme(theme)
        self.banner.set_theme(theme)
        self.live.set_theme(theme)
        for terminal in self._terminals.values():
            terminal.set_theme(theme)

    def focus_find(self) -> None:
        """Put the keyboard into the prompt."""
        if self.terminal is not None:
            self.terminal.focus_prompt()
        else:
            self.empty.start_button.setFocus()

    def save_state(self) -> dict[str, object]:
        """Return the live expressions."""
        return {"live": self.live.texts}

    def restore_state(self, state: dict[str, object]) -> None:
        """Pin the live expressions of an earlier run."""
        texts = state.get("live")
        for text in texts if isinstance(texts, list) else []:
            if isinstance(text, str):
                self.live.add(text)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave the prompt its place."""
        super().resizeEvent(event)
        self.banner.set_room(self.height() // 3)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Ask for live values again, and put the keyboard into the prompt: who opens the console wants to type."""
        super().showEvent(event)
        self._wants_keyboard = not event.spontaneous()
        self._take_keyboard()
        self._pace_live()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Ask for no more live values."""
        super().hideEvent(event)
        self.live.set_active(False)

    def _switch(self, kernel: Kernel | None) -> None:
        """Show another kernel: its answers count from now on."""
        _call_all(self._listening)
        self._shown = kernel
        self.live.forget()
        if kernel is not None:
            self._listening.append(kernel.answered.connect(self.live.take))

    def _show_kernel(self, kernel: Kernel) -> None:
        terminal = self._terminals.get(kernel)
        if terminal is None:
            terminal = self._terminals[kernel] = self._make_terminal()
        if kernel.state in (KernelState.ENDED, KernelState.FAILED) and kernel.own:
            terminal.disconnect_from()
        elif kernel.connection_file not in (None, terminal.connection_file):
            self.live.forget()
            self._connect_terminal(terminal, kernel)
        self._stack.setCurrentWidget(terminal)
        self._take_keyboard()
        shown = model_state.bar(kernel, terminal.busy)
        self.bar.show_state(shown)
        self.banner.show_banner(model_state.banner(kernel), shown.restart_text)
        terminal.set_stopped(kernel.stopped if kernel.client is not None else None)
        self._show_hint(stop_hint(kernel.stopped, terminal.at_stop))

    def _show_hint(self, text: str) -> None:
        self.hint.setText(text)
        self.hint.setVisible(bool(text))

    def _take_keyboard(self) -> None:
        """Put the keyboard into the prompt, once after the panel was opened; the prompt may come later than the panel."""
        if self._wants_keyboard and self.isVisible() and self.terminal is not None:
            self._wants_keyboard = False
            self.terminal.focus_prompt()

    def _connect_terminal(self, terminal: Terminal, kernel: Kernel) -> None:
        assert kernel.connection_file is not None
        with contextlib.suppress(OSError):  # the process ended meanwhile, and its file is gone: the next change says so
            terminal.connect_to(kernel.connection_file)

    def _make_terminal(self) -> Terminal:
        terminal = Terminal(self.shell.theme)
        terminal.busy_changed.connect(lambda _: self.refresh(frozenset({"kernels"})))
        terminal.stop_prompt_changed.connect(lambda: self.refresh(frozenset({"kernels"})))
        terminal.interrupt_asked.connect(self._interrupt)
        terminal.said.connect(self.shell.say)
        self._stack.addWidget(terminal)
        return terminal

    def _drop_gone(self) -> None:
        for kernel in [kernel for kernel in self._terminals if kernel not in self.desk.kernels]:
            terminal = self._terminals.pop(kernel)
            terminal.disconnect_from()
            self._stack.removeWidget(terminal)
            terminal.hide()
            terminal.deleteLater()

    def _pace_live(self) -> None:
        kernel = self.desk.kernel
        ready = kernel is not None and kernel.state is KernelState.READY and kernel.client is not None
        self.live.set_active(ready and self.isVisible())

    def _ask(self, request: int, text: str) -> bool:
        kernel = self.desk.kernel
        if kernel is None or kernel.client is None:
            return False
        kernel.client.request("evaluate", {"request": request, "text": text})
        return True

    def _clear(self) -> None:
        if self.terminal is not None:
            self.terminal.clear()

    def _interrupt(self) -> None:
        if self.desk.kernel is not None:
            self.desk.kernel.interrupt()

    def _restart(self) -> None:
        if self.desk.kernel is not None:
            self.desk.kernel.restart()

    def _dump_stacks(self) -> None:
        if self.desk.kernel is not None:
            self.desk.kernel.dump_stacks()


def _call_all(functions: list[Callable[[], None]], *_: object) -> None:
    while functions:
        functions.pop()()
