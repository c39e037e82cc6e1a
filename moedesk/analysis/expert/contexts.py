"""Occurrences of an expert in the text: its token, with what came before and after in the same sequence."""

import codecs
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import Chunks, Ticket
from moedesk.analysis.measures.rows import Rows
from moedesk.analysis.token_bytes import token_bytes, whole_characters
from moedesk.core.model import LayerInfo
from moedesk.core.store import LayerLike, Store

SAMPLE = 1 << 20
"""Token rows in which occurrences are looked for; of more, an even sample of whole pieces."""
FARTHEST_BEFORE, FARTHEST_AFTER = 1 << 17, 1 << 14
"""Rows away from an occurrence in which its neighbours are looked for; other sequences of the batch lie between."""

Choice = Literal["strongest", "spread"]
Ints = npt.NDArray[np.int64]
_DECODER = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True)
class Context:
    """One token that went to the expert, in its text.

    Attributes
    ----------
    row : int
        Token row in the layer's stream.
    pass_id, sequence, column : int
    weight : float
        As the expert received it; NaN if it was no number.
    before, token, after : str
        Text. ``token`` has whole characters: those that the token is only a part of, too.
    begins, ends : bool
        Whether nothing comes before or after this in what was recorded of the sequence; after: within ``FARTHEST_AFTER`` rows.
    """

    row: int
    pass_id: int
    sequence: int
    column: int
    weight: float
    before: str
    token: str
    after: str
    begins: bool
    ends: bool


@dataclass(frozen=True)
class Contexts:
    """Some occurrences of an expert.

    Attributes
    ----------
    contexts : tuple of Context
    found : int
        Occurrences in the rows looked at.
    rows, left_out : int
        Token rows looked at, and not looked at because there are too many.
    """

    contexts: tuple[Context, ...]
    found: int
    rows: int
    left_out: int


class Run(NamedTuple):
    """Rows of one sequence with their columns and token ids, (n,) each."""

    rows: Ints
    columns: Ints
    ids: Ints

    def part(self, which: Any) -> "Run":
        """Return those of an index or mask."""
        return Run(self.rows[which], self.columns[which], self.ids[which])

    def latest(self, which: npt.NDArray[np.bool_]) -> "Run":
        """Return those of a mask in order of column, of each column the last row."""
        kept = self.part(which)
        _, place = np.unique(kept.columns[::-1], return_index=True)
        return kept.part(len(kept.rows) - 1 - place)


def contexts(
    store: Store,
    layer: LayerLike,
    expert: int,
    first: int = 0,
    last: int | None = None,
    choice: Choice = "strongest",
    limit: int = 12,
    around: int = 10,
    ticket: Ticket | None = None,
    sample: int = SAMPLE,
) -> Contexts:
    """Return occurrences of an expert in passes first…last (end excluded); padding left out.

    Parameters
    ----------
    choice : {"strongest", "spread"}
        Those of the largest weight (finite ones first; of equal ones the earliest), or an even choice over the rows.
    limit : int
        How many.
    around : int
        Tokens before and after.
    """
    info = store.model.layer(layer)
    span = store.token_span(first, store.n_passes if last is None else last, info.stream)
    chunks = Chunks(*span, limit=sample)
    found_rows, found_weights = [np.zeros(0, np.int64)], [np.zeros(0)]
    for i, j in chunks.walk(ticket):
        part = Rows(store, info, i, j, store.read_tokens(i, j, info.stream))
        mine = part.experts == expert
        which = mine.any(1)
        slot = mine[which].argmax(1)
        found_rows.append(i + np.flatnonzero(part.kept)[which])
        found_weights.append(part.weights[which][np.arange(len(slot)), slot].astype(np.float64))
    rows, weights = np.concatenate(found_rows), np.concatenate(found_weights)
    if choice == "strongest":
        chosen = np.argsort(-np.nan_to_num(weights, nan=-np.inf), kind="stable")[:limit]
    else:
        wanted = min(limit, len(rows))
        chosen = (2 * np.arange(wanted) + 1) * len(rows) // max(1, 2 * wanted)
    shown = []
    for place in chosen.tolist():
        if ticket is not None:
            ticket.check()
        shown.append(context(store, info, int(rows[place]), float(weights[place]), around))
    return Contexts(tuple(shown), len(rows), chunks.read, chunks.left_out)


def context(store: Store, layer: LayerInfo, row: int, weight: float, around: int) -> Context:
    """Return one token row in its text."""
    token = store.read_tokens(row, row + 1, layer.stream)
    here = Run(np.array([row]), token["column"].astype(np.int64), token["token_id"].astype(np.int64))
    earlier, begins = _before(store, layer.stream, row, token[0], around)
    later, ends = _after(store, layer.stream, row, token[0], around)
    runs = (b"".join(token_bytes(store, run.ids, run.rows, layer.stream)) for run in (earlier, here, later))
    before, middle, after = whole_characters(*runs)
    while before and before[0] & 0xC0 == 0x80:  # the rest of a character that begins further ahead
        before = before[1:]
    return Context(
        row,
        int(token["pass"][0]),
        int(token["sequence"][0]),
        int(token["column"][0]),
        weight,
        before.decode("utf-8", "replace"),
        middle.decode("utf-8", "replace"),
        _DECODER("replace").decode(after),  # all but a last character of which the rest is further on
        begins,
        ends,
    )


def _before(store: Store, stream: str, row: int, token: np.void, around: int) -> tuple[Run, bool]:
    """Up to ``around`` tokens before a row in its sequence, and whether the sequence begins there."""
    column = int(token["column"])
    reach = 1 << 8
    while True:
        start = max(0, row - reach)
        run = _of_sequence(store, stream, start, row, int(token["sequence"]))
        run = run.latest(run.columns < column)
        run = run.part(run.columns >= column - around)
        if len(run.rows) >= min(around, column) or not start or reach >= FARTHEST_BEFORE:
            return run, len(run.rows) == column
        reach *= 8


def _after(store: Store, stream: str, row: int, token: np.void, around: int) -> tuple[Run, bool]:
    """Up to ``around`` tokens after a row in its sequence, and whether none follows them.

    Where a column came again (a draft that was rejected), its last row counts; of a rejected row, what its own pass drafted.
    """
    column, end = int(token["column"]), store.n_tokens(stream)
    reach = 1 << 8
    while True:
        stop = min(end, row + 1 + reach)
        run = _of_sequence(store, stream, row + 1, stop, int(token["sequence"]))
        if (run.columns == column).any():
            run = run.part(run.rows < store.token_span(int(token["pass"]), int(token["pass"]) + 1, stream)[1])
        run = run.latest((run.columns > column) & (run.columns <= column + around + 1))
        more = bool((run.columns > column + around).any())
        if more or stop == end or reach >= FARTHEST_AFTER:
            return run.part(run.columns <= column + around), not more
        reach *= 8


def _of_sequence(store: Store, stream: str, i: int, j: int, sequence: int) -> Run:
    """A sequence's tokens among rows i…j, in order of row."""
    tokens = store.read_tokens(i, j, stream)
    mine = np.flatnonzero((tokens["sequence"] == sequence) & ~tokens["is_padding"])
    return Run(i + mine, tokens["column"][mine].astype(np.int64), tokens["token_id"][mine].astype(np.int64))
