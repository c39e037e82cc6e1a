"""What of a file that is still being written, or was cut short, is whole: one small record, written after the data."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np

PATH = "committed"


@dataclass(frozen=True)
class Committed:
    """A consistent state of the file.

    Attributes
    ----------
    passes : int
        Passes whose tokens, routes and counts are all there.
    rows, stored : tuple of int
        For each column: rows in all, and how many of them are in its dataset; the rest is in its tail.
    """

    passes: int
    rows: tuple[int, ...]
    stored: tuple[int, ...]


class CommitLog:
    """Two slots written in turn, so that one is whole whenever the writer dies."""

    def __init__(self, file: h5py.File, sequence: int = 0) -> None:
        self._dataset: h5py.Dataset = file[PATH]
        self.sequence = sequence

    @staticmethod
    def create(file: h5py.File, columns: int) -> None:
        """Lay out the slots for so many columns, replacing those for fewer."""
        if PATH in file:
            del file[PATH]
        file.create_dataset(PATH, data=np.zeros((2, 3 + 2 * columns), "<i8"), track_times=False)

    def write(self, passes: int, rows: Sequence[int], stored: Sequence[int]) -> None:
        """Write a record to the older slot and flush it."""
        self.sequence += 1
        record = np.array([self.sequence, passes, *rows, *stored], "<i8")
        self._dataset[self.sequence % 2] = np.append(record, zlib.crc32(record.tobytes()))
        self._dataset.flush()


def read_committed(file: h5py.File) -> Committed | None:
    """Return the newest whole record, or None before the first."""
    slots = sorted(file[PATH][()], key=lambda slot: -int(slot[0]))
    for slot in slots:
        if slot[0] and zlib.crc32(slot[:-1].tobytes()) == slot[-1]:
            columns = (len(slot) - 3) // 2
            numbers = tuple(int(n) for n in slot[2:-1])
            return Committed(int(slot[1]), numbers[:columns], numbers[columns:])
    return None
