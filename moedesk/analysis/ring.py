"""A ring of picture columns: what is new is written over what is oldest, and nothing is moved."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Fields = Mapping[str, tuple[Sequence[int], npt.DTypeLike]]


class ColumnRing:
    """Neighbouring columns first…last (end excluded) of a picture that goes on; column c lies at place ``c % capacity``.

    Parameters
    ----------
    capacity : int
        Columns it can hold.
    fields : mapping of name to (shape, dtype)
        What is kept of a column: arrays of ``(*shape, capacity)``, to be read with ``ring[name]``.
    """

    def __init__(self, capacity: int, fields: Fields) -> None:
        self.capacity = capacity
        self.first = 0
        self.last = 0
        self._arrays = {name: np.zeros((*shape, capacity), dtype) for name, (shape, dtype) in fields.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the ring's own array of a field, columns in the order of their places."""
        return self._arrays[name]

    def __len__(self) -> int:
        return self.last - self.first

    def put(self, first: int, columns: Mapping[str, np.ndarray]) -> tuple[int, int]:
        """Write columns from ``first`` on, which may replace, go on before or behind, or start anew elsewhere.

        Columns farther than ``capacity`` from the new ones are forgotten, so the ring stays without gaps.

        Returns
        -------
        tuple of int
            The columns first…last that were written; fewer than given if these are more than the ring holds.
        """
        count = next(iter(columns.values())).shape[-1]
        last = first + count
        skipped = max(0, count - self.capacity)
        first += skipped
        if first > self.last or last < self.first or not len(self):
            self.first, self.last = first, last
        elif last >= self.last:
            self.first, self.last = max(min(self.first, first), last - self.capacity), last
        else:
            self.first = min(self.first, first)
            self.last = min(self.last, self.first + self.capacity)
        for column, place, length in self.segments(first, last):
            source = skipped + column - first
            for name, values in columns.items():
                self._arrays[name][..., place : place + length] = values[..., source : source + length]
        return first, last

    def segments(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """Return where those of the columns first…last lie that it holds: (column, place, length), at most two."""
        first, last = max(first, self.first), min(last, self.last)
        if first >= last:
            return []
        place = first % self.capacity
        length = min(last - first, self.capacity - place)
        parts = [(first, place, length)]
        if first + length < last:
            parts.append((first + length, 0, last - first - length))
        return parts

    def get(self, name: str, first: int, last: int, *part: int) -> np.ndarray:
        """Return a field, or the part of it at ``part``, of the columns first…last; those it does not hold are left out."""
        array = self._arrays[name][part] if part else self._arrays[name]
        parts = [array[..., place : place + length] for _, place, length in self.segments(first, last)]
        if len(parts) == 1:
            return parts[0].copy()
        return np.concatenate(parts, axis=-1) if parts else array[..., :0]

    def missing(self, first: int, last: int) -> tuple[int, int] | None:
        """Return the columns to put so that it holds first…last, None if it does already."""
        if first >= self.first and last <= self.last:
            return None
        if not len(self) or first > self.last or last < self.first or (first < self.first and last > self.last):
            return first, last
        return (self.last, last) if last > self.last else (first, self.first)
