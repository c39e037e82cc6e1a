"""The tokens that a captured token saw: its sequence up to it, put together from the passes that ran it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.core.columns import PassFlag, TokenKind
from moedesk.core.errors import MoedeskError
from moedesk.core.sides import DECODER, ENCODER, whole_text
from moedesk.core.store import Store

BLOCK = 1 << 14
"""Token rows read at a time."""
FAR = 1 << 22
"""Rows before the token in which those that it saw are looked for."""
NEXT = 1 << 17
"""Rows after it in which the next one is."""


@dataclass(frozen=True, eq=False)
class TokenPassage:
    """A captured token with those before it in its sequence, padding left out.

    Attributes
    ----------
    token : () structured, dtype ``columns.TOKEN``
    row : int
        Of the token.
    stream : str
    text : str
        Of the token.
    ids : (n,) int64
        Token ids; the last one is the token's.
    next_id : int or None
        The token that came next; None if none did.
    after : (m,) int64 or None
        The tokens behind it that an encoder read with it; None of other streams, or if they are not known.
    source : (s,) int64 or None
        What the encoder read for a token of the decoder; None of other streams, or if it is not known.
    """

    token: np.void
    row: int
    stream: str
    text: str
    ids: npt.NDArray[np.int64]
    next_id: int | None
    after: npt.NDArray[np.int64] | None = None
    source: npt.NDArray[np.int64] | None = None


def token_passage(store: Store, row: int, stream: str | None = None, far: int = FAR) -> TokenPassage:
    """Put the passage of a token row together.

    Of a slot of the sequence that was run more than once (a draft that was rejected, a cache taken back), what ran last before
    the token counts: that is what its pass saw.

    Parameters
    ----------
    store : Store
    row : int
    stream : str or None
        The main one if left out.
    far : int
        Rows before the token in which those that it saw are looked for.

    Raises
    ------
    MoedeskError
        If it is padding, or tokens before it were not recorded, are no text, or what they were is unknown.
    """
    name = stream or next(iter(store.model.streams), "main")
    token = store.read_tokens(row, row + 1, name)[0]
    if token["is_padding"]:
        raise MoedeskError("this is padding, which the model's answer does not depend on; choose a token of the text")
    if token["sequence"] < 0 or token["column"] < 0:
        raise MoedeskError("where this token is in its sequence is not known, so the tokens before it aren't either")
    columns = int(token["column"]) + 1
    ids, known = np.full(columns, -1, np.int64), np.zeros(columns, bool)
    padding, kinds = np.zeros(columns, bool), np.zeros(columns, np.uint8)
    last = row + 1
    while last > max(row - far, 0) and not known.all():
        first = max(last - BLOCK, 0)
        block = store.read_tokens(first, last, name)
        mine = block[(block["sequence"] == token["sequence"]) & (block["column"] < columns)]
        mine = mine[~known[mine["column"]]]
        ids[mine["column"]] = mine["token_id"]  # of a slot that is there twice, the later row
        padding[mine["column"]] = mine["is_padding"]
        kinds[mine["column"]] = mine["kind"]
        known[mine["column"]] = True
        last = first
    if not known.all():
        missing = int((~known).sum())
        raise MoedeskError(
            f"{missing:,} of the {columns - 1:,} tokens before this one were not recorded, so the model can't be run on them"
        )
    ids = ids[~padding]
    if (ids < 0).any() or (kinds[~padding] != TokenKind.TEXT).any():
        raise MoedeskError(
            "some tokens up to this one are no text, or their ids are unknown (images, inputs_embeds, packed rows): "
            "the model can't be run on them again"
        )
    text = store.token_text([token["token_id"]])[0]
    read = _read_by_encoder(store, name, token, far)
    after = None if read is None else read["token_id"][read["column"] >= columns].astype(np.int64)
    source = None if read is None else read["token_id"].astype(np.int64)
    following = _next(store, row, name, token)
    return TokenPassage(
        token,
        row,
        name,
        text,
        ids,
        following,
        after if name == ENCODER else None,
        source if name == DECODER else None,
    )


def _read_by_encoder(store: Store, name: str, token: np.void, far: int) -> np.ndarray | None:
    """The rows of a token's sequence that the encoder read last, without padding; None if they are not known.

    A decoder's sequence has the number of the encoder's whose states it reads; one whose states were copied on the way
    (beams, several answers) has a number that no row of the encoder has.
    """
    if name not in (ENCODER, DECODER) or ENCODER not in store.model.streams:
        return None
    number = int(token["pass"])
    last = store.token_span(0, number + 1, ENCODER)[1]
    far_row = max(last - far, 0)
    while last > far_row:
        first = max(last - BLOCK, 0)
        block = store.read_tokens(first, last, ENCODER)
        mine = block[block["sequence"] == token["sequence"]]
        if len(mine):
            return _read_in_pass(store, int(mine["pass"][-1]), int(token["sequence"]))
        last = first
    return None


def _read_in_pass(store: Store, number: int, sequence: int) -> np.ndarray | None:
    partial = PassFlag.SAMPLED | PassFlag.LATE
    if int(store.read_passes(number, number + 1)[0]["flags"]) & partial:
        return None
    rows = store.read_tokens(*store.token_span(number, number + 1, ENCODER), ENCODER)
    return whole_text(rows[rows["sequence"] == sequence])


def _next(store: Store, row: int, stream: str, token: np.void) -> int | None:
    end = min(store.n_tokens(stream), row + 1 + NEXT)
    for first in range(row + 1, end, BLOCK):
        block = store.read_tokens(first, min(first + BLOCK, end), stream)
        found = block[(block["sequence"] == token["sequence"]) & (block["column"] == token["column"] + 1)]
        found = found[found["token_id"] >= 0]
        if len(found):
            return int(found["token_id"][-1])
    return None
