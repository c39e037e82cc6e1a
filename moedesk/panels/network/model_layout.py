"""Tokens set in lines of a fixed-width font. No Qt: a column is one character cell."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from unicodedata import combining, east_asian_width

from moedesk.core.visible import visible_text
from moedesk.panels.network.model_tokens import TokenPage


def cells(text: str) -> int:
    """Return how many character cells a text takes: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


@dataclass(frozen=True)
class Fragment:
    """A token, or the part of it that fits on a line."""

    place: int
    line: int
    column: int
    width: int
    text: str


@dataclass
class TokenLayout:
    """Where every token lies.

    Attributes
    ----------
    fragments : list of Fragment
        From top to bottom, from left to right.
    headings : dict
        Line to the heading of the sequence that starts there.
    lines : int
        Number of lines.
    columns : int
        Cells per line.
    """

    columns: int
    fragments: list[Fragment] = field(default_factory=list)
    headings: dict[int, str] = field(default_factory=dict)
    lines: int = 0
    line_of: dict[int, int] = field(default_factory=dict)

    def on_lines(self, first: int, last: int) -> list[Fragment]:
        """Return the fragments on lines first…last, end excluded."""
        low = bisect_left(self.fragments, first, key=lambda fragment: fragment.line)
        high = bisect_left(self.fragments, last, key=lambda fragment: fragment.line)
        return self.fragments[low:high]

    def at(self, line: int, column: float) -> int | None:
        """Return the place of the token at a point, None beside the text."""
        row = self.on_lines(line, line + 1)
        index = bisect_right(row, column, key=lambda fragment: fragment.column) - 1
        if index < 0 or column >= row[index].column + max(row[index].width, 1):
            return None
        return row[index].place


def lay_out(page: TokenPage, columns: int, hide_padding: bool) -> TokenLayout:
    """Set the tokens of a page: sequence after sequence, wrapped at ``columns`` cells, line breaks kept."""
    layout = TokenLayout(max(columns, 8))
    tokens = page.tokens.tokens
    sequences, padding = tokens["sequence"].tolist(), tokens["is_padding"].tolist()
    several = len(set(sequences)) > 1
    line, column, current = 0, 0, None
    for place in page.order.tolist():
        if hide_padding and padding[place]:
            continue
        if sequences[place] != current:
            current = sequences[place]
            line += bool(column) + bool(layout.fragments)
            column = 0
            if several:
                layout.headings[line] = _heading(current)
                line += 1
        for piece, ends in _pieces(page.tokens.texts[place], layout.columns):
            width = cells(piece)
            if column and column + width > layout.columns:
                line, column = line + 1, 0
            layout.line_of.setdefault(place, line)
            layout.fragments.append(Fragment(place, line, column, width, piece))
            column += width
            if ends:
                line, column = line + 1, 0
    layout.lines = line + bool(column)
    return layout


def _heading(sequence: int) -> str:
    return f"Sequence {sequence:,}"


def _pieces(text: str, columns: int) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a token and whether a line ends after each; a part is never wider than a line."""
    if not text:
        yield "∅", False
        return
    parts = text.split("\n")
    for index, part in enumerate(parts):
        ends = index < len(parts) - 1
        shown = visible_text(part) + ("↵" if ends else "")
        if not shown:
            continue
        while cells(shown) > columns:
            cut = max(columns // 2, 1) if not shown.isascii() else columns
            yield shown[:cut], False
            shown = shown[cut:]
        yield shown, ends
