"""Labels of passes and token rows, such as the domain of a text or the part of an experiment."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moedesk.core.columns import LABEL
from moedesk.core.errors import MoedeskError

OPEN = -1
"""Stands for the end of a label that goes on until the next one."""


@dataclass(frozen=True)
class Label:
    """A name for some passes or token rows. They may overlap.

    Attributes
    ----------
    name : str
    first, last : int
        Passes, or rows of ``stream``; end excluded.
    stream : str
        Empty for passes.
    """

    name: str
    first: int
    last: int
    stream: str = ""

    @property
    def row(self) -> npt.NDArray[np.void]:
        """As a (1,) array, dtype ``columns.LABEL``."""
        return np.array([(encode_name(self.name), self.stream.encode(), self.first, self.last)], LABEL)


def encode_name(name: str) -> bytes:
    """Return a label's name as it is stored.

    Raises
    ------
    MoedeskError
        If it is longer than 64 bytes, or no single line.
    """
    stored = name.encode()
    size = LABEL["name"].itemsize
    if len(stored) > size or "\n" in name or "\0" in name or name != name.strip():
        raise MoedeskError(f"a label is one line of at most {size} bytes without spaces around it, not {name!r}")
    return stored


def labels_of(rows: npt.NDArray[np.void], n_passes: int) -> tuple[Label, ...]:
    """Return the labels in rows of dtype ``columns.LABEL``, each with its end; what is empty is left out."""
    spans = rows.tolist()
    open_rows = [number for number, (*_, last) in enumerate(spans) if last == OPEN]
    ends = dict(zip(open_rows, [*(spans[n][2] for n in open_rows[1:]), n_passes], strict=False))
    labels = []
    for number, (name, stream, first, last) in enumerate(spans):
        end = ends.get(number, last)
        if name and end > first:
            labels.append(Label(name.decode("utf-8", "replace"), first, end, stream.decode("utf-8", "replace")))
    return tuple(labels)


def names_of(labels: Iterable[Label]) -> tuple[str, ...]:
    """Return the different names, in the order of their first appearance."""
    return tuple(dict.fromkeys(label.name for label in labels))


def labelled(
    labels: Sequence[Label], name: str, stream: str, i: int, passes: npt.NDArray[np.integer]
) -> npt.NDArray[np.bool_]:
    """Return which token rows have a label.

    Parameters
    ----------
    stream : str
        The rows' stream.
    i : int
        The first row's place in it.
    passes : (n,) int array
        The pass of each row.
    """
    mask = np.zeros(len(passes), bool)
    for label in labels:
        if label.name != name:
            continue
        if not label.stream:
            mask |= (passes >= label.first) & (passes < label.last)
        elif label.stream == stream:
            mask[max(0, label.first - i) : max(0, label.last - i)] = True
    return mask
