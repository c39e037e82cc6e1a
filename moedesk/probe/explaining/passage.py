"""The token that is explained, with the tokens before it: what the model is run again on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from moedesk.core.attribution import TokenPlace
from moedesk.core.errors import MoedeskError

HELP = 'moe.attribute($0), moe.attribute("some text", index=-1) or moe.attribute(token_ids, index=-1)'


@dataclass(frozen=True)
class Passage:
    """A sequence up to one of its tokens.

    Attributes
    ----------
    ids : (n,) int64
        Token ids; the last one is the token that is explained.
    next_id : int or None
        The token that came next; None if none did, or it isn't known.
    text : str
        The token's text; empty if there is no tokenizer.
    stream : str
        Token stream of ``row``.
    row, sequence, column : int
        Where it was captured; -1 if it is not of a capture.
    routes : mapping of int to ((k,) int64, (k,) float32)
        Experts and weights that were captured of it, by the layer's place; empty if they aren't known.
    after : (m,) int64 or None
        The tokens that come after it, which an encoder reads as well; None if they aren't known.
    source : (s,) int64 or None
        What the encoder reads, if the token is one of the decoder of an encoder-decoder model.
    """

    ids: npt.NDArray[np.int64]
    next_id: int | None = None
    text: str = ""
    stream: str = "main"
    row: int = -1
    sequence: int = -1
    column: int = -1
    routes: Mapping[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] = field(default_factory=dict)
    after: npt.NDArray[np.int64] | None = None
    source: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise MoedeskError("there is no token to explain; give a text, or token ids")
        if (self.ids < 0).any():
            raise MoedeskError(
                "some tokens before this one are not known (inputs_embeds, or rows left out); give token ids"
            )


def passage_of_ids(ids: Any, index: int = -1, tokenizer: Any = None) -> Passage:
    """Return the passage up to one of some token ids; what comes after it is its next token.

    Parameters
    ----------
    ids : sequence, array or tensor of int
        (n,) or (1, n).
    index : int
        The token that is explained; negative counts from the end.
    tokenizer : transformers tokenizer, optional
        For its text.

    Raises
    ------
    MoedeskError
        If these are no token ids, or there is no such token.
    """
    array = row_of_ids(ids)
    count = len(array)
    if not isinstance(index, int | np.integer) or not -count <= index < count:
        raise MoedeskError(f"no token {index}: there are {count}, 0 to {count - 1} (or -1 for the last)")
    place = int(index) % count
    return Passage(
        array[: place + 1],
        int(array[place + 1]) if place + 1 < count else None,
        text_of(tokenizer, int(array[place])),
        column=place,
        after=array[place + 1 :],
    )


def row_of_ids(ids: Any) -> npt.NDArray[np.int64]:
    """Return token ids as an array.

    Raises
    ------
    MoedeskError
        If these are none, or in several rows.
    """
    if hasattr(ids, "detach"):
        ids = ids.detach().cpu().numpy()
    array = np.asarray(ids)
    if array.ndim == 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise MoedeskError(f"token ids are integers in one row, not {array.dtype} {array.shape}; try {HELP}")
    return array.astype(np.int64)


def place_of(passage: Passage) -> TokenPlace:
    """Return which token a passage explains."""
    return TokenPlace(
        text=passage.text,
        token_id=int(passage.ids[-1]),
        index=len(passage.ids) - 1,
        sequence=passage.sequence,
        column=passage.column,
        row=passage.row,
        stream=passage.stream if passage.row >= 0 else "",
    )


def text_of(tokenizer: Any, token_id: int) -> str:
    """Return the text of one token; empty without a tokenizer."""
    if tokenizer is None:
        return ""
    return str(tokenizer.decode([token_id]))


def target_id(target: int | str | None, passage: Passage, tokenizer: Any, vocabulary: int) -> int | None:
    """Return the token whose logit is explained: the one that is named, else the one that came next, else None.

    Parameters
    ----------
    target : int, str or None
        A token id, or the text of exactly one token.
    passage : Passage
    tokenizer : transformers tokenizer, optional
    vocabulary : int
        Number of logits.

    Raises
    ------
    MoedeskError
        If there is no such token.
    """
    if target is None:
        following = passage.next_id
        return following if following is not None and following < vocabulary else None
    if isinstance(target, str):
        if tokenizer is None:
            raise MoedeskError(f"target {target!r} can't be looked up without a tokenizer; give the token's id")
        ids: Sequence[int] = tokenizer(target, add_special_tokens=False).input_ids
        if len(ids) != 1:
            pieces = ", ".join(repr(text_of(tokenizer, number)) for number in ids)
            raise MoedeskError(f"target {target!r} is {len(ids)} tokens ({pieces}); give one of them, or a token id")
        target = ids[0]
    if isinstance(target, bool) or not isinstance(target, int | np.integer) or not 0 <= target < vocabulary:
        raise MoedeskError(f"target {target!r} is not in the vocabulary: token ids go from 0 to {vocabulary - 1:,}")
    return int(target)
