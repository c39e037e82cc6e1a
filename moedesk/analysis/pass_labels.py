"""Labels as ranges of passes: what a table of passes, or an axis of time, shows of them."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from moedesk.core.label import Label
from moedesk.core.store import Store


@dataclass(frozen=True)
class PassLabel:
    """A label over passes.

    Attributes
    ----------
    name : str
    first, last : int
        End excluded.
    whole : bool
        Whether it names whole passes, not only some of their tokens.
    """

    name: str
    first: int
    last: int
    whole: bool = True


@dataclass(frozen=True)
class PassLabels:
    """All labels of a store over its passes, by first pass.

    Attributes
    ----------
    labels : tuple of PassLabel
    """

    labels: tuple[PassLabel, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The different names, in the order of their first appearance."""
        return tuple(dict.fromkeys(label.name for label in self.labels))

    def of(self, first: int, last: int) -> tuple[PassLabel, ...]:
        """Return the labels of any of the passes first…last (end excluded)."""
        end = bisect_right(self.labels, last - 1, key=lambda label: label.first)
        return tuple(label for label in self.labels[:end] if label.last > first)

    def text(self, first: int, last: int) -> str:
        """Return the names of the labels of passes first…last; one of only some tokens says so."""
        found: dict[str, bool] = {}
        for label in self.of(first, last):
            found[label.name] = found.get(label.name, False) or label.whole
        return ", ".join(name if whole else f"{name} (some tokens)" for name, whole in found.items())

    def texts(self, first: int, last: int) -> list[str]:
        """Return ``text`` of each of the passes first…last."""
        near = PassLabels(self.of(first, last))
        return [near.text(number, number + 1) if near.labels else "" for number in range(first, last)]


def pass_labels(store: Store) -> PassLabels:
    """Return the labels of a store over passes; one of token rows over the passes that these rows are of."""
    found = [_over_passes(store, label) for label in store.labels]
    return PassLabels(tuple(sorted(_known(found), key=lambda label: label.first)))


def _known(labels: Iterable[PassLabel | None]) -> Iterable[PassLabel]:
    return (label for label in labels if label is not None)


def _over_passes(store: Store, label: Label) -> PassLabel | None:
    if not label.stream:
        return (
            PassLabel(label.name, label.first, min(label.last, store.n_passes))
            if label.first < store.n_passes
            else None
        )
    last = min(label.last, store.n_tokens(label.stream)) if label.stream in store.model.streams else 0
    if label.first >= last:
        return None
    ends = np.concatenate([store.read_tokens(row, row + 1, label.stream) for row in (label.first, last - 1)])["pass"]
    return PassLabel(label.name, int(ends[0]), int(ends[1]) + 1, whole=False)
