"""Passages of tokens that the app asks about: what ran comes with them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.passage import Passage


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
            after=_ids(value.get("after")),
            source=_ids(value.get("source")),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise MoedeskError("the app asked about a token in a way that this moedesk doesn't understand") from None


def _ids(value: Any) -> np.ndarray | None:
    return None if value is None else np.array(value, np.int64)
