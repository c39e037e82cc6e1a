"""The palette: with ``>`` it finds commands (Ctrl+Shift+P), without it goes to places (Ctrl+P)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import QFrame, QLabel, QLineEdit, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from moedesk.session.commands import Commands
from moedesk.session.goto import HINT, Destination, destinations
from moedesk.session.session import Session

_ROWS = 12
_WIDTH = 560


@dataclass(frozen=True)
class Entry:
    """One line of the palette."""

    title: str
    detail: str
    run: Callable[[], None]


class CommandPalette(QFrame):
    """A line to type into and what fits, over the top of the window."""

    def __init__(
        self,
        window: QWidget,
        commands: Commands,
        session: Callable[[], Session | None],
        go: Callable[[Destination], None],
    ) -> None:
        super().__init__(window)
        self.setObjectName("command_palette")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAutoFillBackground(True)
        self._commands = commands
        self._session = session
        self._go = go
        self._before: QWidget | None = None
        self.entries: list[Entry] = []
        self.line = QLineEdit()
        self.line.setAccessibleName("Command or place")
        self.line.textChanged.connect(self._search)
        self.line.installEventFilter(self)
        self.list = QTreeWidget()
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setColumnCount(2)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.itemClicked.connect(lambda item: self._run(self.list.indexOfTopLevelItem(item)))
        self._nothing = QLabel()
        self._nothing.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.line)
        layout.addWidget(self._nothing)
        layout.addWidget(self.list)
        self.hide()

    def ask(self, start: str) -> None:
        """Open with ``start`` (``>`` for commands, nothing for places) in the line."""
        self._before = self.window().focusWidget()
        self.line.setText(start)
        self._search(start)
        self.show()
        self.raise_()
        self.line.setFocus()

    def dismiss(self) -> None:
        """Close, and give the keyboard back."""
        self.hide()
        if self._before is not None:
            self._before.setFocus()
        self._before = None

    def _search(self, text: str) -> None:
        if text.startswith(">"):
            self.entries = self._find_commands(text[1:])
            self._nothing.setText("No command fits.")
        else:
            self.entries = self._find_places(text)
            self._nothing.setText(
                f"No such place. Try {HINT}, or > for commands."
                if self._session()
                else "Nothing is open. Type > for commands."
            )
        self.list.clear()
        for entry in self.entries:
            self.list.addTopLevelItem(QTreeWidgetItem([entry.title, entry.detail]))
        self._nothing.setVisible(not self.entries)
        self.list.setVisible(bool(self.entries))
        if self.entries:
            self._move_to(0)
        self._place()

    def _find_commands(self, text: str) -> list[Entry]:
        return [
            Entry(
                command.label,
                QKeySequence(command.shortcuts[0]).toString(QKeySequence.SequenceFormat.NativeText)
                if command.shortcut
                else "",
                partial(self._commands.run, command.id),
            )
            for command in self._commands.search(text)
        ]

    def _find_places(self, text: str) -> list[Entry]:
        session = self._session()
        if session is None:
            return []
        return [
            Entry(place.title, place.detail, partial(self._go, place)) for place in destinations(text, session.store)
        ]

    def _place(self) -> None:
        window = self.window()
        width = min(_WIDTH, window.width() - 40)
        row = self.list.sizeHintForRow(0) if self.entries else 0
        self.list.setFixedHeight(max(row, 18) * min(_ROWS, len(self.entries)) + 6)
        details = self.list.sizeHintForColumn(1) if self.entries else 0
        self.list.setColumnWidth(0, max(int(width * 0.62), width - details - 40))  # 40: margins and a scroll bar
        self.setFixedWidth(width)
        self.adjustSize()
        self.move((window.width() - width) // 2, 40)

    def _move_to(self, row: int) -> None:
        self.list.setCurrentIndex(self.list.model().index(row % len(self.entries), 0))

    def _run(self, place: int) -> None:
        if 0 <= place < len(self.entries):
            entry = self.entries[place]
            self.dismiss()
            entry.run()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Keys of the line move through the list; leaving the line closes the palette."""
        if event.type() == QEvent.Type.FocusOut and self.isVisible():
            self.hide()
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and event.key() == Qt.Key.Key_Escape
        ):
            event.accept()  # else the window's shortcut for the drawer takes it
            return True
        if event.type() != QEvent.Type.KeyPress or not isinstance(event, QKeyEvent):
            return False
        key = event.key()
        if key == Qt.Key.Key_Escape:
            self.dismiss()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._run(self.list.currentIndex().row())
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down) and self.entries:
            self._move_to(self.list.currentIndex().row() + (1 if key == Qt.Key.Key_Down else -1))
        else:
            return False
        return True
