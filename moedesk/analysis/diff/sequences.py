"""The sequences of a stream: which token rows they are, in the order of their text."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import Chunks, Ticket
from moedesk.core.store import Store

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """The tokens of a stream, sequence after sequence, each in the order of its slots; padding is left out.

    Where a slot was filled again (a rejected draft), only the last row counts.

    Attributes
    ----------
    numbers : (S,) int64
        Sequence numbers, as in the capture.
    starts : (S + 1,) int64
        Sequence s has the places ``starts[s]`` to ``starts[s + 1]``.
    rows, ids : (n,) int64
        Token row in the stream, and token id (-1 unknown), of each place.
    """

    numbers: Ints
    starts: Ints
    rows: Ints
    ids: Ints

    def __len__(self) -> int:
        return len(self.numbers)

    def ids_of(self, place: int) -> Ints:
        """Return the token ids of a sequence by its place."""
        return self.ids[self.starts[place] : self.starts[place + 1]]

    def rows_of(self, place: int) -> Ints:
        """Return the token rows of a sequence by its place."""
        return self.rows[self.starts[place] : self.starts[place + 1]]


def read_sequences(store: Store, stream: str, ticket: Ticket | None = None) -> Sequences:
    """Return the sequences of a stream."""
    parts: list[tuple[npt.NDArray[np.int32], ...]] = []
    rows: list[Ints] = []
    for i, j in Chunks(0, store.n_tokens(stream)).walk(ticket):
        tokens = store.read_tokens(i, j, stream)
        kept = np.flatnonzero(~tokens["is_padding"])
        rows.append(kept + i)
        parts.append(tuple(tokens[name][kept] for name in ("sequence", "column", "token_id")))
    if not parts:
        empty = np.zeros(0, np.int64)
        return Sequences(empty, np.zeros(1, np.int64), empty, empty)
    sequence, column, ids = (np.concatenate(part) for part in zip(*parts, strict=True))
    row = np.concatenate(rows)
    order = np.lexsort((row, column, sequence))
    sequence, column, ids, row = sequence[order], column[order], ids[order], row[order]
    last = np.ones(len(row), bool)
    last[:-1] = (sequence[1:] != sequence[:-1]) | (column[1:] != column[:-1]) | (column[:-1] < 0)
    sequence, ids, row = sequence[last], ids[last], row[last]
    numbers, starts = np.unique(sequence, return_index=True)
    return Sequences(numbers.astype(np.int64), np.append(starts, len(row)).astype(np.int64), row, ids.astype(np.int64))
