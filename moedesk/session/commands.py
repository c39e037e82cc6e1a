"""Commands: declared once, shown in menus and the command palette, run by shortcut."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from moedesk.session.match import match


def always() -> bool:
    """Return True: the command can be run at any time."""
    return True


@dataclass(frozen=True)
class Command:
    """Something the user can do.

    Attributes
    ----------
    id : str
        Stable name, e.g. ``file.open``.
    title : str
        What menu and palette say.
    run : callable
    when : callable
        Whether it can be run now.
    shortcut : str
        Key sequences, separated by two spaces, e.g. ``Ctrl++  Ctrl+=``; the first is shown.
    menu : str
        Menu and section, e.g. ``File`` or ``View/Theme`` for a submenu; empty for the palette only.
    group : int
        Commands of one menu with different groups are kept apart by a line.
    checked : callable, optional
        Whether a check mark stands before it.
    """

    id: str
    title: str
    run: Callable[[], None]
    when: Callable[[], bool] = always
    shortcut: str = ""
    menu: str = ""
    group: int = 0
    checked: Callable[[], bool] | None = None

    @property
    def shortcuts(self) -> tuple[str, ...]:
        """The key sequences one by one."""
        return tuple(self.shortcut.split("  ")) if self.shortcut else ()

    @property
    def label(self) -> str:
        """The title with the menus it is in, as the palette shows it."""
        return f"{self.menu.replace('/', ': ')}: {self.title}" if self.menu else self.title


class Commands:
    """All commands, in the order they were added."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}

    def add(self, *commands: Command) -> None:
        """Add commands; an id is taken once."""
        for command in commands:
            if command.id in self._commands:
                raise ValueError(f"command {command.id} exists already")
            self._commands[command.id] = command

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands.values())

    def __getitem__(self, command_id: str) -> Command:
        return self._commands[command_id]

    def run(self, command_id: str) -> None:
        """Run a command if it can be run now."""
        command = self._commands[command_id]
        if command.when():
            command.run()

    def search(self, text: str) -> list[Command]:
        """Return the commands that can be run now and fit ``text``, the best first."""
        scored = [(match(text, command.label), command) for command in self if command.when()]
        found = [(score, command) for score, command in scored if score is not None]
        return [command for _, command in sorted(found, key=lambda pair: -pair[0])]
