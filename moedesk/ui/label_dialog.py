"""Asks what to label passes or tokens as."""

from collections.abc import Sequence

from PySide6.QtWidgets import QInputDialog, QWidget

from moedesk.core.errors import MoedeskError
from moedesk.core.label import Label
from moedesk.core.label_set import checked
from moedesk.session.labelling import spans_text
from moedesk.session.session import Session
from moedesk.ui.panel import Shell


def ask_label(parent: QWidget, what: str, names: Sequence[str]) -> str | None:
    """Return the name that the user chose or typed; None if they would rather not."""
    name, taken = QInputDialog.getItem(parent, "Label", f"Label {what} as", list(names), 0, True)
    return name.strip() if taken and name.strip() else None


def label_rows(
    session: Session, shell: Shell, parent: QWidget, spans: Sequence[tuple[int, int]], stream: str = ""
) -> None:
    """Ask for a name, and label passes (or token rows of ``stream``) first…last, end excluded, with it."""

    def asked(names: tuple[str, ...]) -> None:
        nameless = [Label("?", first, last, stream) for first, last in spans]
        name = ask_label(parent, spans_text(nameless), names)
        if name is None:
            return
        try:
            session.labelling.add([checked(Label(name, first, last, stream)) for first, last in spans], shell.say)
        except MoedeskError as error:
            shell.say(f"Nothing labelled: {error}")

    session.labelling.names(asked)
