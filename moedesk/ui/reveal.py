"""Entries of a context menu that show a selection in another panel: "Reveal in …"."""

from PySide6.QtWidgets import QMenu

from moedesk.core.selection import Kind, Selection
from moedesk.session.session import Session
from moedesk.ui.panel import Shell


def add_reveal_actions(menu: QMenu, selection: Selection, session: Session, shell: Shell, here: str = "") -> None:
    """Add "Reveal in …" for every panel that can show the selection's kind, but for the one with the id ``here``.

    What the selection leaves open (its pass, its layer) is taken from the session's current one when it is revealed.
    """
    if selection.kind is Kind.NOTHING:
        return
    if not menu.isEmpty():
        menu.addSeparator()
    for spec in shell.panels_for(selection.kind):
        if spec.id == here:
            continue
        action = menu.addAction(f"Reveal {_short(selection)} in {spec.title}")
        action.triggered.connect(lambda _=False, panel_id=spec.id: _reveal(selection, session, shell, panel_id))


def _reveal(selection: Selection, session: Session, shell: Shell, panel_id: str) -> None:
    session.select(selection)
    shell.reveal(session.selection, panel_id)


def _short(selection: Selection) -> str:
    text = str(selection)
    return text if len(text) <= 40 else selection.kind.value
