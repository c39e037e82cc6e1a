"""The commands that override the routing of what is selected, and that undo, redo and clear overrides."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from moedesk.core.override import OverrideKind
from moedesk.core.selection import Selection
from moedesk.session.commands import Command
from moedesk.session.override_offers import Offer, expert_offers, layer_offers
from moedesk.session.overriding import Overriding
from moedesk.session.session import Session
from moedesk.ui.override_menu import can_open_token_menu, open_token_menu, take

if TYPE_CHECKING:
    from moedesk.ui.window import Window

_OF_EXPERT = {
    OverrideKind.ABLATE: "Ablate the selected expert",
    OverrideKind.EXCLUDE: "Exclude the selected expert",
    OverrideKind.FORCE: "Force the selected expert",
    OverrideKind.BIAS: "Bias the selected expert…",
    OverrideKind.SCALE: "Scale the selected expert…",
    OverrideKind.SWAP: "Swap the selected expert with…",
}
_OF_LAYER = {
    OverrideKind.TOP_K: "Set k of the selected layer (new session)…",
    OverrideKind.TEMPERATURE: "Set temperature of the selected layer…",
    OverrideKind.CAPACITY: "Set capacity of the selected layer…",
}


def override_commands(window: "Window") -> list[Command]:
    """Return the commands in the order of the menu Model."""

    def session() -> Session | None:
        current = window.files.current
        return current if current is not None and not current.overriding.why_not else None

    def can(condition: Callable[[Overriding], object]) -> bool:
        current = session()
        return current is not None and bool(condition(current.overriding))

    def do(action: Callable[[Overriding], None]) -> None:
        current = session()
        if current is not None:
            action(current.overriding)

    def offer(kind: OverrideKind) -> Offer | None:
        current = session()
        return None if current is None else _offer(current, current.selection, kind)

    def run(kind: OverrideKind) -> None:
        current, chosen = session(), offer(kind)
        if current is not None and chosen is not None:
            take(chosen, current, window, window)

    def at_token() -> None:
        current = session()
        if current is not None:
            open_token_menu(current, window, window)

    menu = "Model/Overrides"
    return [
        *(
            Command(f"override.{kind}", title, partial(run, kind), lambda kind=kind: offer(kind) is not None, menu=menu)  # type: ignore[misc]
            for kind, title in (_OF_EXPERT | _OF_LAYER).items()
        ),
        Command(
            "override.token",
            "Override at the selected token only…",
            at_token,
            lambda: (current := session()) is not None and can_open_token_menu(current),
            menu=menu,
        ),
        Command(
            "override.undo",
            "Undo the last override",
            lambda: do(Overriding.undo),
            lambda: can(lambda overriding: overriding.told.undo),
            menu=menu,
            group=1,
        ),
        Command(
            "override.redo",
            "Redo the last override",
            lambda: do(Overriding.redo),
            lambda: can(lambda overriding: overriding.told.redo),
            menu=menu,
            group=1,
        ),
        Command(
            "override.clear",
            "Clear all overrides",
            lambda: do(Overriding.clear),
            lambda: can(lambda overriding: overriding.entries),
            menu=menu,
            group=1,
        ),
    ]


def _offer(session: Session, place: Selection, kind: OverrideKind) -> Offer | None:
    """Return what a command sets at the selected place; None where there is no such place."""
    layers = session.store.model.layers
    if place.layer is None or not 0 <= place.layer < len(layers):
        return None
    layer = layers[place.layer]
    if kind in _OF_LAYER:
        offers = layer_offers(layer)
    elif place.expert is not None:
        offers = expert_offers(layer, place.expert)
    else:
        return None
    return next(offer for offer in offers if offer.override.kind is kind)
