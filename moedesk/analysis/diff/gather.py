"""Reads the aligned rows of two captures, piece by piece, and adds up what differs at every layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from moedesk.analysis.chunks import Part, Ticket
from moedesk.analysis.diff.align import Alignment, align
from moedesk.analysis.diff.layer_diff import LayerDiff, Rows, Side
from moedesk.analysis.diff.sequences import read_sequences
from moedesk.core.columns import RouteFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.model import LayerInfo
from moedesk.core.store import Store

PIECE = 1 << 15
"""Aligned tokens compared at a time."""
GAP = 256
"""Rows between two wanted ones up to which all are read at once."""

Ints = npt.NDArray[np.signedinteger]
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class StreamDiff:
    """What differs in one stream of tokens.

    Attributes
    ----------
    stream : str
    alignment : Alignment
    layers : tuple of LayerDiff
    counterparts : tuple of LayerInfo
        The layers of B that these are compared with.
    first_flip : (n,) int16
        For each aligned token its first layer that flips, as a place in ``layers``; -1 if none does.
    """

    stream: str
    alignment: Alignment
    layers: tuple[LayerDiff, ...]
    counterparts: tuple[LayerInfo, ...]
    first_flip: npt.NDArray[np.int16]

    @property
    def flipped(self) -> int:
        """How many aligned tokens flip at any layer."""
        return int(np.count_nonzero(self.first_flip >= 0))

    @property
    def later(self) -> int:
        """How many aligned tokens come after a difference in the text, so that no verdict rests on them."""
        return len(self.alignment) - int(np.count_nonzero(judged_tokens(self.stream, self.alignment)))

    @property
    def first_divergent(self) -> Ints:
        """(L,) tokens whose first flip is at that layer."""
        return np.bincount(self.first_flip[self.first_flip >= 0], minlength=len(self.layers))


def gather(a: Store, b: Store, ticket: Ticket | None = None) -> list[StreamDiff]:
    """Compare two captures, stream by stream.

    Raises
    ------
    MoedeskError
        If they have no MoE layer or no token in common.
    """
    layers = pair_layers(a, b)
    streams = list(dict.fromkeys(layer.stream for layer, _ in layers))
    diffs = []
    whole = Part(ticket)
    for number, stream in enumerate(streams):
        part = whole.part(number / len(streams), 1 / len(streams))
        alignment = align(
            read_sequences(a, stream, part.part(0, 0.05)), read_sequences(b, stream, part.part(0.05, 0.05))
        )
        pairs = [(one, other) for one, other in layers if one.stream == stream]
        diffs.append(_compare(a, b, stream, pairs, alignment, part.part(0.1, 0.9)))
    if not any(len(diff.alignment.a) for diff in diffs):
        raise MoedeskError(
            f"{a.name} and {b.name} have no token in common: record the same texts with both, ids and weights included"
        )
    return diffs


def pair_layers(a: Store, b: Store) -> list[tuple[LayerInfo, LayerInfo]]:
    """Return the layers that are compared: those of the same path; if there are none, those of the same place.

    Raises
    ------
    MoedeskError
        If the two have no layer in common, or one with another number of experts.
    """
    others = {layer.path: layer for layer in b.model.layers}
    pairs = [(layer, others[layer.path]) for layer in a.model.layers if layer.path in others]
    if not pairs and len(a.model.layers) == len(b.model.layers):
        pairs = list(zip(a.model.layers, b.model.layers, strict=True))
    if not pairs:
        raise MoedeskError(
            f"{a.name} has {len(a.model.layers)} MoE layers and {b.name} {len(b.model.layers)}, none of the same path; "
            "compare captures of the same architecture"
        )
    for one, other in pairs:
        if one.experts != other.experts:
            raise MoedeskError(
                f"{one.path} has {one.experts} experts in {a.name} and {other.experts} in {b.name}; compare captures of one model"
            )
    return pairs


def _compare(
    a: Store,
    b: Store,
    stream: str,
    pairs: Sequence[tuple[LayerInfo, LayerInfo]],
    alignment: Alignment,
    ticket: Part,
) -> StreamDiff:
    totals = [LayerDiff(layer) for layer, _ in pairs]
    judged = judged_tokens(stream, alignment)
    first_flip = np.full(len(alignment.a), -1, np.int16)
    for start in range(0, len(first_flip), PIECE):
        piece = slice(start, start + PIECE)
        rows_a, rows_b = Picked.of(alignment.a[piece]), Picked.of(alignment.b[piece])
        firsts = first_flip[piece]
        for place, (one, other) in enumerate(pairs):
            ticket.check(min(1.0, (start + PIECE * place / len(pairs)) / len(first_flip)))
            left, right = read_side(a, one, rows_a), read_side(b, other, rows_b)
            rows = Rows.of(left, right)
            fresh = firsts < 0
            totals[place] += LayerDiff.of(one, left, right, rows, fresh, judged[piece])
            flips = np.zeros(len(firsts), bool)
            flips[rows.seen] = rows.flip
            firsts[flips & fresh] = place
    ticket.check(1.0)
    return StreamDiff(stream, alignment, tuple(totals), tuple(other for _, other in pairs), first_flip)


def judged_tokens(stream: str, alignment: Alignment) -> npt.NDArray[np.bool_]:
    """Return (n,) which tokens a verdict rests on: those that both models saw with the same text before them.

    Encoders see what follows, too, so there the whole text has to be the same. If no token is left, all count.
    """
    causal = stream in ("main", "decoder")
    judged = alignment.same_before if causal else ~alignment.changed[alignment.pair]
    return judged if judged.any() else np.ones(len(judged), bool)


@dataclass(frozen=True)
class Picked:
    """Some token rows, and the ranges that hold them.

    Attributes
    ----------
    runs : list of (int, int, rows)
        First row and end of each range, and which of its rows are wanted.
    back : (n,) int64 or None
        Puts what was read in the order of the rows; None if it is that already.
    """

    runs: list[tuple[int, int, Ints]]
    back: Ints | None

    @classmethod
    def of(cls, rows: Ints) -> Self:
        """Find ranges; near rows in one go."""
        different, back = np.unique(rows, return_inverse=True)
        runs = np.split(different, np.flatnonzero(np.diff(different) > GAP) + 1) if len(rows) else []
        ordered = len(different) == len(rows) and bool(np.all(back[1:] > back[:-1]))
        return cls([(int(run[0]), int(run[-1]) + 1, run - run[0]) for run in runs], None if ordered else back)

    def take(self, read: Callable[[int, int], npt.NDArray[Value]]) -> npt.NDArray[Value]:
        """Return these rows of a column that is read by ranges."""
        if not self.runs:
            return read(0, 0)
        parts = []
        for i, j, wanted in self.runs:
            part = read(i, j)
            parts.append(part if len(wanted) == j - i else part[wanted])
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole if self.back is None else whole[self.back]


def read_side(store: Store, layer: LayerInfo, rows: Picked) -> Side:
    """Return what a layer did with some token rows, in their order."""
    flags = rows.take(lambda i, j: store.flags(layer, i, j))
    return Side(
        rows.take(lambda i, j: store.experts(layer, i, j)),
        rows.take(lambda i, j: store.weights(layer, i, j)),
        rows.take(lambda i, j: store.margin(layer, i, j)),
        (flags & RouteFlag.ABSENT) == 0,
    )
