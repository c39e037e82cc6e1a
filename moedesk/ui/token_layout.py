"""Tokens set in lines of a fixed-width font. No Qt: a column is one character cell."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from unicodedata import combining, east_asian_width

from moedesk.core.visible import visible_text


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
    _line: int = 0
    _column: int = 0

    def on_lines(self, first: int, last: int) -> list[Fragment]:
        """Return the fragments on lines first…last, end excluded."""
        low = bisect_left(self.fragments, first, key=lambda fragment: fragment.line)
        high = bisect_left(self.fragments, last, key=lambda fragment: fragment.line)
        return self.fragments[low:high]

    def add(self, place: int, text: str, width: int, ends: bool) -> None:
        """Put a piece after the last one, on a new line where it doesn't fit; ``ends``: what follows begins a line."""
        if self._column and self._column + width > self.columns:
            self._line, self._column = self._line + 1, 0
        self.line_of.setdefault(place, self._line)
        self.fragments.append(Fragment(place, self._line, self._column, width, text))
        self._column += width
        if ends:
            self._line, self._column = self._line + 1, 0
        self.lines = self._line + bool(self._column)

    def head(self, text: str) -> None:
        """Put a heading on a line of its own, after an empty one."""
        self._line += bool(self._column) + bool(self.fragments)
        self._column = 0
        if text:
            self.headings[self._line] = text
            self._line += 1

    def at(self, line: int, column: float) -> int | None:
        """Return the place of the token at a point, None beside the text."""
        row = self.on_lines(line, line + 1)
        index = bisect_right(row, column, key=lambda fragment: fragment.column) - 1
        if index < 0 or column >= row[index].column + max(row[index].width, 1):
            return None
        return row[index].place


def pieces(text: str, columns: int) -> Iterator[tuple[str, bool]]:
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
