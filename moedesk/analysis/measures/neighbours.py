"""Tokens that follow one another in a sequence, also across the edges of pieces: repetition d18, vocabulary d16."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from moedesk.analysis.measures.measure import Sums, add
from moedesk.analysis.measures.rows import Rows
from moedesk.core.model import LayerInfo


@dataclass(frozen=True)
class Line:
    """Tokens of one layer, a row each, with what a measure of neighbours looks at.

    Attributes
    ----------
    sequence, column, token_id, first : (n,) int64
        ``first`` is the first choice.
    experts : (n, k) int64
    """

    sequence: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    token_id: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    experts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: Rows) -> Self:
        """Return the rows in order of sequence and column."""
        tokens = rows.tokens
        order = np.lexsort((tokens["column"], tokens["sequence"]))
        columns = (tokens["sequence"], tokens["column"], tokens["token_id"], rows.first_choice, rows.experts)
        return cls(*(column[order].astype(np.int64) for column in columns))

    def __getitem__(self, which: Any) -> "Line":
        return Line(
            self.sequence[which], self.column[which], self.token_id[which], self.first[which], self.experts[which]
        )

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(frozen=True)
class Stretch:
    """The partial result of some rows: sums over neighbours within, and each sequence's first and last token.

    Attributes
    ----------
    sums : dict of arrays
    first, last : Line
        One row a sequence, in order of sequence.
    """

    sums: Sums
    first: Line
    last: Line


class Neighbours:
    """Base of measures that compare a token with the next one of its sequence; never across sequences or gaps."""

    def pair(self, before: Line, after: Line, layer: LayerInfo) -> Sums:
        """Return the sums over n pairs of neighbours."""
        raise NotImplementedError

    def finish(self, total: Sums, layer: LayerInfo) -> Mapping[str, float]:
        """Return the numbers."""
        raise NotImplementedError

    def partial(self, rows: Rows) -> "tuple[LayerInfo, Stretch]":
        """Return the stretch of some rows."""
        line = Line.of(rows)
        follows = (line.sequence[1:] == line.sequence[:-1]) & (line.column[1:] == line.column[:-1] + 1)
        starts = np.flatnonzero(np.diff(line.sequence, prepend=-2))
        ends = np.append(starts[1:], len(line)) - 1 if len(line) else starts
        total = self.pair(line[:-1][follows], line[1:][follows], rows.layer)
        return rows.layer, Stretch(total, line[starts], line[ends])

    def combine(
        self, before: "tuple[LayerInfo, Stretch]", after: "tuple[LayerInfo, Stretch]"
    ) -> "tuple[LayerInfo, Stretch]":
        """Return both stretches joined where a sequence goes on."""
        layer, a = before
        _, b = after
        _, at_a, at_b = np.intersect1d(a.last.sequence, b.first.sequence, assume_unique=True, return_indices=True)
        last, first = a.last[at_a], b.first[at_b]
        on = first.column == last.column + 1
        total = add(add(a.sums, b.sums), self.pair(last[on], first[on], layer))
        return layer, Stretch(total, _join(a.first, b.first), _join(b.last, a.last))

    def values(self, partial: "tuple[LayerInfo, Stretch]", layer: LayerInfo) -> Mapping[str, float]:
        """Return the numbers."""
        return self.finish(partial[1].sums, layer)


def _join(line: Line, other: Line) -> Line:
    """``line`` and what ``other`` has of further sequences, in order of sequence."""
    new = other[~np.isin(other.sequence, line.sequence)]
    both = zip(_columns(line), _columns(new), strict=True)
    joined = Line(*(np.concatenate(pair) for pair in both))
    return joined[np.argsort(joined.sequence, kind="stable")]


def _columns(line: Line) -> tuple[npt.NDArray[np.int64], ...]:
    return line.sequence, line.column, line.token_id, line.first, line.experts
