"""Which token ids still need a text, and what gives it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Texts = Callable[[npt.NDArray[np.int64]], list[bytes]]
"""Gives the bytes of each token id."""


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
