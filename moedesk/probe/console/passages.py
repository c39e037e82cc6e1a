"""What a user names a token by, as the passage that is run to explain it."""

from typing import Any

import numpy as np

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.selected_place import Selected
from moedesk.probe.console.selected_token import SelectedToken
from moedesk.probe.exactness.text_batch import encode
from moedesk.probe.explaining.passage import Passage, passage_of_ids, text_of


def passage_of(token: Any, index: int, tokenizer: Any) -> Passage:
    """Return the passage up to a token.

    Parameters
    ----------
    token : SelectedToken, Passage, str, or sequence of int
        A token that was clicked in the app; a text or token ids.
    index : int
        Which token of a text or of ids.
    tokenizer : transformers tokenizer or None

    Raises
    ------
    MoedeskError
        If it is none of these, or there is no such token.
    """
    if isinstance(token, Passage):
        return token
    if isinstance(token, SelectedToken):
        return _selected(token, tokenizer)
    if isinstance(token, Selected):
        raise MoedeskError(f"{token.title} is no token; click one in Network, or give a text or token ids")
    if isinstance(token, str):
        if tokenizer is None:
            raise MoedeskError("there is no tokenizer for a text; give token ids, or moe.attach(model, tokenizer)")
        return passage_of_ids(encode(tokenizer, token), index, tokenizer)
    return passage_of_ids(token, index, tokenizer)


def _selected(token: SelectedToken, tokenizer: Any) -> Passage:
    ids = token.arrays.get("sequence_ids")
    if ids is None or not len(ids):
        raise MoedeskError("the tokens before this one were not recorded; give a text or token ids instead")
    routes = {}
    if token.layers is not None and token.experts is not None and token.weights is not None:
        for place, experts, weights in zip(token.layers.tolist(), token.experts, token.weights, strict=True):
            there = np.isfinite(weights)
            routes[int(place)] = experts[there].astype(np.int64), weights[there].astype(np.float32)
    fields = token.fields
    following = int(fields.get("next_id", -1))
    return Passage(
        ids.astype(np.int64),
        following if following >= 0 else None,
        token.text or text_of(tokenizer, int(ids[-1])),
        str(fields.get("stream") or "main"),
        token.token,
        int(fields.get("sequence", -1)),
        int(fields.get("column", -1)),
        routes,
    )
