"""Texts of the token ids that were seen, as bytes."""

from collections.abc import Sequence

import numpy as np

from moedesk.capture.column import Column
from moedesk.capture.schema import VOCABULARY_BYTES, VOCABULARY_ENDS, VOCABULARY_IDS


class VocabularyColumns:
    """Appends the text of each token id when it is first seen."""

    def __init__(self) -> None:
        self.ids, self.ends, self.bytes = Column(VOCABULARY_IDS), Column(VOCABULARY_ENDS), Column(VOCABULARY_BYTES)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the file lays out."""
        return self.ids, self.ends, self.bytes

    def append(self, ids: np.ndarray, texts: Sequence[bytes]) -> None:
        """Append ids that were not there before."""
        ends = self.bytes.rows + np.cumsum([len(text) for text in texts], dtype="<i8")
        self.bytes.append(np.frombuffer(b"".join(texts), np.uint8))
        self.ends.append(ends)
        self.ids.append(ids.astype("<i4"))
