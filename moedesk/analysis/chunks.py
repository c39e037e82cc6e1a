"""Token rows in pieces, so that memory stays bounded and a job can report and be cancelled."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

ROWS = 1 << 16
"""Token rows read at a time."""


class Ticket(Protocol):
    """What a running job says to the outside, as ``session.jobs.Ticket`` does."""

    def check(self, done: float | None = None) -> None:
        """Report the share done, 0 to 1; raise if the answer is no longer wanted."""


@dataclass(frozen=True)
class Part:
    """A ticket for a stretch of a job, which counts its share done towards the whole.

    Attributes
    ----------
    ticket : Ticket or None
        The whole job's; None if nobody listens.
    start, size : float
        Where the stretch begins, and how much of the whole it is, 0 to 1.
    """

    ticket: Ticket | None
    start: float = 0.0
    size: float = 1.0

    def check(self, done: float | None = None) -> None:
        """Report the share done of this stretch."""
        if self.ticket is not None:
            self.ticket.check(None if done is None else self.start + self.size * done)

    def part(self, start: float, size: float) -> Self:
        """Return a stretch of this stretch."""
        return replace(self, start=self.start + self.size * start, size=self.size * size)


@dataclass(frozen=True)
class Chunks:
    """Pieces of the token rows i…j, all of them or an even sample.

    Attributes
    ----------
    i, j : int
    limit : int or None
        Look at no more rows than about this many: whole pieces, evenly spaced.
    rows : int
        Rows of a piece.
    """

    i: int
    j: int
    limit: int | None = None
    rows: int = ROWS

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """The row ranges to read."""
        rows = min(self.rows, self.limit) if self.limit else self.rows
        starts = list(range(self.i, self.j, rows))
        if self.limit and self.j - self.i > self.limit:
            wanted = max(1, self.limit // rows)
            starts = [starts[(2 * place + 1) * len(starts) // (2 * wanted)] for place in range(wanted)]
        return [(start, min(start + rows, self.j)) for start in starts]

    @property
    def read(self) -> int:
        """How many rows the pieces hold."""
        return sum(stop - start for start, stop in self.pieces)

    @property
    def left_out(self) -> int:
        """How many rows of i…j are in no piece."""
        return max(0, self.j - self.i) - self.read

    def walk(self, ticket: Ticket | None = None) -> Iterator[tuple[int, int]]:
        """Yield the pieces; report the share done and stop where ``ticket`` says so."""
        pieces = self.pieces
        for number, piece in enumerate(pieces):
            if ticket is not None:
                ticket.check(number / len(pieces))
            yield piece
        if ticket is not None:
            ticket.check(1.0)
