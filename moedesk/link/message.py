"""A message as two frames: a JSON header that describes the arrays, and one buffer that holds them. Nothing is ever executed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np

from moedesk.core.columns import PASS, STEP, TOKEN
from moedesk.link.protocol import MAX_HEADER, Fields, LinkError, check_fields

ALIGNMENT = 8
_PLAIN = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
_DTYPES = {"PASS": PASS, "STEP": STEP, "TOKEN": TOKEN} | {name: np.dtype(name) for name in _PLAIN}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_NAME, _MAX_DIMENSIONS = 200, 4


class Part(NamedTuple):
    """An array to be sent, perhaps in pieces that lie one after the other.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of the whole.
    pieces : sequence of ndarray
        Of one dtype; joined along their first axis they have as many elements as ``shape`` says.
    """

    name: str
    shape: tuple[int, ...]
    pieces: Sequence[np.ndarray]


class Frames(NamedTuple):
    """A message ready to be sent; its arrays are copies.

    One copy into one frame costs less than a frame for each array where it lies: pyzmq takes 60 µs to send a frame from
    Python's memory and to let go of it afterwards, in which half a megabyte is copied.
    """

    header: bytes
    buffer: np.ndarray

    @property
    def nbytes(self) -> int:
        """What it takes on the wire."""
        return len(self.header) + self.buffer.nbytes


@dataclass(frozen=True)
class Message:
    """A message that came.

    Attributes
    ----------
    kind : str
    fields : mapping
        Plain JSON values; those that the kind needs are there.
    arrays : mapping of str to ndarray
        Read-only views of what came; they stay valid.
    nbytes : int
        What it took on the wire.
    """

    kind: str
    fields: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    nbytes: int = 0


def whole(name: str, array: np.ndarray) -> Part:
    """Return the part that is one array."""
    return Part(name, array.shape, (array,))


def encode(kind: str, fields: Mapping[str, Any], parts: Sequence[Part] = ()) -> Frames:
    """Make frames of a message.

    Raises
    ------
    LinkError
        An array's dtype is not a plain number (or the fields are not plain JSON values, or too long).
    """
    described: list[tuple[str, str, tuple[int, ...]]] = []
    ends = []
    end = 0
    for part in parts:
        dtype = part.pieces[0].dtype
        name = _NAMES.get(dtype)
        if name is None:
            raise LinkError(f"{part.name} cannot be sent: its dtype is {dtype}; convert it to a plain number first")
        described.append((part.name, name, part.shape))
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + prod(part.shape) * dtype.itemsize
        ends.append((start, end))
    buffer = np.empty(end, np.uint8)
    for part, (start, stop) in zip(parts, ends, strict=True):
        flat = buffer[start:stop].view(part.pieces[0].dtype)
        first = part.pieces[0]
        if len(part.pieces) == 1:
            flat[...] = first.reshape(-1)
        else:
            np.concatenate(part.pieces, out=flat.reshape(-1, *first.shape[1:]))
    try:
        header = json.dumps({"kind": kind, "fields": fields, "arrays": described}, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:  # a value that isn't JSON, or half a surrogate pair
        raise LinkError(f"a {kind} cannot be sent: {error}") from None
    if len(header) > MAX_HEADER:
        raise LinkError(f"a {kind} of {len(header):,} bytes is too long to send; the limit is {MAX_HEADER:,}")
    return Frames(header, buffer)


def decode(header: memoryview, buffer: memoryview, kinds: Mapping[str, Fields]) -> Message:
    """Make a message of the two frames that came.

    Raises
    ------
    LinkError
        They are not such a message.
    """
    if len(header) > MAX_HEADER:
        raise LinkError("a message with a header that is too long")
    try:
        content = json.loads(bytes(header))
    except (ValueError, RecursionError):
        raise LinkError("a message whose header is not JSON") from None
    if not isinstance(content, dict):
        raise LinkError("a message whose header is not an object")
    kind, fields, described = content.get("kind"), content.get("fields"), content.get("arrays")
    if not isinstance(kind, str) or not isinstance(fields, dict) or not isinstance(described, list):
        raise LinkError("a message without kind, fields or arrays")
    check_fields(kind, fields, kinds)
    return Message(kind, fields, _views(buffer, described), len(header) + len(buffer))


def _views(buffer: memoryview, described: list[Any]) -> dict[str, np.ndarray]:
    raw = np.frombuffer(buffer, np.uint8) if len(buffer) else np.empty(0, np.uint8)
    if raw.ctypes.data % ALIGNMENT:  # small messages lie anywhere in zmq's own buffer
        raw = raw.copy()
    raw.flags.writeable = False
    arrays: dict[str, np.ndarray] = {}
    end = 0
    for item in described:
        name, dtype, shape = _described(item)
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + prod(shape) * dtype.itemsize
        if end > len(raw) or name in arrays:
            raise LinkError("a message whose arrays don't fit its buffer")
        arrays[name] = raw[start:end].view(dtype).reshape(shape)
    if end != len(raw):
        raise LinkError("a message whose arrays don't fill its buffer")
    return arrays


def _described(item: Any) -> tuple[str, np.dtype, tuple[int, ...]]:
    match item:
        case [str(name), str(dtype), list(shape)] if (
            len(name) <= _MAX_NAME
            and dtype in _DTYPES
            and len(shape) <= _MAX_DIMENSIONS
            and all(type(size) is int and 0 <= size < 1 << 40 for size in shape)
        ):
            return name, _DTYPES[dtype], tuple(shape)
    raise LinkError("a message with an array of unknown dtype or shape")
