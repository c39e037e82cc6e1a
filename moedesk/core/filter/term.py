"""The terms of a filter and their canonical text."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

OPERATOR = re.compile(r"([A-Za-z_]\w*)(>=|<=|>|<|=|:)")
"""A key and its operator, at the start of a term."""

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True)
class Interval:
    """Numbers from ``low`` to ``high``; None is no limit; an open end leaves its number out."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def holds(self, values: npt.NDArray) -> npt.NDArray[np.bool_]:
        """Return which of ``values`` lie inside; NaN never does."""
        inside = values == values
        if self.low is not None:
            inside &= values > self.low if self.low_open else values >= self.low
        if self.high is not None:
            inside &= values < self.high if self.high_open else values <= self.high
        return inside

    @property
    def is_comparison(self) -> bool:
        """Whether ``>``, ``>=``, ``<`` or ``<=`` says the same."""
        return (self.low is None) != (self.high is None)

    def comparison_text(self) -> str:
        """Return e.g. ``>=3``."""
        if self.low is not None:
            return f">{'' if self.low_open else '='}{number_text(self.low)}"
        assert self.high is not None
        return f"<{'' if self.high_open else '='}{number_text(self.high)}"

    def range_text(self) -> str:
        """Return e.g. ``3``, ``3..7`` or ``3..``."""
        if self.low is not None and self.low == self.high:
            return number_text(self.low)
        low = "" if self.low is None else number_text(self.low)
        return f"{low}..{'' if self.high is None else number_text(self.high)}"


@dataclass(frozen=True)
class Numbers:
    """Numbers that lie in any of the intervals."""

    intervals: tuple[Interval, ...]

    def holds(self, values: npt.NDArray) -> npt.NDArray[np.bool_]:
        """Return which of ``values`` lie in any interval."""
        inside = self.intervals[0].holds(values)
        for interval in self.intervals[1:]:
            inside |= interval.holds(values)
        return inside


@dataclass(frozen=True)
class Words:
    """Any of some names: phases, flags, labels, or module paths."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Pattern:
    """What a token's text must be.

    Attributes
    ----------
    text : str
    kind : {"stripped", "exact", "contains", "regex"}
        Equal without surrounding white space, equal, contained (upper and lower case alike), or found by a regular expression.
    """

    text: str
    kind: Literal["stripped", "exact", "contains", "regex"]

    def test(self) -> Callable[[str], bool]:
        """Return a function that says whether a token's text is what is looked for."""
        if self.kind == "stripped":
            return lambda text: text.strip() == self.text
        if self.kind == "exact":
            return lambda text: text == self.text
        if self.kind == "contains":
            wanted = self.text.casefold()
            return lambda text: wanted in text.casefold()
        search = re.compile(self.text).search
        return lambda text: search(text) is not None


def token_pattern(text: str) -> Pattern:
    """Return the pattern that ``token:"text"`` stands for: exact if there are blanks around it."""
    return Pattern(text, "stripped" if text == text.strip() else "exact")


@dataclass(frozen=True)
class Term:
    """One condition.

    Attributes
    ----------
    key : str
        A key of ``keys.KEYS``; ``token`` for a bare word too.
    value : Numbers, Words or Pattern
    negated : bool
    start, end : int
        Where it stands in the filter's text; not compared.
    """

    key: str
    value: Numbers | Words | Pattern
    negated: bool = False
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)

    def to_text(self) -> str:
        """Return the canonical way to write it."""
        return ("-" if self.negated else "") + self._positive_text()

    def _positive_text(self) -> str:
        match self.value:
            case Pattern(text, "contains"):
                plain = text and not re.search(r"\s", text) and text[0] not in '"-' and not OPERATOR.match(text)
                return text if plain else quoted(text)
            case Pattern(text, "regex"):
                return f"token:/{_escape_slashes(text)}/"
            case Pattern(text):
                plain = text and not re.search(r"\s", text) and text[0] not in '"/'
                return f"token:{text if plain else quoted(text)}"
            case Words((name,)) if self.key == "label":
                plain = not re.search(r"[\s,]", name) and not name.startswith('"')
                return f"label:{name if plain else quoted(name)}"
            case Words(names):
                return f"{self.key}:{','.join(names)}"
            case Numbers((interval,)) if interval.is_comparison:
                return self.key + interval.comparison_text()
            case Numbers(intervals):
                return f"{self.key}:{','.join(interval.range_text() for interval in intervals)}"


def number_text(number: float) -> str:
    """Return the shortest text that reads back as the same number."""
    return repr(number).removesuffix(".0")


def quoted(text: str) -> str:
    """Return ``text`` in double quotes, with what is special escaped."""
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


def _escape_slashes(regex: str) -> str:
    return re.sub(r"\\.|/", lambda found: r"\/" if found[0] == "/" else found[0], regex, flags=re.DOTALL)
