"""Passages of tokens that were clicked in the app, or that it asks about: what ran comes with them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.passage import Passage

if TYPE_CHECKING:
    from moedesk.probe.console.selected_token import SelectedToken


def selected_passage(token: "SelectedToken") -> Passage:
    """Return the passage of ``$0``.

    Raises
    ------
    MoedeskError
        If tokens before it were not recorded.
    """
    if token.ids is None:
        raise MoedeskError(
            f"some tokens before {token.text!r} were not recorded, so the model can't be run on them; give a text or token ids"
        )
    routes = {}
    if token.layers is not None and token.experts is not None and token.weights is not None:
        for place, experts, weights in zip(token.layers.tolist(), token.experts, token.weights, strict=True):
            there = np.isfinite(weights)  # layers of fewer slots are filled up with NaN
            routes[place] = experts[there].astype(np.int64), weights[there].astype(np.float32)
    fields = token.fields
    return Passage(
        ids=token.ids.astype(np.int64),
        next_id=token.next_id,
        text=token.text,
        stream=str(fields.get("stream") or "main"),
        row=token.token,
        sequence=int(fields.get("sequence", -1)),
        column=int(fields.get("column", -1)),
        routes=routes,
    )


def asked_passage(value: Mapping[str, Any]) -> Passage:
    """Return the passage of a task's value: what ``session.asked_token.asked_token`` made.

    Raises
    ------
    MoedeskError
        If it is none.
    """
    try:
        routes = {
            int(place): (np.array(experts, np.int64), np.array(weights, np.float32))
            for place, (experts, weights) in value.get("routes", {}).items()
        }
        next_id = value.get("next_id")
        return Passage(
            ids=np.array(value["ids"], np.int64),
            next_id=None if next_id is None else int(next_id),
            text=str(value.get("text", "")),
            stream=str(value.get("stream", "main")),
            row=int(value.get("row", -1)),
            sequence=int(value.get("sequence", -1)),
            column=int(value.get("column", -1)),
            routes=routes,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise MoedeskError("the app asked about a token in a way that this moedesk doesn't understand") from None
