"""Entries of a context menu that override the routing at an expert, a layer or a token."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QInputDialog, QMenu, QWidget

from moedesk.core.errors import MoedeskError
from moedesk.core.model import LayerInfo
from moedesk.core.override import Override, OverrideKind
from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store
from moedesk.core.visible import visible_text
from moedesk.session.jobs import Ticket
from moedesk.session.override_offers import NEW_SESSION, Offer, expert_offers, layer_offers
from moedesk.session.overriding import Entry
from moedesk.session.session import Session
from moedesk.ui.panel import Shell

PANEL = "overrides"
"""Id of the panel that lists them."""
MOST_HERE = 8
"""Overrides of a place that its menu lists."""
KINDS = (Kind.EXPERT, Kind.LAYER, Kind.TOKEN, Kind.MODULE)


@dataclass(frozen=True)
class _Token:
    """What an override of one token needs to know of it."""

    text: str
    column: int
    experts: tuple[int, ...]


def add_override_actions(menu: QMenu, selection: Selection, session: Session, shell: Shell) -> None:
    """Add "Override" with what can be done to an expert, a layer or a token; greyed with the reason where nothing can.

    What the selection leaves open (its layer, the token at an expert) is taken from the session's current one.
    """
    place = selection.with_context(session.selection)
    if selection.kind not in KINDS or place.layer is None or not place.layer < len(session.store.model.layers):
        return
    if not menu.isEmpty():
        menu.addSeparator()
    why = session.overriding.why_not
    if why:
        menu.addAction(f"Override: {why}").setEnabled(False)
        return
    _fill(menu.addMenu("Override"), selection, place, session, shell)


def _fill(menu: QMenu, selection: Selection, place: Selection, session: Session, shell: Shell) -> None:
    assert place.layer is not None
    menu.setToolTipsVisible(True)
    layer = session.store.model.layers[place.layer]
    expert = selection.expert if selection.kind is Kind.EXPERT else None
    if expert is not None:
        _add_offers(menu, expert_offers(layer, expert), session, shell)
        menu.addSeparator()
    if _has_token(session, place):
        tokens = menu.addMenu(f"Only at token {place.token:,}")
        tokens.aboutToShow.connect(partial(_ask_token, tokens, place, expert, session, shell))
        menu.addSeparator()
    _add_offers(menu, layer_offers(layer), session, shell)
    here = [entry for entry in session.overriding.entries if _is_about(entry, layer.place, expert)]
    if here:
        menu.addSeparator()
    for entry in here[:MOST_HERE]:
        action = menu.addAction(entry.override.title)
        action.setCheckable(True)
        action.setChecked(entry.on)
        renews = f". {NEW_SESSION}" if entry.override.kind is OverrideKind.TOP_K else ""
        action.setToolTip(f"Switch it on or off{renews}")
        action.toggled.connect(partial(session.overriding.switch, entry.id))
    if session.overriding.entries:
        menu.addSeparator()
        menu.addAction("Show all overrides", lambda: shell.reveal(session.selection, PANEL))


def _has_token(session: Session, place: Selection) -> bool:
    """Return whether a place names a token that its layer sees."""
    model = session.store.model
    if place.token is None or place.layer is None or not place.layer < len(model.layers):
        return False
    return (place.stream or model.streams[0]) == model.layers[place.layer].stream


def can_open_token_menu(session: Session) -> bool:
    """Return whether a token is selected at which something can be overridden."""
    return not session.overriding.why_not and _has_token(session, session.selection)


def open_token_menu(session: Session, shell: Shell, parent: QWidget) -> QMenu:
    """Show the menu of what can be overridden at the selected token only, in the middle of the window; return it."""
    menu, place = QMenu(parent), session.selection
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    _ask_token(menu, place, place.expert if place.kind is Kind.EXPERT else None, session, shell)
    menu.popup(parent.mapToGlobal(parent.rect().center()))
    return menu


def _is_about(entry: Entry, layer: int, expert: int | None) -> bool:
    override = entry.override
    return override.acts_on(layer) and (expert is None or not override.experts or expert in override.experts)


def _add_offers(menu: QMenu, offers: Iterable[Offer], session: Session, shell: Shell) -> None:
    parent = menu.parentWidget()
    for offer in offers:
        action = menu.addAction(offer.title)
        if offer.hint:
            action.setToolTip(offer.hint)
        action.triggered.connect(lambda _=False, offer=offer: take(offer, session, shell, parent))


def take(offer: Offer, session: Session, shell: Shell, parent: QWidget | None) -> None:
    """Ask for the number that an offer needs, if any, and set its override."""
    override = ask(offer, parent) if offer.question else offer.override
    if override is None:
        return
    try:
        session.overriding.add(override)
    except MoedeskError as error:
        shell.say(f"Nothing overridden: {error}")
        return
    shell.say(f"Override on: {override.title}")


def ask(offer: Offer, parent: QWidget | None) -> Override | None:
    """Return the override with the number that the user gives; None if they would rather not."""
    title = offer.title.rstrip("…")
    question = f"{offer.question}:" + (f"\n{offer.hint}." if offer.hint else "")
    if offer.whole:
        lowest, highest = int(offer.lowest), int(offer.highest)
        whole, given = QInputDialog.getInt(parent, title, question, int(offer.start), lowest, highest)
        return offer.answered(whole) if given else None
    number, given = QInputDialog.getDouble(parent, title, question, offer.start, offer.lowest, offer.highest, 6)
    return offer.answered(number) if given else None


def _ask_token(menu: QMenu, place: Selection, expert: int | None, session: Session, shell: Shell) -> None:
    """Fill the menu of a token once its slot and its experts are read."""
    assert place.layer is not None
    layer, store = session.store.model.layers[place.layer], session.store
    menu.clear()
    menu.addAction("Reading the token …").setEnabled(False)

    def work(_: Ticket) -> _Token:
        return _read(store, layer, place)

    def show(token: _Token) -> None:
        menu.clear()
        _fill_token(menu, token, layer, expert, session, shell)

    def fail(error: Exception) -> None:
        menu.clear()
        menu.addAction(f"The token could not be read: {error}").setEnabled(False)

    ticket = session.jobs.latest("override.token", work, show, fail)
    menu.destroyed.connect(lambda: ticket.cancel())


def _read(store: Store, layer: LayerInfo, place: Selection) -> _Token:
    row = place.token
    assert row is not None
    token = store.read_tokens(row, row + 1, layer.stream)[0]
    text, chosen = store.token_text([int(token["token_id"])])[0], store.experts(layer, row, row + 1)[0]
    return _Token(text, int(token["column"]), tuple(int(expert) for expert in chosen if expert >= 0))


def _fill_token(
    menu: QMenu, token: _Token, layer: LayerInfo, expert: int | None, session: Session, shell: Shell
) -> None:
    """Offer to override at the token's slot; of a token without an expert, each one that it chose."""
    at = (token.column, token.column + 1)
    heading = menu.addAction(f"“{visible_text(token.text)}”: column {token.column}, in every sequence")
    heading.setEnabled(False)
    if expert is not None:
        _add_offers(menu, expert_offers(layer, expert, at), session, shell)
    else:
        for chosen in token.experts:
            _add_offers(
                menu.addMenu(f"Expert {layer.place}.{chosen}"), expert_offers(layer, chosen, at), session, shell
            )
    menu.addSeparator()
    _add_offers(menu, layer_offers(layer, at), session, shell)
