"""Places that "Go to" finds: an expert by ``12.37``, a pass, a layer, a token, a module by its path."""

import re
from dataclasses import dataclass

from moedesk.core.selection import Kind, Selection
from moedesk.core.store import Store
from moedesk.session.match import match

LIMIT = 50
HINT = "12.37 (layer.expert) · pass 12 · layer 3 · token 200 · a module's path"

_EXPERT = re.compile(r"(?:expert\s*)?(\d+)\s*[.:/]\s*(\d+)$")
_NUMBERED = re.compile(r"(pass|layer|token)\s*(\d+)$")


@dataclass(frozen=True)
class Destination:
    """A place to go to.

    Attributes
    ----------
    title, detail : str
        The place, and what is there.
    selection : Selection
    """

    title: str
    detail: str
    selection: Selection


def destinations(text: str, store: Store) -> list[Destination]:
    """Return the places that fit ``text``, the best first, ``LIMIT`` at most."""
    typed = text.strip().lower()
    exact = [_expert(typed, store), _numbered(typed, store)]
    found = [place for place in exact if place is not None]
    return (found + (_modules(typed, store) if typed else _layers(store)))[:LIMIT]


def _expert(typed: str, store: Store) -> Destination | None:
    numbers = _EXPERT.match(typed)
    if not numbers:
        return None
    layer, expert = int(numbers[1]), int(numbers[2])
    layers = store.model.layers
    if layer >= len(layers) or expert >= layers[layer].experts:
        return None
    return Destination(
        f"Expert {layer}.{expert}", layers[layer].path, Selection(Kind.EXPERT, layer=layer, expert=expert)
    )


def _numbered(typed: str, store: Store) -> Destination | None:
    found = _NUMBERED.match(typed)
    if not found:
        return None
    kind, number = found[1], int(found[2])
    layers = store.model.layers
    if kind == "pass" and number < store.n_passes:
        return Destination(f"Pass {number}", f"of {store.n_passes:,}", Selection(Kind.PASS, pass_id=number))
    if kind == "layer" and number < len(layers):
        return _layer(store, number)
    if kind == "token" and number < store.n_tokens():
        return Destination(f"Token {number}", f"row {number:,} of the tokens", Selection(Kind.TOKEN, token=number))
    return None


def _layer(store: Store, place: int) -> Destination:
    layer = store.model.layers[place]
    detail = f"{layer.path} · {layer.experts} experts, top-{layer.top_k}"
    return Destination(f"Layer {place}", detail, Selection(Kind.LAYER, layer=place))


def _layers(store: Store) -> list[Destination]:
    return [_layer(store, place) for place in range(len(store.model.layers))]


def _modules(typed: str, store: Store) -> list[Destination]:
    scored = [(match(typed, module.path), module) for module in store.model.modules if module.path]
    best = sorted(((score, module) for score, module in scored if score is not None), key=lambda pair: -pair[0])
    return [
        Destination(module.path, module.class_name, Selection(Kind.MODULE, module=module.path))
        for _, module in best[:LIMIT]
    ]
