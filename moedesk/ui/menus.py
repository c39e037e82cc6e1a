"""Menus and shortcuts, built from the commands."""

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from moedesk.session.commands import Command, Commands

ORDER = ("File", "Edit", "Model", "View", "Go", "Help")
MNEMONICS = {"File": "&File", "Edit": "&Edit", "Model": "&Model", "View": "&View", "Go": "&Go", "Help": "&Help"}


class Menus:
    """The menu bar of a window.

    An action stays enabled while its menu is closed, so that its shortcut always asks the command itself.
    """

    def __init__(self, window: QMainWindow, commands: Commands) -> None:
        self._window = window
        self._commands = commands
        self._menus: dict[str, QMenu] = {}
        self._groups: dict[str, int] = {}
        self.actions: dict[str, QAction] = {}
        for name in ORDER:
            self._menu(name)
        for command in commands:
            self._add(command)
        self.share_keys()

    def add_dynamic(self, path: str, fill: Callable[[QMenu], None]) -> None:
        """Add a submenu that is filled whenever it opens."""
        menu = self._menu(path)

        def refill() -> None:
            menu.clear()
            fill(menu)

        menu.aboutToShow.connect(refill)

    def share_keys(self) -> None:
        """Give a key that several commands name to the first that can be run now, else to the last; call it when that changes."""
        owners: dict[str, Command] = {}
        for command in self._commands:
            for keys in command.shortcuts:
                if keys not in owners or not owners[keys].when():
                    owners[keys] = command
        for command in self._commands:
            own = [QKeySequence(keys) for keys in command.shortcuts if owners[keys] is command]
            if own != self.actions[command.id].shortcuts():
                self.actions[command.id].setShortcuts(own)

    def _add(self, command: Command) -> None:
        action = QAction(command.title, self._window)
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        action.setCheckable(command.checked is not None)
        action.triggered.connect(lambda: self._commands.run(command.id))
        self.actions[command.id] = action
        self._window.addAction(action)
        if command.menu:
            menu = self._menu(command.menu)
            if self._groups.setdefault(command.menu, command.group) != command.group:
                menu.addSeparator()
                self._groups[command.menu] = command.group
            menu.addAction(action)

    def _menu(self, path: str) -> QMenu:
        if path not in self._menus:
            above, _, name = path.rpartition("/")
            parent = self._menu(above) if above else self._window.menuBar()
            menu = parent.addMenu(MNEMONICS.get(name, name))
            menu.aboutToShow.connect(lambda: self._update(path))
            menu.aboutToHide.connect(lambda: self._enable(path))
            self._menus[path] = menu
        return self._menus[path]

    def _update(self, path: str) -> None:
        for command in self._commands:
            if command.menu == path:
                action = self.actions[command.id]
                action.setEnabled(command.when())
                if command.checked is not None:
                    action.setChecked(command.checked())

    def _enable(self, path: str) -> None:
        for command in self._commands:
            if command.menu == path:
                self.actions[command.id].setEnabled(True)
