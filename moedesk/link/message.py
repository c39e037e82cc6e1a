"""A message as frames: a JSON header that describes the arrays, a buffer that holds the small ones, and each large one by itself.

Nothing is ever executed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np

from moedesk.core.columns import PASS, STEP, TOKEN, as_bytes
from moedesk.link.protocol import MAX_HEADER, Fields, LinkError, check_fields

ALIGNMENT = 8
APART_BYTES = 128 << 10
"""An array of so many bytes is a frame of its own and never copied. Of a smaller one a copy costs less: pyzmq takes 60 µs to send
a frame from Python's memory and to let go of it afterwards."""
_PLAIN = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
_DTYPES = {"PASS": PASS, "STEP": STEP, "TOKEN": TOKEN} | {name: np.dtype(name) for name in _PLAIN}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_NAME, _MAX_DIMENSIONS = 200, 4
_NOTHING = memoryview(b"")


class Part(NamedTuple):
    """An array to be sent."""

    name: str
    array: np.ndarray


class Frames(NamedTuple):
    """A message ready to be sent. Arrays apart are not copied: they must not change any more.

    Attributes
    ----------
    header : bytes
    buffer : (bytes,) uint8
        The arrays below ``APART_BYTES``.
    apart : tuple of ndarray
        The others, C-contiguous.
    """

    header: bytes
    buffer: np.ndarray
    apart: tuple[np.ndarray, ...] = ()

    @property
    def frames(self) -> list[bytes | memoryview]:
        """What is sent, in order."""
        return [self.header, self.buffer.data, *[array.view(np.uint8).data for array in self.apart]]

    @property
    def nbytes(self) -> int:
        """What it takes on the wire."""
        return len(self.header) + self.buffer.nbytes + sum([array.nbytes for array in self.apart])


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
    return Part(name, array)


def encode(kind: str, fields: Mapping[str, Any], parts: Sequence[Part] = ()) -> Frames:
    """Make frames of a message.

    Raises
    ------
    LinkError
        An array's dtype is not a plain number (or the fields are not plain JSON values, or too long).
    """
    described: list[tuple[str, str, tuple[int, ...]]] = []
    near: list[tuple[int, np.ndarray]] = []
    apart: list[np.ndarray] = []
    end = 0
    for part in parts:
        array = part.array
        name = _NAMES.get(array.dtype)
        if name is None:
            raise LinkError(
                f"{part.name} cannot be sent: its dtype is {array.dtype}; convert it to a plain number first"
            )
        described.append((part.name, name, array.shape))
        if array.nbytes >= APART_BYTES:
            apart.append(np.ascontiguousarray(array).reshape(-1))
            continue
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + array.nbytes
        near.append((start, array))
    buffer = np.empty(end, np.uint8)
    for start, array in near:
        rows = as_bytes(array.reshape(-1))
        buffer[start : start + array.nbytes].view(rows.dtype)[...] = rows
    try:
        header = json.dumps({"kind": kind, "fields": fields, "arrays": described}, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:  # a value that isn't JSON, or half a surrogate pair
        raise LinkError(f"a {kind} cannot be sent: {error}") from None
    if len(header) > MAX_HEADER:
        raise LinkError(f"a {kind} of {len(header):,} bytes is too long to send; the limit is {MAX_HEADER:,}")
    return Frames(header, buffer, tuple(apart))


def decode(header: memoryview, buffer: memoryview, kinds: Mapping[str, Fields], *apart: memoryview) -> Message:
    """Make a message of the frames that came.

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
    nbytes = len(header) + len(buffer) + sum(map(len, apart))
    return Message(kind, fields, _views(buffer, apart, described), nbytes)


def _views(buffer: memoryview, apart: Sequence[memoryview], described: list[Any]) -> dict[str, np.ndarray]:
    raw, larger = _raw(buffer), iter(apart)
    arrays: dict[str, np.ndarray] = {}
    end = 0
    for item in described:
        name, dtype, shape = _described(item)
        nbytes = prod(shape) * dtype.itemsize
        if nbytes >= APART_BYTES:
            own = _raw(next(larger, _NOTHING))
            start, stop = 0, nbytes
        else:
            own = raw
            start = -(-end // ALIGNMENT) * ALIGNMENT
            end = stop = start + nbytes
        if stop > len(own) or (own is not raw and stop < len(own)) or name in arrays:
            raise LinkError("a message whose arrays don't fit its buffers")
        arrays[name] = own[start:stop].view(dtype).reshape(shape)
    if end != len(raw) or next(larger, None) is not None:
        raise LinkError("a message whose arrays don't fill its buffers")
    return arrays


def _raw(buffer: memoryview) -> np.ndarray:
    """The bytes of a frame, aligned and read-only."""
    raw = np.frombuffer(buffer, np.uint8) if len(buffer) else np.empty(0, np.uint8)
    if raw.__array_interface__["data"][0] % ALIGNMENT:  # small messages lie anywhere in zmq's own buffer
        raw = raw.copy()
    raw.flags.writeable = False
    return raw


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
