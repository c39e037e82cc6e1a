"""Starting another kernel: the menu of Python interpreters, and the form for a kernel that runs already."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QWidget,
)

from moedesk.core.errors import MoedeskError
from moedesk.link.interpreter import Interpreter, examine, known_interpreters
from moedesk.panels.console.model_choice import choice, connection_request, remembered
from moedesk.session.desk import Desk
from moedesk.session.settings import Settings

_SETTING = "console.interpreters"
Say = Callable[[str], None]


class KernelMenu(QMenu):
    """Interpreters with their versions, connecting, and closing the kernel on show.

    Each interpreter is examined in a worker when the menu is opened, once.

    Parameters
    ----------
    desk : Desk
    say : callable
        Shows a line to the user.
    """

    def __init__(self, desk: Desk, say: Say, parent: QWidget) -> None:
        super().__init__(parent)
        self._desk = desk
        self._say = say
        self._settings = Settings()
        self._examined: dict[str, Interpreter] = {}
        self._actions: dict[str, QAction] = {}
        self.setToolTipsVisible(True)
        self.aboutToShow.connect(self._fill)

    def _fill(self) -> None:
        self.clear()
        self._actions.clear()
        self.addAction("New kernel with").setEnabled(False)
        for path in known_interpreters(self._remembered()):
            self._actions[path] = self.addAction("", partial(self._pick, path))
            self._show_choice(path)
            if path not in self._examined:
                self._examine(path, partial(self._show_choice, path))
        self.addAction("Choose an interpreter…", self._choose)
        self.addSeparator()
        self.addAction("Connect to a running kernel…", self.connect_kernel)
        self.addSeparator()
        hangs = self.addAction("Where does this kernel hang?", self._dump_stacks)
        hangs.setToolTip("Show where each of its threads stands")
        hangs.setEnabled(self._desk.kernel is not None)
        close = self.addAction("Close this kernel", self._close)
        close.setEnabled(self._desk.kernel is not None)

    def _show_choice(self, path: str) -> None:
        """Say what is known about an interpreter."""
        action = self._actions.get(path)
        if action is None:
            return
        entry = choice(path, self._examined.get(path))
        action.setText(entry.text.replace("&", "&&"))
        action.setToolTip(entry.hint)

    def _examine(self, path: str, done: Callable[[], None]) -> None:
        def keep(found: Interpreter) -> None:
            self._examined[path] = found
            done()

        self._desk.jobs.latest(f"console:{path}", lambda _: examine(path), keep)

    def _start(self, path: str) -> None:
        self._settings.set(_SETTING, remembered(self._remembered(), path))
        self._settings.save()
        self._desk.start_kernel(path)

    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self.parentWidget(), "Choose a Python interpreter")
        if path:
            self._say(f"Looking at {path}…")
            self._examine(path, partial(self._pick, path))

    def _pick(self, path: str) -> None:
        entry = choice(path, self._examined.get(path))
        if entry.possible:
            self._start(path)
        else:
            self._tell(entry.hint)

    def _tell(self, hint: str) -> None:
        """Say what an interpreter lacks, and leave the command for the terminal in the clipboard."""
        command = hint.partition(": ")[2] if " -m pip " in hint else ""
        if command:
            QGuiApplication.clipboard().setText(command)
        self._say(f"{hint}  (copied to the clipboard)" if command else hint)

    def connect_kernel(self) -> None:
        """Ask which kernel to connect to, and do."""
        form = ConnectForm(self.parentWidget())
        form.accepted.connect(lambda: self._desk.connect_kernel(*form.request()))
        form.open()

    def _dump_stacks(self) -> None:
        if self._desk.kernel is not None:
            self._desk.kernel.dump_stacks()

    def _close(self) -> None:
        if self._desk.kernel is not None:
            self._desk.close_kernel(self._desk.kernel)

    def _remembered(self) -> list[str]:
        kept = self._settings.get(_SETTING, [])
        return [path for path in kept if isinstance(path, str)] if isinstance(kept, list) else []


class ConnectForm(QDialog):
    """Asks for a connection file and, if the kernel is elsewhere, the ssh host."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Connect to a running kernel")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.file = QLineEdit(placeholderText="kernel-….json, as %connect_info in the notebook names it")
        self.file.setMinimumWidth(420)
        self.ssh = QLineEdit(placeholderText="user@host, only if the kernel is on another machine")
        self.problem = QLabel(wordWrap=True)
        self.problem.setObjectName("panel_failure")
        self.problem.hide()
        browse = QPushButton("Browse…")
        browse.clicked.connect(self._browse)
        line = QHBoxLayout()
        line.addWidget(self.file, 1)
        line.addWidget(browse)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        connect = buttons.addButton("Connect", QDialogButtonBox.ButtonRole.AcceptRole)
        connect.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout(self)
        form.addRow("Connection file", line)
        form.addRow("Through ssh", self.ssh)
        form.addRow(self.problem)
        form.addRow(buttons)

    def request(self) -> tuple[Path, str]:
        """Return path and host.

        Raises
        ------
        MoedeskError
            Something is missing.
        """
        return connection_request(self.file.text(), self.ssh.text())

    def accept(self) -> None:
        """Close if the request is complete, else say what is missing."""
        try:
            self.request()
        except MoedeskError as error:
            self.problem.setText(str(error))
            self.problem.show()
        else:
            super().accept()

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Connection file", _runtime_folder(), "Connection files (*.json)")
        if path:
            self.file.setText(path)


def _runtime_folder() -> str:
    from jupyter_core.paths import jupyter_runtime_dir

    return str(jupyter_runtime_dir())
