"""The token rows of a pass: sequence, position, id, padding of every row that the experts saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from moedesk.core.columns import TOKEN, Phase, TokenKind

DECODE_LENGTH = 32
"""New tokens per sequence, on top of a filled cache, up to which a pass counts as decoding (drafts of assisted generation
included); more are a further chunk of a prompt."""


@dataclass(frozen=True)
class HostCall:
    """A ``calls.Call`` whose tensors have arrived: NumPy arrays, and an int for ``past``."""

    path: str
    batch: int
    length: int
    past: int
    ids: np.ndarray | None
    positions: np.ndarray | None
    padding: np.ndarray | None
    starts: np.ndarray | None
    axes: int
    cache: int
    source: int
    output: int
    caching: bool | None
    labelled: bool
    marks: np.ndarray | None = None


class Sequences:
    """Numbers the sequences of a capture: a decode step continues the sequence whose cache it extends."""

    def __init__(self) -> None:
        self._by_cache: dict[int, _Known] = {}
        self._by_source: dict[int, _Known] = {}
        self._next = 0

    def copy(self) -> Self:
        """Return the same, to number on from here for a trial."""
        other = type(self)()
        other._by_cache, other._by_source, other._next = dict(self._by_cache), dict(self._by_source), self._next
        return other

    def number(self, call: HostCall) -> "Numbered":
        """Return the sequence of each of the call's tokens.

        Beam search moves hypotheses between the rows of a batch: rows are numbered as the model ran them.
        """
        within, count = packed_sequences(call)
        known = self._by_cache.get(call.cache) if call.past > 0 else None
        rewound = known is not None and known.count == count and call.past < known.length
        if known is None or known.count != count:
            known = self._by_source.get(call.source)
        if known is None or known.count != count:
            first = self._next
            self._next += count
        else:
            first = known.first
        _remember(self._by_cache, call.cache, _Known(first, count, call.past + call.length))
        _remember(self._by_source, call.output, _Known(first, count, 0))
        return Numbered(first + within, rewound)


@dataclass(frozen=True)
class _Known:
    """Sequences seen before: the number of the first, how many, and how long they were."""

    first: int
    count: int
    length: int


class Numbered(NamedTuple):
    """The sequences of a call.

    Attributes
    ----------
    sequences : (batch, length) int array
    rewound : bool
        Whether the cache holds less than it did: what these sequences had from the call's ``past`` on was rejected.
    """

    sequences: np.ndarray
    rewound: bool


def _remember(known: dict[int, _Known], key: int, value: _Known) -> None:
    """Keep the last few thousand; a capture may have a million passes, each with a cache of its own."""
    if key >= 0:
        known.pop(key, None)
        known[key] = value
        if len(known) > 4096:
            del known[next(iter(known))]


def packed_sequences(call: HostCall) -> tuple[np.ndarray, int]:
    """Return which of a call's sequences each token belongs to, (batch, length), and how many there are.

    A row is one sequence, unless it was packed: variable-length attention was told where sequences start, or position ids
    go back to 0 between two tokens that are no padding.
    """
    starts = np.zeros((call.batch, call.length), bool)
    if call.starts is not None and call.batch == 1:
        places = call.starts.reshape(-1)
        starts[0, places[(places > 0) & (places < call.length)]] = True
    elif call.positions is not None and call.axes == 1 and call.past == 0:
        starts[:, 1:] = call.positions[:, 1:] == 0
        if call.padding is not None:
            starts[:, 1:] &= ~(call.padding[:, 1:] | call.padding[:, :-1])
    if call.length:
        starts[:, 0] = True
        numbers = starts.reshape(-1).cumsum().reshape(starts.shape) - 1
        return numbers, int(numbers[-1, -1]) + 1 if numbers.size else 0
    return starts.astype(np.int64), call.batch


def token_rows(call: HostCall, sequences: np.ndarray, kinds: Mapping[int, TokenKind]) -> np.ndarray:
    """Return the (batch·length,) rows of a call, dtype ``columns.TOKEN``.

    Position ids that the call doesn't carry are the cached tokens plus the place in the call, as transformers fills them in.
    The column of a packed token is its position.
    """
    rows = np.zeros((call.batch, call.length), TOKEN)
    rows["sequence"] = sequences
    rows["column"] = call.past + np.arange(call.length)
    rows["position"] = rows["column"] if call.positions is None else call.positions
    if call.positions is not None and len(sequences) and (sequences[:, -1] != sequences[:, 0]).any():
        rows["column"] = rows["position"]
    rows["token_id"] = -1 if call.ids is None else call.ids
    rows["is_padding"] = False if call.padding is None else call.padding
    for token_id, kind in kinds.items():
        rows["kind"][rows["token_id"] == token_id] = kind
    return rows.reshape(-1)


STREAM_KINDS: Mapping[str, TokenKind] = {"vision": TokenKind.IMAGE, "audio": TokenKind.AUDIO}
"""What the rows of a tower stand for: patches and frames, which no token ids number."""


def unknown_rows(count: int, kind: TokenKind = TokenKind.TEXT) -> np.ndarray:
    """Return ``count`` rows of which nothing is known but that the experts saw them, and what they stand for."""
    rows = np.zeros(count, TOKEN)
    rows["sequence"] = rows["position"] = rows["token_id"] = -1
    rows["column"] = np.arange(count)
    rows["kind"] = kind
    return rows


_KINDS = {
    **dict.fromkeys(("image_token_id", "image_token_index", "video_token_id", "video_token_index"), TokenKind.IMAGE),
    **dict.fromkeys(("audio_token_id", "audio_token_index"), TokenKind.AUDIO),
}


def token_kinds(config: object) -> dict[int, TokenKind]:
    """Return the token ids that stand for images (videos too) and audio, from a model's configuration and those in it."""
    parts = [getattr(config, name, None) for name in getattr(config, "sub_configs", ())]
    found = {getattr(part, name, None): kind for part in (*parts, config) for name, kind in _KINDS.items()}
    return {token_id: kind for token_id, kind in found.items() if isinstance(token_id, int)}


def find_phase(calls: Sequence[HostCall], training: bool, caches_by_default: bool) -> Phase:
    """Return what a pass was for.

    ``train`` with the module in training mode and gradients on; ``decode`` with tokens in the cache and at most
    ``DECODE_LENGTH`` new ones per sequence; else ``prefill`` if a KV cache is filled, ``eval`` if not, or if labels are given.
    In continuous batching a pass decodes if no request begins in it.
    """
    if training:
        return Phase.TRAIN
    if any(_decodes(call) for call in calls):
        return Phase.DECODE
    said = [call.caching for call in calls if call.caching is not None]
    caching = any(said) if said else caches_by_default
    labelled = any(call.labelled for call in calls)
    return Phase.PREFILL if caching and not labelled else Phase.EVAL


def _decodes(call: HostCall) -> bool:
    """Whether a call extends all of its sequences by a few tokens."""
    if call.past > 0:
        return 0 < call.length <= DECODE_LENGTH
    if not call.caching or call.batch != 1 or call.starts is None or call.positions is None:
        return False
    ends = np.unique(call.starts)  # repeated where places are left for more requests
    firsts = ends[ends < call.length]
    longest = np.diff(ends).max(initial=0)
    return bool(firsts.size and (call.positions[0, firsts] > 0).all() and longest <= DECODE_LENGTH)
