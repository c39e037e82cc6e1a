"""The sequences of a stream: which token rows they are, in the order of their text."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import Chunks, Ticket
from moedesk.core.store import Store

Ints = npt.NDArray[np.signedinteger]


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
    rows, ids : (n,) int32, or int64 where the rows are that many
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
    total = store.n_tokens(stream)
    small = np.int32 if total < 1 << 31 else np.int64  # half the memory of long captures
    rows: list[Ints] = [np.zeros(0, small)]
    parts: list[tuple[npt.NDArray[np.int32], ...]] = [(np.zeros(0, np.int32),) * 3]
    for i, j in Chunks(0, total).walk(ticket):
        tokens = store.read_tokens(i, j, stream)
        kept = np.flatnonzero(~tokens["is_padding"])
        rows.append((kept + i).astype(small))
        parts.append(tuple(tokens[name][kept].astype(np.int32) for name in ("sequence", "column", "token_id")))
    row = np.concatenate(rows)
    sequence, column, ids = (np.concatenate(part) for part in zip(*parts, strict=True))
    del rows, parts
    if not _in_order(sequence, column):
        order = np.lexsort((row, column, sequence))
        sequence, column, ids, row = sequence[order], column[order], ids[order], row[order]
    last = np.ones(len(row), bool)
    last[:-1] = (sequence[1:] != sequence[:-1]) | (column[1:] != column[:-1]) | (column[:-1] < 0)
    if not last.all():
        sequence, ids, row = sequence[last], ids[last], row[last]
    starts = np.flatnonzero(np.diff(sequence, prepend=sequence[:1] - 1))
    return Sequences(sequence[starts].astype(np.int64), np.append(starts, len(row)).astype(np.int64), row, ids)


def _in_order(sequence: npt.NDArray[np.int32], column: npt.NDArray[np.int32]) -> bool:
    """Whether tokens lie as they are read already."""
    same = sequence[1:] == sequence[:-1]
    return bool(np.all((sequence[1:] > sequence[:-1]) | (same & (column[1:] >= column[:-1]))))
