"""Breakpoints set from a context menu: "Break ▸" for an expert, a layer, a token."""

from collections.abc import Callable

from PySide6.QtWidgets import QInputDialog, QMenu, QWidget

from moedesk.core.breakpoint import Breakpoint
from moedesk.core.errors import MoedeskError
from moedesk.core.filter import Term, token_pattern
from moedesk.core.selection import Kind, Selection
from moedesk.session import breakpoints
from moedesk.session.session import Session
from moedesk.ui.panel import Shell

PANEL = "breakpoints"
"""Id of the panel that lists them."""
KINDS = (Kind.EXPERT, Kind.LAYER, Kind.TOKEN, Kind.MODULE)
_MARGIN = 0.01


def add_break_actions(menu: QMenu, selection: Selection, session: Session, shell: Shell) -> None:
    """Add "Break" for an expert, a layer or a token; nothing where no model runs, or for a pass, which is over.

    The layer that the selection leaves open is taken from the session's current one.
    """
    if not breakpoints.can_break(session.live) or selection.kind not in KINDS:
        return
    actions = _actions(selection.with_context(session.selection), session, shell, menu.parentWidget())
    if not actions:
        return
    below = menu.addMenu("Break")
    for title, run in actions:
        below.addAction(title, run)
    below.addSeparator()
    below.addAction("Show all breakpoints", lambda: shell.reveal(session.selection, PANEL))


def _actions(
    selection: Selection, session: Session, shell: Shell, parent: QWidget | None
) -> list[tuple[str, Callable[[], None]]]:
    layer, expert = selection.layer, selection.expert
    actions: list[tuple[str, Callable[[], None]]] = []
    if selection.kind is Kind.EXPERT and layer is not None and expert is not None:
        text = f"layer:{layer} expert:{expert}"
        actions.append((f"When expert {layer}.{expert} is chosen", lambda: set_breakpoint(session, shell, text)))
    if selection.kind is Kind.TOKEN and selection.token is not None:
        where = "" if layer is None else f" at layer {layer}"
        actions.append((f"On this token's text{where}", lambda: break_on_token(selection, session, shell)))
    if layer is not None:
        actions += [
            (f"When the margin at layer {layer} is below…", lambda: break_on_margin(layer, session, shell, parent)),
            (
                f"On NaN or infinity at layer {layer}",
                lambda: set_breakpoint(session, shell, f"layer:{layer} is:nonfinite"),
            ),
        ]
    return actions


def set_breakpoint(session: Session, shell: Shell, text: str) -> None:
    """Set a breakpoint in a session's model, and say so, or why not."""
    live = session.live
    if live is None or not breakpoints.can_break(live):
        shell.say(NO_MODEL)
        return
    try:
        breakpoints.add(live, Breakpoint(text), session.store.model)
    except MoedeskError as error:
        shell.say(f"No breakpoint set: {error}")
    else:
        shell.say(f"Breakpoint set: {text}")


def ask_margin(parent: QWidget | None, layer: int) -> float | None:
    """Return the margin below which to stop; None if the user would rather not."""
    what = f"Stop at layer {layer} where the margin (score of rank k minus rank k+1) is below"
    value, taken = QInputDialog.getDouble(parent, "Break", what, _MARGIN, 0, 1e6, 6)
    return value if taken else None


def break_on_margin(layer: int, session: Session, shell: Shell, parent: QWidget | None) -> None:
    """Ask for a margin, and stop where a layer's is below it."""
    margin = ask_margin(parent, layer)
    if margin is not None:
        set_breakpoint(session, shell, f"layer:{layer} margin<{margin:g}")


def break_on_token(selection: Selection, session: Session, shell: Shell) -> None:
    """Read the token's text in a worker, then break on it, at the layer if one is given; on its id if it has no text."""
    store, row = session.store, selection.token
    assert row is not None
    layer = "" if selection.layer is None else f"layer:{selection.layer} "

    def term(_: object) -> str:
        token_id = int(store.read_tokens(row, row + 1, selection.stream)[0]["token_id"])
        text = store.token_text([token_id])[0]
        known = text and text != f"⟨{token_id}⟩"
        return Term("token", token_pattern(text)).to_text() if known else f"id:{token_id}"

    session.jobs.latest(
        "break.token",
        term,
        lambda text: set_breakpoint(session, shell, layer + text),
        lambda error: shell.say(f"No breakpoint set: the token could not be read: {error}"),
    )


NO_MODEL = 'No model runs here to break in. In the console (Ctrl+`): moe.load("sample"), then moe.attach()'
