"""``$0`` … ``$4`` and ``$_`` in code typed into IPython: the last selections, and the last result."""

import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

_DOLLAR = re.compile(r"\$([0-4_])(?!\w)")
_F_STRING = re.compile(r"(?i)(f|fr|rf)['\"]")


def expand(code: str) -> str:
    """Return Python code with ``sel[0]`` in place of ``$0`` and ``_`` in place of ``$_``, outside strings and comments."""
    lines = code.splitlines(keepends=True)
    while (place := _first(_tokens(lines))) is not None:
        lines = _replaced(lines, *place)
    return "".join(lines)


class DollarTransformer:
    """Replaces one ``$0`` at a time, as IPython's own token transformers replace ``!`` and ``%``.

    Those come first where they begin further left, so the rest of a shell line or of a magic is theirs, and is left alone.

    Attributes
    ----------
    start_line, start_col : int
        Where the dollar stands; from 0.
    """

    priority = 0  # before help, which would take "$0.module?" for "module?"

    def __init__(self, line: int, column: int) -> None:
        self.start_line, self.start_col = line, column

    @classmethod
    def find(cls, tokens_by_line: Sequence[Sequence[tokenize.TokenInfo]]) -> Self | None:
        """Return the first dollar, or None."""
        place = _first(token for line in tokens_by_line for token in line)
        return None if place is None else cls(*place)

    def sortby(self) -> tuple[int, int, int]:
        """Order among the transformers that found something."""
        return self.start_line, self.start_col, self.priority

    def transform(self, lines: Sequence[str]) -> list[str]:
        """Return the lines with this dollar replaced."""
        return _replaced(lines, self.start_line, self.start_col)


def _replaced(lines: Sequence[str], line: int, column: int) -> list[str]:
    text = lines[line]
    found = _DOLLAR.match(text, column)
    if found is None:  # IPython then tries its other transformers
        raise SyntaxError("no dollar here")
    name = "_" if found[1] == "_" else f"sel[{found[1]}]"
    return [*lines[:line], text[:column] + name + text[found.end() :], *lines[line + 1 :]]


def _first(tokens: Iterable[tokenize.TokenInfo]) -> tuple[int, int] | None:
    """Line and column, both from 0, of the first dollar to replace."""
    for token in tokens:
        row, column = token.start
        if token.string == "$":
            if _DOLLAR.match(token.line, column):
                return row - 1, column
        elif token.type == tokenize.STRING and _F_STRING.match(token.string):  # one token, until Python 3.12
            for found in _DOLLAR.finditer(token.string):
                before = token.string[: found.start()]
                if _in_field(before):
                    last = before.rpartition("\n")[2]
                    return row - 1 + before.count("\n"), len(last) + (0 if "\n" in before else column)
    return None


def _in_field(text: str) -> bool:
    """Whether an f-string that begins with ``text`` is then inside a replacement field, and in no string there."""
    depth, quote, place = 0, "", 0
    while place < len(text):
        character = text[place]
        if not depth and text[place : place + 2] in ("{{", "}}"):
            place += 1
        elif quote:
            quote = "" if character == quote else quote
        elif depth and character in "'\"":
            quote = character
        else:
            depth += (character == "{") - (character == "}")
        place += 1
    return depth > 0 and not quote


def _tokens(lines: Sequence[str]) -> Iterator[tokenize.TokenInfo]:
    """The tokens up to the first thing that is no Python."""
    try:
        yield from tokenize.generate_tokens(io.StringIO("".join(lines)).readline)
    except (tokenize.TokenError, SyntaxError):  # unfinished, or a number that no name may follow
        return
