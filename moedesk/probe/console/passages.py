"""What a user names a token by, as the passage that is run to explain it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.selected_place import Selected
from moedesk.probe.console.selected_token import SelectedToken
from moedesk.probe.exactness.text_batch import encode
from moedesk.probe.explaining.passage import Passage, passage_of_ids, row_of_ids
from moedesk.probe.explaining.sides import first_of_decoder

Ran = Callable[[int, int], Passage]
SHOWN = 60
"""Characters of the text before a token that are shown."""


def passage_of(
    token: Any, index: int, tokenizer: Any, decoder: Any = None, model: Any = None, ran: Ran | None = None
) -> Passage:
    """Return the passage up to a token.

    Parameters
    ----------
    token : SelectedToken, Passage, str, (int, int), or sequence of int
        A token that was clicked in the app; a text or token ids; a tuple is the sequence and column of a token that ran.
    index : int
        Which token of a text or of ids.
    tokenizer : transformers tokenizer or None
    decoder : str, or sequence of int, optional
        What the decoder of an encoder-decoder model reads: then ``index`` is of it, and ``token`` what the encoder reads. A text
        comes after the token with which the decoder begins; ids are taken as they are.
    model : Module, optional
        Knows that token.
    ran : function or None
        Gives the passage of a sequence and column of the attached model; None if none is attached.

    Raises
    ------
    MoedeskError
        If it is none of these, or there is no such token.
    """
    if decoder is not None:
        return _of_decoder(token, decoder, index, tokenizer, model)
    if isinstance(token, Passage):
        return token
    if isinstance(token, SelectedToken):
        return selected_passage(token)
    if isinstance(token, Selected):
        raise MoedeskError(f"{token.title} is no token; click one in Network, or give a text or token ids")
    if isinstance(token, int):
        raise MoedeskError("a row is known to the app alone; give (sequence, column), or select it there and give $0")
    if isinstance(token, tuple) and len(token) == 2 and all(type(part) is int for part in token):
        if ran is None:
            raise MoedeskError(
                "(sequence, column) is a token that an attached model ran; moe.attach(), then run a text"
            )
        passage = ran(*token)
        print(said_of(passage, tokenizer))
        return passage
    return passage_of_ids(_ids(token, tokenizer), index, tokenizer)


def selected_passage(token: SelectedToken) -> Passage:
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
        after=None if token.after is None else token.after.astype(np.int64),
        source=None if token.source is None else token.source.astype(np.int64),
    )


def _ids(token: Any, tokenizer: Any) -> Any:
    """Of a text, or those that were given."""
    if isinstance(token, str) and tokenizer is None:
        raise MoedeskError("there is no tokenizer for a text; give token ids, or moe.attach(model, tokenizer)")
    return encode(tokenizer, token) if isinstance(token, str) else token


def _of_decoder(token: Any, decoder: Any, index: int, tokenizer: Any, model: Any) -> Passage:
    if isinstance(token, Passage | Selected):
        raise MoedeskError("beside decoder= give what the encoder reads: a text or token ids")
    source = row_of_ids(_ids(token, tokenizer))
    if isinstance(decoder, str):
        _ids(decoder, tokenizer)
        written = tokenizer(decoder, add_special_tokens=False).input_ids
        decoder = [first_of_decoder(model), *written]
    return replace(passage_of_ids(decoder, index, tokenizer), source=source)


def said_of(passage: Passage, tokenizer: Any) -> str:
    """Return which token of which text a passage is about, in one line."""
    where = f"sequence {passage.sequence}, column {passage.column}"
    if tokenizer is None:
        return f"{where}: token id {int(passage.ids[-1])}, after {len(passage.ids) - 1:,} tokens"
    before = str(tokenizer.decode(passage.ids[:-1].tolist()))
    shown = before if len(before) <= SHOWN else "…" + before[-SHOWN:]
    return f"{where}: token {passage.text!r}" + (f" after {shown!r}" if shown else "")
