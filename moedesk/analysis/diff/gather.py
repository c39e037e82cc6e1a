"""Reads the aligned rows of two captures, piece by piece, and adds up what differs at every layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

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

Ints = npt.NDArray[np.int64]
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
    first_flip = np.full(len(alignment.a), -1, np.int16)
    for start in range(0, len(first_flip), PIECE):
        piece = slice(start, start + PIECE)
        rows_a, rows_b = alignment.a[piece], alignment.b[piece]
        firsts = first_flip[piece]
        for place, (one, other) in enumerate(pairs):
            ticket.check(min(1.0, (start + PIECE * place / len(pairs)) / len(first_flip)))
            left, right = read_side(a, one, rows_a), read_side(b, other, rows_b)
            rows = Rows.of(left, right)
            fresh = firsts < 0
            totals[place] += LayerDiff.of(one, left, right, rows, fresh)
            flips = np.zeros(len(firsts), bool)
            flips[rows.seen] = rows.flip
            firsts[flips & fresh] = place
    ticket.check(1.0)
    return StreamDiff(stream, alignment, tuple(totals), tuple(other for _, other in pairs), first_flip)


def read_side(store: Store, layer: LayerInfo, rows: Ints) -> Side:
    """Return what a layer did with some token rows, in their order."""
    experts = take(lambda i, j: store.experts(layer, i, j), rows)
    flags = take(lambda i, j: store.flags(layer, i, j), rows)
    return Side(
        experts,
        take(lambda i, j: store.weights(layer, i, j), rows),
        take(lambda i, j: store.margin(layer, i, j), rows),
        (flags & RouteFlag.ABSENT) == 0,
    )


def take(read: Callable[[int, int], npt.NDArray[Value]], rows: Ints) -> npt.NDArray[Value]:
    """Return some rows of a column that is read by ranges; near ones in one go."""
    if not len(rows):
        return read(0, 0)
    different, back = np.unique(rows, return_inverse=True)
    breaks = np.flatnonzero(np.diff(different) > GAP) + 1
    parts = []
    for run in np.split(different, breaks):
        first = int(run[0])
        parts.append(read(first, int(run[-1]) + 1)[run - first])
    return np.concatenate(parts)[back]
