"""Copies what is selected to the clipboard, read by the worker."""

from collections.abc import Callable

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu

from moedesk.core.selection import Kind, Selection
from moedesk.panels.network.model_copy import Subject, as_csv, as_json, as_python, extract
from moedesk.session.jobs import Ticket
from moedesk.session.session import Session
from moedesk.ui.panel import Shell


def copy_as(session: Session, shell: Shell, subject: Subject, form: str) -> None:
    """Put what is selected on the clipboard as ``python``, ``csv`` or ``json``."""
    store, path = session.store, session.path

    def work(_: Ticket) -> tuple[str, str]:
        if form == "python":
            return as_python(store, path, subject), "Python that reads this"
        table = extract(store, subject)
        text = as_csv(table) if form == "csv" else as_json(table)
        cut = f", the first {len(table.rows):,}" if table.cut else ""
        return text, f"{table.title}: {len(table.rows):,} rows{cut}"

    _copy(session, shell, work)


def copy_text(session: Session, shell: Shell, first: int, last: int, stream: str | None) -> None:
    """Put the text of token rows first…last (end excluded) on the clipboard."""
    store = session.store
    _copy(session, shell, lambda _: (store.text(first, last, stream), f"text of {last - first:,} tokens"))


def _copy(session: Session, shell: Shell, work: Callable[[Ticket], tuple[str, str]]) -> None:
    def done(answer: tuple[str, str]) -> None:
        QGuiApplication.clipboard().setText(answer[0])
        shell.say(f"Copied {answer[1]}.")

    session.jobs.latest("network.copy", work, done, lambda error: shell.say(f"Nothing copied: {error}"))


def add_copy_actions(menu: QMenu, session: Session, shell: Shell, subject: Subject) -> None:
    """Add "Copy as Python", "CSV" and "JSON" to a context menu."""
    for form, title in (("python", "Copy as Python"), ("csv", "Copy as CSV"), ("json", "Copy as JSON")):
        menu.addAction(title).triggered.connect(lambda _=False, form=form: copy_as(session, shell, subject, form))


def subject_of(session: Session, selection: Selection, layer: int) -> Subject:
    """Return what to copy for a selection, in the passes in view; for nothing, the pass in question."""
    if selection.kind in (Kind.NOTHING, Kind.MODULE):
        number = selection.pass_id if selection.pass_id is not None else session.span[0]
        selection = Selection(Kind.PASS, pass_id=number)
    return Subject(selection, selection.layer if selection.layer is not None else layer, session.span)
