"""Aligned texts, a page at a time, with the tokens that flip. No Qt."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.analysis.diff.gather import Picked, StreamDiff
from moedesk.core.store import Store
from moedesk.panels.compare.model import Comparison
from moedesk.ui.token_layout import TokenLayout, cells, pieces

TOKENS = 4096
"""Tokens on a page."""

Ints = npt.NDArray[np.signedinteger]


@dataclass(frozen=True)
class Contents:
    """The pages of all aligned sequences.

    Attributes
    ----------
    stream, pair, part : (P,) int64
        Place of the stream, the pair of sequences in it, and which ``TOKENS`` of it.
    flips : (P,) int64
        Tokens on it that flip at any layer.
    """

    stream: npt.NDArray[np.int64]
    pair: npt.NDArray[np.int64]
    part: npt.NDArray[np.int64]
    flips: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stream)

    def next_flip(self, page: int, step: int) -> int:
        """Return the next page in a direction on which a token flips; the same one if there is none."""
        found = np.flatnonzero(self.flips)
        found = found[found > page] if step > 0 else found[found < page][::-1]
        return int(found[0]) if len(found) else page


def contents(comparison: Comparison) -> Contents:
    """Return the pages, sequence after sequence."""
    columns: list[tuple[npt.NDArray[np.int64], ...]] = [(np.zeros(0, np.int64),) * 4]
    for number, stream in enumerate(comparison.found.streams):
        alignment = stream.alignment
        pairs = len(alignment.numbers)
        tokens = np.bincount(alignment.pair, minlength=pairs)
        flips = np.bincount(alignment.pair[stream.first_flip >= 0], minlength=pairs)
        parts = np.maximum(-(-tokens // TOKENS), tokens > 0)
        pair = np.repeat(np.arange(pairs), parts)
        part = np.arange(len(pair)) - np.repeat(np.cumsum(parts) - parts, parts)
        columns.append((np.full(len(pair), number), pair, part, flips[pair]))
    return Contents(*(np.concatenate(column) for column in zip(*columns, strict=True)))


@dataclass(frozen=True)
class Page:
    """Some tokens that both have, in the order of the text.

    Attributes
    ----------
    number : int
        Place in the contents.
    stream : StreamDiff
    title : str
    a, b : (n,) signed int
        Token rows.
    mine : (n,) signed int
        Those of the panel's session.
    passes : (n,) int64
        Passes of the panel's session they belong to.
    texts : list of str
    first : (n,) int16
        First layer that flips, as a place in ``stream.layers``; -1 if none does.
    gap : (n,) bool
        Whether tokens before it are left out, which only one of the two has.
    """

    number: int
    stream: StreamDiff
    title: str
    a: Ints
    b: Ints
    mine: Ints
    passes: npt.NDArray[np.int64]
    texts: list[str]
    first: npt.NDArray[np.int16]
    gap: npt.NDArray[np.bool_]

    def place_of(self, row: int | None) -> int | None:
        """Return the place of a token row of the panel's session; None if it isn't on the page."""
        if row is None:
            return None
        found = np.flatnonzero(self.mine == row)
        return int(found[0]) if len(found) else None

    def hint(self, place: int) -> str:
        """Return what is said of a token."""
        rows = f"{self.texts[place]!r}\nToken row {self.a[place]:,} of A, {self.b[place]:,} of B"
        if self.first[place] < 0:
            return f"{rows}\nThe same experts at every layer"
        return f"{rows}\nFirst flip: {self.stream.layers[self.first[place]].layer.path}"


def read_page(comparison: Comparison, pages: Contents, number: int) -> Page:
    """Read a page."""
    question = comparison.question
    stream = comparison.found.streams[pages.stream[number]]
    alignment, pair, part = stream.alignment, int(pages.pair[number]), int(pages.part[number])
    chosen = np.flatnonzero(alignment.pair == pair)
    rows = [alignment.a[chosen], alignment.b[chosen]]
    sides = [_tokens(store, stream, some) for store, some in zip((question.a, question.b), rows, strict=True)]
    order = np.lexsort((rows[0], sides[0]["column"]))[part * TOKENS : (part + 1) * TOKENS]
    columns = [side["column"][order].astype(np.int64) for side in sides]
    gap = np.zeros(len(order), bool)
    gap[1:] = (np.diff(columns[0]) != 1) | (np.diff(columns[1]) != np.diff(columns[0]))
    mine = sides[question.swapped][order]
    a, b = rows[0][order], rows[1][order]
    first_a, first_b = alignment.numbers[pair].tolist()
    flips = int(np.count_nonzero(stream.first_flip[chosen] >= 0))
    parts = -(-len(chosen) // TOKENS)
    title = (
        f"Sequence {first_a:,} of A with {first_b:,} of B"
        + (f", part {part + 1} of {parts}" if parts > 1 else "")
        + f": {flips:,} of {len(chosen):,} tokens flip"
        + (", the texts differ (⋯ what only one has)" if alignment.changed[pair] else "")
    )
    return Page(
        number,
        stream,
        title,
        a,
        b,
        b if question.swapped else a,
        mine["pass"].astype(np.int64),
        question.mine.token_text(mine["token_id"]),
        stream.first_flip[chosen][order],
        gap,
    )


def _tokens(store: Store, stream: StreamDiff, rows: Ints) -> np.ndarray:
    return Picked.of(rows).take(lambda i, j: store.read_tokens(i, j, stream.stream))


def page_of(comparison: Comparison, pages: Contents, row: int, stream: str | None) -> int | None:
    """Return the page that shows a token row of the panel's session; None if it has no counterpart."""
    name = stream or (comparison.question.mine.model.streams or ("main",))[0]
    for number, one in enumerate(comparison.found.streams):
        rows = one.alignment.b if comparison.question.swapped else one.alignment.a
        found = np.flatnonzero(rows == row)
        if one.stream == name and len(found):
            pair = one.alignment.pair[found[0]]
            part = int(np.count_nonzero(one.alignment.pair[: found[0]] == pair)) // TOKENS
            here = np.flatnonzero((pages.stream == number) & (pages.pair == pair) & (pages.part == part))
            return int(here[0]) if len(here) else None
    return None


def lay_out(page: Page, columns: int) -> TokenLayout:
    """Set the tokens of a page in lines of so many character cells."""
    layout = TokenLayout(max(columns, 8))
    for place, text in enumerate(page.texts):
        if page.gap[place]:
            layout.add(-1, "⋯", 1, False)
        for piece, ends in pieces(text, layout.columns):
            layout.add(place, piece, cells(piece), ends)
    return layout
