"""Texts of the token ids that were seen, as bytes."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from moedesk.capture.column import Column
from moedesk.capture.schema import VOCABULARY_BYTES, VOCABULARY_ENDS, VOCABULARY_IDS

Texts = Callable[[npt.NDArray[np.int64]], list[bytes]]
"""Gives the bytes of each token id."""


class VocabularyColumns:
    """Appends the text of each token id when it is first seen."""

    def __init__(self) -> None:
        self.ids, self.ends, self.bytes = Column(VOCABULARY_IDS), Column(VOCABULARY_ENDS), Column(VOCABULARY_BYTES)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the file lays out."""
        return self.ids, self.ends, self.bytes

    def append(self, ids: np.ndarray, texts: list[bytes]) -> None:
        """Append ids that were not there before."""
        ends = self.bytes.rows + np.cumsum([len(text) for text in texts], dtype="<i8")
        self.bytes.append(np.frombuffer(b"".join(texts), np.uint8))
        self.ends.append(ends)
        self.ids.append(ids.astype("<i4"))


class Unseen:
    """Finds the token ids of which no text was asked for yet."""

    def __init__(self) -> None:
        self._seen = np.zeros(1 << 12, bool)

    def take(self, ids: np.ndarray) -> npt.NDArray[np.int64]:
        """Return the ids ≥ 0 not taken before, sorted, each once."""
        ids = ids[ids >= 0].astype(np.int64)
        if not len(ids):
            return ids
        top = int(ids.max())
        if top >= len(self._seen):
            self._seen = np.concatenate(
                [self._seen, np.zeros(max(top + 1, 2 * len(self._seen)) - len(self._seen), bool)]
            )
        new = np.unique(ids[~self._seen[ids]])
        self._seen[new] = True
        return new
