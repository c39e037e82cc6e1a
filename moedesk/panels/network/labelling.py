"""Labels passes and tokens from a context menu."""

from collections.abc import Sequence

from PySide6.QtWidgets import QMenu, QWidget

from moedesk.core.label import Label
from moedesk.core.selection import Kind, Selection
from moedesk.session.labelling import spans_text
from moedesk.session.session import Session
from moedesk.ui.label_dialog import label_rows
from moedesk.ui.panel import Shell

Spans = Sequence[tuple[int, int]]


def add_label_actions(
    menu: QMenu, session: Session, shell: Shell, parent: QWidget, selected: Spans, pointed: Selection
) -> None:
    """Add what can be labelled: the selected passes or the one pointed at, the brushed ones, a token; and taking it back."""
    if not session.labelling.possible:
        return

    def offer(spans: Spans, stream: str = "", why: str = "") -> None:
        what = spans_text([Label("?", first, last, stream) for first, last in spans[:3]])
        more = ", …" if len(spans) > 3 else ""
        menu.addAction(f"Label {what}{more}{why} as…", lambda: label_rows(session, shell, parent, spans, stream))

    number = pointed.pass_id
    if number is not None:
        offer(selected if any(first <= number < last for first, last in selected) else [(number, number + 1)])
    if session.window is not None:
        offer([session.window], why=" (brushed)")
    if pointed.kind is Kind.TOKEN and pointed.token is not None:
        stream = pointed.stream or session.store.model.streams[0]
        offer([(pointed.token, pointed.token + 1)], stream)
    if session.labelling.can_undo:
        menu.addAction("Undo labelling", lambda: session.labelling.undo(shell.say))
