"""Overrides that acted on what was recorded, and on which passes."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moedesk.core.columns import ACTED
from moedesk.core.override import Override

OPEN = -1
"""Stands for the end of passes that go on until a later row says it, or else the capture's end."""


@dataclass(frozen=True)
class Acted:
    """An override that was on while passes were recorded.

    It acted on a pass if it was on, and the pass reached one of its layers, in a phase that it is about; which rows it changed is
    in their flags (``RouteFlag.OVERRIDDEN``).

    Attributes
    ----------
    override : Override
    passes : tuple of (int, int)
        The passes on which it acted: first and end (excluded) of each run of them, in order.
    """

    override: Override
    passes: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """On how many passes it acted."""
        return sum(end - first for first, end in self.passes)

    @property
    def said(self) -> str:
        """What it does, and on which passes it did."""
        return f"{self.override.title} ({self.where})"

    @property
    def where(self) -> str:
        """The passes on which it acted, as ``passes 3–7, 12``."""
        return f"pass{'es' * (self.count != 1)} {passes_text(self.passes)}"

    def to_json(self) -> dict[str, Any]:
        """Return the override as JSON values, with ``passes``."""
        return {**self.override.to_json(), "passes": [list(run) for run in self.passes]}

    def of(self, first: int, last: int) -> tuple[tuple[int, int], ...]:
        """Return those of ``passes`` that reach into the passes first…last, end excluded."""
        start = bisect_right(self.passes, first, key=lambda run: run[1])
        return (
            self.passes[start : bisect_left(self.passes, last, start, key=lambda run: run[0])] if first < last else ()
        )

    def within(self, first: int, last: int) -> bool:
        """Return whether it acted on any of the passes first…last, end excluded."""
        return bool(self.of(first, last))


def row(number: int, first: int, last: int = OPEN) -> npt.NDArray[np.void]:
    """Return a (1,) array, dtype ``columns.ACTED``: that an override acts from a pass on, or that it did, up to another one."""
    return np.array([(number, first, last)], ACTED)


def acted_of(overrides: Sequence[Override | None], rows: npt.NDArray[np.void], n_passes: int) -> tuple[Acted, ...]:
    """Return what acted, in the order in which it first did.

    Parameters
    ----------
    overrides : sequence of Override or None
        None where one could not be read: it is left out.
    rows : (N,) structured, dtype ``columns.ACTED``
        A later row about the same override and first pass replaces the earlier one.
    """
    ends = {(number, first): n_passes if last == OPEN else min(last, n_passes) for number, first, last in rows.tolist()}
    runs: dict[int, list[tuple[int, int]]] = {}
    for (number, first), end in ends.items():
        if 0 <= first < end:
            runs.setdefault(number, []).append((first, end))
    known = {number: override for number, override in enumerate(overrides) if override is not None}
    return tuple(Acted(known[number], tuple(sorted(found))) for number, found in runs.items() if number in known)


def passes_of(acted: Iterable[Acted]) -> int:
    """Return on how many passes any override acted."""
    count = reached = 0
    for first, end in sorted(run for one in acted for run in one.passes):
        count += max(0, end - max(first, reached))
        reached = max(reached, end)
    return count


def titles_of(acted: Iterable[Acted], first: int, last: int) -> tuple[str, ...]:
    """Return what acted on each of the passes first…last, end excluded, in a line each; empty for nothing."""
    titles: list[list[str]] = [[] for _ in range(first, last)]
    for one in acted:
        for start, end in one.of(first, last):
            for place in range(max(start, first) - first, min(end, last) - first):
                titles[place].append(one.override.title)
    return tuple("; ".join(first_few(each)) for each in titles)


def first_few(texts: Iterable[str], most: int = 20) -> list[str]:
    """Return texts, of very many the first ones and how many more there are: a loop over experts makes thousands of overrides."""
    every = list(texts)
    return every if len(every) <= most else [*every[:most], f"and {len(every) - most:,} more"]


def passes_text(passes: Sequence[tuple[int, int]], most: int = 6) -> str:
    """Return runs of passes as ``3–7, 12``, the first few of them."""
    parts = [f"{first:,}" if end == first + 1 else f"{first:,}–{end - 1:,}" for first, end in passes[:most]]
    more = len(passes) - most
    return ", ".join(parts) + (f" and {more:,} more runs" if more > 0 else "")
