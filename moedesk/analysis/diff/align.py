"""Which tokens of two captures are the same: by sequence, place in the text and token id, across edits of the text."""

from collections import defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt

from moedesk.analysis.diff.sequences import Sequences

Ints = npt.NDArray[np.int64]

LEAST = 0.3
"""Share of a sequence's tokens that must be found in the other one, in order, for the two to be the same text edited."""
LONGEST = 20_000
"""Tokens between a common beginning and end up to which an edit is searched; of longer ones only beginning and end align."""


@dataclass(frozen=True)
class Alignment:
    """Token rows of A and B that are the same token of the same text.

    Attributes
    ----------
    a, b : (n,) int64
        Rows, ascending in ``a``.
    sequences : int
        Pairs of sequences.
    edited : int
        How many of these differ in their text.
    only_a, only_b : int
        Tokens without a counterpart.
    """

    a: Ints
    b: Ints
    sequences: int
    edited: int
    only_a: int
    only_b: int


def align(a: Sequences, b: Sequences) -> Alignment:
    """Return the rows that are the same token.

    Sequences of the same text are paired first, in order; then those of the same number, if one begins or resembles the other;
    then what is left, by a common beginning. Captures without token ids are paired by sequence number and place.
    """
    pairs, edited = _pair(a, b)
    parts = [_tokens(a, b, one, other) for one, other in pairs]
    left = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
    right = np.concatenate([part[1] for part in parts]) if parts else np.zeros(0, np.int64)
    order = np.argsort(left, kind="stable")
    return Alignment(left[order], right[order], len(pairs), edited, len(a.rows) - len(left), len(b.rows) - len(left))


def _pair(a: Sequences, b: Sequences) -> tuple[list[tuple[int, int]], int]:
    """Places of sequences that belong together, and how many of these differ in text."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for place in reversed(range(len(b))):
        same[b.ids_of(place).tobytes()].append(place)
    pairs: list[tuple[int, int]] = []
    left: list[int] = []
    for place in range(len(a)):
        found = same[a.ids_of(place).tobytes()]
        if found:
            pairs.append((place, found.pop()))
        else:
            left.append(place)
    free = {place for places in same.values() for place in places}
    number = {int(n): place for place, n in enumerate(b.numbers)}
    beginnings: dict[bytes, list[int]] = defaultdict(list)
    for place in sorted(free, reverse=True):
        beginnings[_beginning(b.ids_of(place))].append(place)
    edited = 0
    for place in left:
        ids = a.ids_of(place)
        others = [number.get(int(a.numbers[place]), -1), *reversed(beginnings[_beginning(ids)])]
        other = next((one for one in others if one in free and _alike(ids, b.ids_of(one))), None)
        if other is not None:
            free.discard(other)
            pairs.append((place, other))
            edited += 1
    return pairs, edited


def _beginning(ids: Ints) -> bytes:
    return ids[:4].tobytes()


def _alike(a: Ints, b: Ints) -> bool:
    """Whether enough tokens of the shorter one are found in the longer one."""
    shorter = min(len(a), len(b))
    return shorter > 0 and sum(size for _, _, size in _blocks(a, b)) >= LEAST * shorter


def _tokens(a: Sequences, b: Sequences, one: int, other: int) -> tuple[Ints, Ints]:
    """Rows of the tokens that two sequences share."""
    rows_a, rows_b = a.rows_of(one), b.rows_of(other)
    blocks = _blocks(a.ids_of(one), b.ids_of(other))
    left = [rows_a[i : i + size] for i, _, size in blocks]
    right = [rows_b[j : j + size] for _, j, size in blocks]
    return np.concatenate(left) if left else rows_a[:0], np.concatenate(right) if right else rows_b[:0]


def _blocks(a: Ints, b: Ints) -> list[tuple[int, int, int]]:
    """(start in a, start in b, length) of common runs in order: a common beginning, what an edit left, a common end."""
    shorter = min(len(a), len(b))
    differs = np.flatnonzero(a[:shorter] != b[:shorter])
    head = int(differs[0]) if len(differs) else shorter
    differs = np.flatnonzero(a[len(a) - shorter + head :][::-1] != b[len(b) - shorter + head :][::-1])
    tail = int(differs[0]) if len(differs) else shorter - head
    blocks = [(0, 0, head)]
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    if len(middle_a) and len(middle_b) and max(len(middle_a), len(middle_b)) <= LONGEST:
        matcher = SequenceMatcher(None, middle_a.tolist(), middle_b.tolist(), autojunk=False)
        blocks += [(i + head, j + head, size) for i, j, size in matcher.get_matching_blocks()]
    blocks.append((len(a) - tail, len(b) - tail, tail))
    return [block for block in blocks if block[2]]
