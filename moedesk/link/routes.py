"""A ``RouteBatch`` as a message: layers that look alike are stacked, so that a pass is a few arrays however deep the model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN, PassFlag
from moedesk.link.message import Frames, Message, Part, encode, whole
from moedesk.link.protocol import LinkError

_COLUMNS = ("experts", "weights", "entropy", "margin", "flags", "logits")
_DIMENSIONS = {"experts": 3, "weights": 3, "entropy": 2, "margin": 2, "flags": 2, "logits": 3}
_KINDS = {"experts": "i", "weights": "f", "entropy": "f", "margin": "f", "flags": "u", "logits": "f"}
_SILENT = ("entropy", "margin", "flags")
_columns = attrgetter(*_COLUMNS)
_NO_TOKENS = np.empty(0, TOKEN)


def counts_of(batch: RouteBatch) -> RouteBatch:
    """Return the same pass with exact counts and nothing else."""
    header = batch.header.copy()
    header["flags"] |= np.uint8(PassFlag.COUNTS_ONLY)
    layers = tuple(LayerRoutes(layer.layer, layer.counts) for layer in batch.layers)
    return replace(batch, header=header, tokens=dict.fromkeys(batch.tokens, _NO_TOKENS), layers=layers)


def encode_batch(stream: int, batch: RouteBatch) -> Frames:
    """Make frames of the routing of a pass; its arrays may change afterwards.

    Expert counts go as the places and values that are not 0 where that is shorter: of a decoded token, few are. Entropies and
    margins that nobody knows, and flags that are not set, are not sent: of 49 bytes, 40 are left.
    """
    parts = [whole("header", np.asarray(batch.header))]
    parts += [whole(f"tokens.{number}", rows) for number, rows in enumerate(batch.tokens.values())]
    groups = []
    for number, (_, run) in enumerate(groupby(batch.layers, _look)):
        layers = list(run)
        experts = len(layers[0].counts)
        groups.append({"layers": [layer.layer for layer in layers], "experts": experts})
        counts = np.concatenate([layer.counts for layer in layers]).astype(np.int64, copy=False)
        places = counts.nonzero()[0]
        if 12 * len(places) < counts.nbytes:
            parts += [whole(f"{number}.places", places.astype("<u4")), whole(f"{number}.values", counts[places])]
        else:
            parts.append(Part(f"{number}.counts", (len(layers), experts), (counts,)))
        for name, pieces in zip(_COLUMNS, zip(*map(_columns, layers), strict=True), strict=True):
            if pieces[0] is not None and not (name in _SILENT and _is_silent(pieces)):
                parts.append(Part(f"{number}.{name}", (len(pieces), *pieces[0].shape), pieces))
    fields = {"stream": stream, "streams": list(batch.tokens), "groups": groups}
    return encode("batch", {**fields, "label": batch.label} if batch.label else fields, parts)


def _is_silent(pieces: Sequence[np.ndarray]) -> bool:
    """Whether all values are what a missing column reads as: NaN, or flags that are 0."""
    blank: Callable[[np.ndarray], np.ndarray] = np.isnan if pieces[0].dtype.kind == "f" else np.logical_not
    some = {id(piece): piece for piece in pieces}.values()  # layers share what is unknown of all of them
    return all(bool(blank(piece[:1]).all()) for piece in some) and all(bool(blank(piece).all()) for piece in some)


def _look(layer: LayerRoutes) -> tuple[Any, ...]:
    """What layers must share to lie in one array."""
    columns = (None if column is None else (column.shape, column.dtype) for column in _columns(layer))
    return (layer.counts.shape, *columns)


def decode_batch(message: Message) -> RouteBatch:
    """Make the batch of a message; its arrays are read-only and stay valid.

    Raises
    ------
    LinkError
        The arrays are not those of a pass.
    """
    arrays = message.arrays
    header = arrays.get("header")
    if header is None or header.dtype != PASS or header.shape != ():
        raise LinkError("a pass without a header")
    tokens = {}
    for number, stream in enumerate(message.fields["streams"]):
        rows = arrays.get(f"tokens.{number}")
        if rows is None or rows.dtype != TOKEN or rows.ndim != 1 or not isinstance(stream, str):
            raise LinkError("a pass with token rows that are none")
        tokens[stream] = rows
    layers: list[LayerRoutes] = []
    for number, group in enumerate(message.fields["groups"]):
        layers += _layers(group, number, arrays)
    if len({layer.layer for layer in layers}) < len(layers):
        raise LinkError("a pass that has a layer twice")
    label = message.fields.get("label", "")
    if not isinstance(label, str):
        raise LinkError("a pass with a label that is none")
    return RouteBatch(header, tokens, tuple(layers), label)


def _layers(group: Any, number: int, arrays: Mapping[str, np.ndarray]) -> Sequence[LayerRoutes]:
    match group:
        case {"layers": list(places), "experts": int(experts)} if (
            places and all(type(place) is int and place >= 0 for place in places) and 0 <= experts <= 1 << 20
        ):
            pass
        case _:
            raise LinkError("a pass with layers that are none")
    columns: list[np.ndarray | list[None]] = [_counts(number, len(places), experts, arrays)]
    for name in _COLUMNS:
        stack = arrays.get(f"{number}.{name}")
        if stack is None:
            columns.append([None] * len(places))
            continue
        if stack.ndim != _DIMENSIONS[name] or len(stack) != len(places) or stack.dtype.kind != _KINDS[name]:
            raise LinkError(f"a pass with {name} of a wrong shape or type")
        columns.append(stack)
    return [LayerRoutes(place, *values) for place, *values in zip(places, *columns, strict=True)]


def _counts(number: int, layers: int, experts: int, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(layers, experts) int64."""
    counts = arrays.get(f"{number}.counts")
    if counts is None:
        places, values = arrays.get(f"{number}.places"), arrays.get(f"{number}.values")
        if places is None or values is None or places.shape != values.shape or places.dtype != "<u4":
            raise LinkError("a pass without counts")
        counts = np.zeros(layers * experts, np.int64)
        if len(places) and int(places.max()) >= len(counts):
            raise LinkError("a pass with counts of experts that aren't there")
        counts[places] = values
        counts = counts.reshape(layers, experts)
        counts.flags.writeable = False
    if counts.shape != (layers, experts) or counts.dtype != np.int64:
        raise LinkError("a pass with counts of a wrong shape or type")
    return counts
