"""A ``RouteBatch`` as a message: layers that look alike are stacked, so that a pass is a few arrays however deep the model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from moedesk.core.batch import COLUMNS, RouteBatch, RouteStack, StackedLayers
from moedesk.core.columns import PASS, TOKEN, PassFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override
from moedesk.core.override_text import override_of, text_of
from moedesk.link.message import Frames, Message, encode, whole
from moedesk.link.protocol import LinkError

_DIMENSIONS = {"experts": 3, "weights": 3, "entropy": 2, "margin": 2, "flags": 2, "logits": 3}
_KINDS = {"experts": "i", "weights": "f", "entropy": "f", "margin": "f", "flags": "u", "logits": "f"}
_SILENT = {"entropy": np.isnan, "margin": np.isnan, "flags": np.logical_not}
"""Whether a value is what a missing column reads as."""
_NO_TOKENS = np.empty(0, TOKEN)


def counts_of(batch: RouteBatch) -> RouteBatch:
    """Return the same pass with exact counts and nothing else."""
    header = batch.header.copy()
    header["flags"] |= np.uint8(PassFlag.COUNTS_ONLY)
    layers = StackedLayers([stack.counted() for stack in batch.stacks])
    return replace(batch, header=header, tokens=dict.fromkeys(batch.tokens, _NO_TOKENS), layers=layers)


def encode_batch(stream: int, batch: RouteBatch) -> Frames:
    """Make frames of the routing of a pass; its arrays must not change afterwards.

    Expert counts go as the places and values that are not 0 where that is shorter: of a decoded token, few are. Entropies and
    margins that nobody knows, and flags that are not set, are not sent: of 49 bytes, 40 are left.
    """
    parts = [whole("header", np.asarray(batch.header))]
    parts += [whole(f"tokens.{number}", rows) for number, rows in enumerate(batch.tokens.values())]
    groups = []
    for number, stack in enumerate(batch.stacks):
        groups.append({"layers": list(stack.places), "experts": stack.counts.shape[1]})
        counts = stack.counts.reshape(-1)
        places = counts.nonzero()[0]
        if 12 * len(places) < counts.nbytes:
            parts += [whole(f"{number}.places", places.astype("<u4")), whole(f"{number}.values", counts[places])]
        else:
            parts.append(whole(f"{number}.counts", stack.counts))
        for name, column in zip(COLUMNS, stack.columns, strict=True):
            if column is not None and not (name in _SILENT and _is_silent(name, column)):
                parts.append(whole(f"{number}.{name}", column))
    fields = {"stream": stream, "streams": list(batch.tokens), "groups": groups}
    said = {"label": batch.label, "overrides": [text_of(override) for override in batch.overrides]}
    return encode("batch", fields | {name: value for name, value in said.items() if value}, parts)


def _is_silent(name: str, column: np.ndarray) -> bool:
    """Whether all values are what a missing column reads as: NaN, or flags that are 0."""
    blank = _SILENT[name]
    return bool(blank(column[:, :1]).all()) and bool(blank(column).all())


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
    stacks = [_stack(group, number, arrays) for number, group in enumerate(message.fields["groups"])]
    places = [place for stack in stacks for place in stack.places]
    if len(set(places)) < len(places):
        raise LinkError("a pass that has a layer twice")
    label = message.fields.get("label", "")
    if not isinstance(label, str):
        raise LinkError("a pass with a label that is none")
    return RouteBatch(header, tokens, StackedLayers(stacks), label, _overrides(message.fields.get("overrides", [])))


def _overrides(texts: Any) -> tuple[Override, ...]:
    """Those that acted on a pass."""
    try:
        return tuple([override_of(text) for text in texts])
    except (MoedeskError, TypeError) as error:
        raise LinkError(f"a pass with overrides that are none: {error}") from None


def _stack(group: Any, number: int, arrays: Mapping[str, np.ndarray]) -> RouteStack:
    match group:
        case {"layers": list(places), "experts": int(experts)} if (
            places and all(type(place) is int and place >= 0 for place in places) and 0 <= experts <= 1 << 20
        ):
            pass
        case _:
            raise LinkError("a pass with layers that are none")
    columns = [arrays.get(f"{number}.{name}") for name in COLUMNS]
    for name, column in zip(COLUMNS, columns, strict=True):
        if column is not None and (
            column.ndim != _DIMENSIONS[name] or len(column) != len(places) or column.dtype.kind != _KINDS[name]
        ):
            raise LinkError(f"a pass with {name} of a wrong shape or type")
    return RouteStack(tuple(places), _counts(number, len(places), experts, arrays), *columns)


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
