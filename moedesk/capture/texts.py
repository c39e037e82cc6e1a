"""The texts of token ids."""

from collections.abc import Sequence

import numpy as np


class Vocabulary:
    """Bytes of the token ids that a capture has seen. One thread at a time adds; any thread reads."""

    def __init__(self) -> None:
        self._bytes: dict[int, bytes] = {}
        self._end = 0

    def add(self, ids: np.ndarray, ends: np.ndarray, data: np.ndarray) -> None:
        """Add rows of the three columns, in order; of a file that was cut short they may differ in length."""
        ends = ends[: len(ids)]
        ends = ends[ends <= self._end + len(data)]
        text, offset, start = data.tobytes(), self._end, self._end
        for token_id, end in zip(ids.tolist(), ends.tolist(), strict=False):
            self._bytes[token_id] = text[start - offset : end - offset]
            start = end
        self._end = start

    def bytes_of(self, ids: Sequence[int]) -> list[bytes]:
        """Return the bytes of each id, of ``⟨17⟩`` if there are none."""
        return [self._bytes[i] if i in self._bytes else f"⟨{i}⟩".encode() for i in ids]

    def texts_of(self, ids: Sequence[int]) -> list[str]:
        r"""Return each id's own text; bytes that are no whole character show as ``\xc3``, so that they can be told apart."""
        return [text.decode("utf-8", "backslashreplace") for text in self.bytes_of(ids)]

    def join(self, ids: Sequence[int]) -> str:
        """Return the text of a run of tokens."""
        return b"".join(self.bytes_of(ids)).decode("utf-8", "replace")
