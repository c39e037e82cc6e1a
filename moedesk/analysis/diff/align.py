"""Which tokens of two captures are the same: by sequence, place in the text and token id, across edits of the text."""

from collections import defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from moedesk.analysis.diff.sequences import Sequences

Ints = npt.NDArray[np.signedinteger]
Blocks = list[tuple[int, int, int]]
"""(start in a, start in b, length) of runs that two sequences share, in order."""

LEAST = 0.3
"""Share of a sequence's tokens that must be found in the other one, in order, for the two to be the same text edited."""
LONGEST = 20_000
"""Tokens between a common beginning and end up to which an edit is searched; of longer ones only beginning and end align."""


@dataclass(frozen=True)
class Alignment:
    """Token rows of A and B that are the same token of the same text.

    Attributes
    ----------
    a, b : (n,) signed int
        Rows, ascending in ``a``.
    pair : (n,) int32
        Which pair of sequences each belongs to.
    same_before : (n,) bool
        Whether the text up to and including the token is the same in both.
    numbers : (P, 2) int64
        Sequence numbers of each pair, in A and in B.
    changed : (P,) bool
        Which pairs differ in their text.
    only_a, only_b : int
        Tokens without a counterpart.
    """

    a: Ints
    b: Ints
    pair: npt.NDArray[np.int32]
    same_before: npt.NDArray[np.bool_]
    numbers: npt.NDArray[np.int64]
    changed: npt.NDArray[np.bool_]
    only_a: int
    only_b: int

    @property
    def edited(self) -> int:
        """How many pairs of sequences differ in their text."""
        return int(np.count_nonzero(self.changed))

    def __len__(self) -> int:
        return len(self.a)


def align(a: Sequences, b: Sequences) -> Alignment:
    """Return the rows that are the same token.

    Sequences of the same text are paired first, in order; then those of the same number, if one begins or resembles the other;
    then what is left, by a common beginning. Captures without token ids are paired by sequence number and place.
    """
    pairs = _pair(a, b)
    shared = [_blocks(a.ids_of(one), b.ids_of(other)) for one, other in pairs]
    lengths = np.array([sum(size for _, _, size in blocks) for blocks in shared], np.int64)
    heads = np.array([blocks[0][2] if blocks and blocks[0][:2] == (0, 0) else 0 for blocks in shared], np.int64)
    left = _rows(a, [one for one, _ in pairs], [[(i, size) for i, _, size in blocks] for blocks in shared])
    right = _rows(b, [other for _, other in pairs], [[(j, size) for _, j, size in blocks] for blocks in shared])
    pair = np.repeat(np.arange(len(pairs), dtype=np.int32), lengths)
    same_before = np.arange(len(left)) < np.repeat(np.cumsum(lengths) - lengths + heads, lengths)
    if not bool(np.all(left[1:] > left[:-1])):
        order = np.argsort(left, kind="stable")
        left, right, pair, same_before = left[order], right[order], pair[order], same_before[order]
    numbers = np.array([(a.numbers[one], b.numbers[other]) for one, other in pairs], np.int64).reshape(-1, 2)
    changed = (lengths != np.diff(a.starts)[[one for one, _ in pairs]]) | (
        lengths != np.diff(b.starts)[[other for _, other in pairs]]
    )
    return Alignment(left, right, pair, same_before, numbers, changed, len(a.rows) - len(left), len(b.rows) - len(left))


def _rows(sequences: Sequences, places: list[int], runs: list[list[tuple[int, int]]]) -> Ints:
    """Rows of runs (start, length) of tokens of some sequences."""
    parts = [sequences.rows[:0]]
    for place, some in zip(places, runs, strict=True):
        rows = sequences.rows_of(place)
        parts += [rows[start : start + size] for start, size in some]
    return np.concatenate(parts)


def _pair(a: Sequences, b: Sequences) -> list[tuple[int, int]]:
    """Places of sequences that belong together."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for place in reversed(range(len(b))):
        same[_digest(b.ids_of(place))].append(place)
    pairs: list[tuple[int, int]] = []
    left: list[int] = []
    for place in range(len(a)):
        found = same[_digest(a.ids_of(place))]
        if found:
            pairs.append((place, found.pop()))
        else:
            left.append(place)
    free = {place for places in same.values() for place in places}
    number = {int(n): place for place, n in enumerate(b.numbers)}
    beginnings: dict[bytes, list[int]] = defaultdict(list)
    for place in sorted(free, reverse=True):
        beginnings[_beginning(b.ids_of(place))].append(place)
    for place in left:
        ids = a.ids_of(place)
        others = [number.get(int(a.numbers[place]), -1), *reversed(beginnings[_beginning(ids)])]
        other = next((one for one in others if one in free and _alike(ids, b.ids_of(one))), None)
        if other is not None:
            free.discard(other)
            pairs.append((place, other))
    return pairs


def _digest(ids: Ints) -> bytes:
    """What stands for a text: 16 bytes however long it is."""
    return blake2b(ids.astype(np.int64).tobytes(), digest_size=16).digest()


def _beginning(ids: Ints) -> bytes:
    return ids[:4].astype(np.int64).tobytes()


def _alike(a: Ints, b: Ints) -> bool:
    """Whether enough tokens of the shorter one are found in the longer one."""
    shorter = min(len(a), len(b))
    return shorter > 0 and sum(size for _, _, size in _blocks(a, b)) >= LEAST * shorter


def _blocks(a: Ints, b: Ints) -> Blocks:
    """What two texts share: a common beginning, what an edit left, a common end."""
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
