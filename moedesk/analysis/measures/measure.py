"""What a measure is: numbers with their meaning, a partial result of some rows, and how two partial results combine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from moedesk.analysis.measures.rows import Rows
from moedesk.core.model import LayerInfo

Sums = dict[str, Any]
"""Arrays, or other things that add up, by name."""


@dataclass(frozen=True)
class Meaning:
    """What exactly a number is.

    Attributes
    ----------
    key : str
        Stable name in JSON.
    name : str
        As shown.
    formula : str
        In the notation of docs/metrics.md.
    convention : str
        Which of the definitions in use this one is, and its unit.
    source : str
        Where the definition comes from.
    """

    key: str
    name: str
    formula: str
    convention: str
    source: str


class Measure(Protocol):
    """Numbers of one layer, from its rows.

    ``partial`` of any split of the rows into pieces, in order, combined by ``combine`` (associative), gives the same ``values``:
    so pieces can be read one by one, in threads, or on several machines.
    """

    @property
    def meanings(self) -> tuple[Meaning, ...]:
        """What ``values`` returns, in order."""

    def partial(self, rows: Rows) -> Any:
        """Return the partial result of some rows."""

    def combine(self, before: Any, after: Any) -> Any:
        """Return the partial result of ``before``'s rows followed by ``after``'s."""

    def values(self, partial: Any, layer: LayerInfo) -> Mapping[str, float]:
        """Return the numbers by key; NaN where the rows don't hold what it takes."""


def add(before: Sums, after: Sums) -> Sums:
    """Return the sums of both; what only one of them has is taken as it is."""
    total = dict(before)
    for name, value in after.items():
        total[name] = total[name] + value if name in total else value
    return total


def ratio(top: Any, bottom: Any) -> float:
    """Return top ÷ bottom, NaN if there is nothing below."""
    return float(top) / float(bottom) if bottom else float("nan")


def sums(**values: Any) -> Sums:
    """Return the values as arrays by name."""
    return {name: np.asarray(value) for name, value in values.items()}
