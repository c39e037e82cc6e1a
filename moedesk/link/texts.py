"""Texts of token ids as a message."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from moedesk.link.message import Frames, Message, encode, whole
from moedesk.link.protocol import LinkError


def encode_texts(stream: int, ids: npt.ArrayLike, texts: Sequence[bytes]) -> Frames:
    """Make frames of the bytes of token ids: the bytes one after the other, and where each ends."""
    ends = np.cumsum([len(text) for text in texts], dtype="<i8")
    joined = np.frombuffer(b"".join(texts), np.uint8)
    parts = whole("ids", np.asarray(ids, "<i8")), whole("ends", ends), whole("bytes", joined)
    return encode("texts", {"stream": stream}, parts)


def decode_texts(message: Message) -> tuple[npt.NDArray[np.int64], list[bytes]]:
    """Return the ids and the bytes of each.

    Raises
    ------
    LinkError
        They don't belong together.
    """
    ids, ends, joined = (message.arrays.get(name) for name in ("ids", "ends", "bytes"))
    if ids is None or ends is None or joined is None or ids.ndim != 1 or ids.shape != ends.shape:
        raise LinkError("texts without ids or bytes")
    if ids.dtype != "<i8" or ends.dtype != "<i8" or joined.dtype != "|u1" or joined.ndim != 1:
        raise LinkError("texts of a wrong type")
    starts = np.concatenate([np.zeros(1, "<i8"), ends])
    if (np.diff(starts) < 0).any() or starts[-1] != len(joined):
        raise LinkError("texts whose ends are none")
    text, places = joined.tobytes(), starts.tolist()
    return ids, [text[i:j] for i, j in pairwise(places)]
