"""The bytes behind tokens, so that characters split over several tokens can be put together."""

import re

import numpy as np
import numpy.typing as npt

from moedesk.core.store import Store

Ints = npt.NDArray[np.int64]
_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")


def token_bytes(store: Store, ids: Ints, rows: Ints, stream: str) -> list[bytes]:
    r"""Return the bytes of (n,) token ids that stand in (n,) rows of a stream.

    ``Store.token_text`` writes a byte that is no whole character as ``\xc3``; a token that really says so is told apart by its
    text in ``Store.text``, which has ``�`` for such a byte.
    """
    found = []
    for row, text in zip(rows.tolist(), store.token_text(ids), strict=True):
        if _ESCAPED.search(text) and "�" in store.text(row, row + 1, stream):
            found.append(b"".join(_pieces(text)))
        else:
            found.append(text.encode())
    return found


def _pieces(text: str) -> list[bytes]:
    """Text and escaped bytes in turn."""
    parts = _ESCAPED.split(text)
    return [bytes([int(part, 16)]) if place % 2 else part.encode() for place, part in enumerate(parts)]


def whole_characters(before: bytes, middle: bytes, after: bytes) -> tuple[bytes, bytes, bytes]:
    """Move both borders of the middle outwards to where characters begin and end, so that none is cut by them."""
    text = before + middle + after
    start, _ = _character(text, len(before))
    _, end = _character(text, len(before) + len(middle) - 1)
    start, end = min(start, len(before)), max(end, len(before) + len(middle))
    return text[:start], text[start:end], text[end:]


def _character(text: bytes, at: int) -> tuple[int, int]:
    """Where the UTF-8 character begins and ends that a byte belongs to; the byte alone if it belongs to none."""
    for start in range(at, max(-1, at - 4), -1):
        if text[start] & 0xC0 == 0x80:  # 10xxxxxx: goes on
            continue
        length = 1 + (text[start] >= 0xC0) + (text[start] >= 0xE0) + (text[start] >= 0xF0)
        whole = text[start : start + length]
        goes_on = all(byte & 0xC0 == 0x80 for byte in whole[1:])
        return (start, start + len(whole)) if at < start + length and goes_on else (at, at + 1)
    return at, at + 1
