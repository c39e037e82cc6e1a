"""A breakpoint in the list: switched on or off, with what it hit."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from moedesk.core.breakpoint import Breakpoint, log_line
from moedesk.core.errors import MoedeskError
from moedesk.core.filter import Filter

LINES_A_SECOND = 20
"""Of a logpoint; what it would print beyond that is counted."""


class Owner(Protocol):
    """The list that a breakpoint is in."""

    def changed(self) -> None:
        """A breakpoint was switched."""

    def remove(self, placed: "PlacedBreakpoint") -> None:
        """Take a breakpoint out."""


class PlacedBreakpoint:
    """A breakpoint that ``moe.break_on`` placed. In a ``with`` block it is removed at the end.

    Attributes
    ----------
    id : int
    breakpoint : Breakpoint
    filter : Filter
    hits : int
        Matches so far, those passed over by ``ignore`` included.
    problem : str
        What is wrong with it just now, in one line; empty if nothing.
    """

    def __init__(self, owner: Owner, number: int, breakpoint: Breakpoint) -> None:
        self._owner = owner
        self.id = number
        self.hits = 0
        self.problem = ""
        self._on = True
        self.replace(breakpoint)

    def replace(self, breakpoint: Breakpoint) -> None:
        """Make it another one, which keeps its number and its hits."""
        self.breakpoint = breakpoint
        self.filter: Filter = breakpoint.filter
        self._lines = _Lines(breakpoint.text)
        self._condition = compile(breakpoint.condition, "<condition>", "eval") if breakpoint.condition else None

    @property
    def on(self) -> bool:
        """Whether it stops or prints; may be set."""
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        self._on = bool(on)
        self._owner.changed()

    def move(self, owner: Owner, number: int) -> None:
        """Make it one of another list."""
        self._owner, self.id = owner, number

    def remove(self) -> None:
        """Take it out of the list; a second time does nothing."""
        self._owner.remove(self)

    def hit(self, fields: Callable[[], dict[str, Any]], tensors: Callable[[], Mapping[str, Any]], globals: Any) -> bool:
        """Take note of a match; return whether the model is to stop.

        Parameters
        ----------
        fields : function
            Gives the match's fields, see ``core.breakpoint.FIELDS``.
        tensors : function
            Gives what a condition sees instead of, and besides, these.
        globals : mapping
            Where else its names are looked up.
        """
        if self._condition is not None:
            names = {**globals, **fields(), "hits": self.hits, **tensors()}
            try:
                if not eval(self._condition, names):
                    return False
            except Exception as error:  # the user's expression
                self._say_problem(f"its condition raised {type(error).__name__}: {_first_line(error)}")
                return False
        self.hits += 1
        if self.hits <= self.breakpoint.ignore:
            return False
        if not self.breakpoint.log:
            return True
        try:
            self._lines.say(log_line(self.breakpoint.log, {**fields(), "hits": self.hits}))
        except MoedeskError as error:
            self._say_problem(str(error))
        return False

    def settle(self) -> None:
        """Say how many lines were left out, when it is time for that."""
        self._lines.settle()

    def told(self) -> dict[str, Any]:
        """Return what apps are told of it."""
        return {**self.breakpoint.to_json(), "id": self.id, "on": self.on, "hits": self.hits, "problem": self.problem}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        hits = f"{self.hits:,} hit{'s' * (self.hits != 1)}"
        parts = (f"#{self.id}", self.breakpoint.title, hits, "" if self.on else "off", self.problem)
        return " · ".join(part for part in parts if part)

    def _say_problem(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            print(f"breakpoint {self.breakpoint.text}: {problem}")


class _Lines:
    """Prints lines, so many a second; counts the rest."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._second = 0.0
        self._printed = self._left_out = 0

    def say(self, line: str) -> None:
        if time.monotonic() - self._second >= 1:
            self.settle()
            self._second, self._printed = time.monotonic(), 0
        if self._printed < LINES_A_SECOND:
            self._printed += 1
            print(line)
        else:
            self._left_out += 1

    def settle(self) -> None:
        if self._left_out and time.monotonic() - self._second >= 1:
            print(f"… and {self._left_out:,} more lines of the logpoint {self._name}")
            self._left_out = 0


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
