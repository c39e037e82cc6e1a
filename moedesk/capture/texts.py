"""The texts of token ids, read once, when first asked for."""

from collections.abc import Sequence

import numpy as np


class Vocabulary:
    """Bytes of the token ids that a capture has seen."""

    def __init__(self, ids: np.ndarray, ends: np.ndarray, data: np.ndarray) -> None:
        """Take the three columns; of a file that was cut short they may differ in length."""
        ends = ends[: len(ids)]
        ends = ends[ends <= len(data)]
        text, start = data.tobytes(), 0
        self._bytes: dict[int, bytes] = {}
        for token_id, end in zip(ids.tolist(), ends.tolist(), strict=False):
            self._bytes[token_id] = text[start:end]
            start = end

    def bytes_of(self, ids: Sequence[int]) -> list[bytes]:
        """Return the bytes of each id, of ``⟨17⟩`` if there are none."""
        return [self._bytes[i] if i in self._bytes else f"⟨{i}⟩".encode() for i in ids]

    def texts_of(self, ids: Sequence[int]) -> list[str]:
        r"""Return each id's own text; bytes that are no whole character show as ``\xc3``, so that they can be told apart."""
        return [text.decode("utf-8", "backslashreplace") for text in self.bytes_of(ids)]

    def join(self, ids: Sequence[int]) -> str:
        """Return the text of a run of tokens."""
        return b"".join(self.bytes_of(ids)).decode("utf-8", "replace")
