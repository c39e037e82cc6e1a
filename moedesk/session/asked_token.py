"""A captured token as tasks are told of it: the tokens that it saw, and where it was routed."""

from typing import Any

from moedesk.analysis.passage import token_passage
from moedesk.analysis.tokens import token_routes
from moedesk.core.store import Store


def asked_token(store: Store, row: int, stream: str | None = None) -> dict[str, Any]:
    """Return the ``passage`` of a task's value, plain JSON; reads the store, so call it from a worker.

    ``ids`` (the last is the token), ``next_id`` (or None), ``text``, ``stream``, ``row``, ``pass_id``, ``sequence``,
    ``position``, ``column``, ``after`` and ``source`` (or None; see ``TokenPassage``), and ``routes``: for the place of each
    layer of its stream the experts and the weights that they received, in slot order.

    Raises
    ------
    MoedeskError
        If tokens before it were not recorded, or what they were is unknown.
    """
    found = token_passage(store, row, stream)
    routes = {}
    for route in token_routes(store, row, found.stream).layers:
        slots = sorted(route.slots, key=lambda slot: slot.slot)
        routes[str(route.layer.place)] = [[slot.expert for slot in slots], [slot.weight for slot in slots]]
    token = found.token
    return {
        "ids": found.ids.tolist(),
        "next_id": found.next_id,
        "text": found.text,
        "stream": found.stream,
        "row": row,
        "pass_id": int(token["pass"]),
        "sequence": int(token["sequence"]),
        "position": int(token["position"]),
        "column": int(token["column"]),
        "after": None if found.after is None else found.after.tolist(),
        "source": None if found.source is None else found.source.tolist(),
        "routes": routes,
    }
