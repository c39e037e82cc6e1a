"""The commands that label passes: what is selected or brushed, from a file, and back."""

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFileDialog, QInputDialog

from moedesk.session.commands import Command
from moedesk.session.session import Session
from moedesk.ui.label_dialog import label_rows

if TYPE_CHECKING:
    from moedesk.ui.window import Window


def label_commands(window: "Window") -> list[Command]:
    """Return the commands in the order of the menu Edit."""

    def session() -> Session | None:
        current = window.files.current
        return current if current is not None and current.labelling.possible else None

    def can_label() -> bool:
        current = session()
        return current is not None and (current.window is not None or current.selection.pass_id is not None)

    def label() -> None:
        current = session()
        if current is None:
            return
        number = current.selection.pass_id
        spans = [current.window] if current.window is not None else [] if number is None else [(number, number + 1)]
        if spans:
            label_rows(current, window, window, spans)

    def undo() -> None:
        current = session()
        if current is not None:
            current.labelling.undo(window.say)

    def can_undo() -> bool:
        current = session()
        return current is not None and current.labelling.can_undo

    def remove() -> None:
        current = session()
        if current is not None:
            current.labelling.names(lambda names: _ask_removal(window, current, names))

    def take_file() -> None:
        current = session()
        name, _ = QFileDialog.getOpenFileName(
            window, "Labels of passes and tokens", "", "Labels (*.json *.csv);;All files (*)"
        )
        if current is not None and name:
            current.labelling.take_file(Path(name), window.say)

    def is_open() -> bool:
        return session() is not None

    return [
        Command(
            "label.add", "Label the brushed passes, or the selected one…", label, can_label, "Ctrl+Shift+L", "Edit"
        ),
        Command("label.file", "Take labels from a file…", take_file, is_open, menu="Edit"),
        Command("label.remove", "Remove a label…", remove, is_open, menu="Edit"),
        Command("label.undo", "Undo labelling", undo, can_undo, menu="Edit"),
    ]


def _ask_removal(window: "Window", session: Session, names: tuple[str, ...]) -> None:
    if not names:
        window.say("There are no labels to remove")
        return
    name, taken = QInputDialog.getItem(
        window, "Remove a label", "Passes and tokens are no longer labelled", list(names), 0, False
    )
    if taken and name:
        session.labelling.remove(name, window.say)
