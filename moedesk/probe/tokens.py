"""The token rows of a pass: sequence, position, id, padding of every row that the experts saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    cache: int
    source: int
    output: int
    caching: bool | None
    labelled: bool
    marks: np.ndarray | None = None


class Sequences:
    """Numbers the sequences of a capture: a decode step continues the sequence whose cache it extends."""

    def __init__(self) -> None:
        self._by_cache: dict[int, tuple[int, int]] = {}
        self._by_source: dict[int, tuple[int, int]] = {}
        self._next = 0

    def first(self, call: HostCall) -> int:
        """Return the number of the call's first sequence; row b of its batch is that number + b.

        Beam search moves hypotheses between the rows of a batch: rows are numbered as the model ran them.
        """
        first, batch = self._by_cache.get(call.cache, (-1, 0)) if call.past > 0 else (-1, 0)
        if first < 0 or batch != call.batch:
            first, batch = self._by_source.get(call.source, (-1, 0))
        if first < 0 or batch != call.batch:
            first, batch = self._next, call.batch
            self._next += call.batch
        _remember(self._by_cache, call.cache, (first, batch))
        _remember(self._by_source, call.output, (first, batch))
        return first


def _remember(known: dict[int, tuple[int, int]], key: int, value: tuple[int, int]) -> None:
    """Keep the last few thousand; a capture may have a million passes, each with a cache of its own."""
    if key >= 0:
        known.pop(key, None)
        known[key] = value
        if len(known) > 4096:
            del known[next(iter(known))]


def token_rows(call: HostCall, first_sequence: int, kinds: Mapping[int, TokenKind]) -> np.ndarray:
    """Return the (batch·length,) rows of a call, dtype ``columns.TOKEN``.

    Position ids that the call doesn't carry are the cached tokens plus the place in the call, as transformers fills them in.
    """
    rows = np.zeros((call.batch, call.length), TOKEN)
    rows["sequence"] = first_sequence + np.arange(call.batch)[:, None]
    rows["column"] = call.past + np.arange(call.length)
    rows["position"] = rows["column"] if call.positions is None else call.positions
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


def token_kinds(config: object) -> dict[int, TokenKind]:
    """Return the token ids that stand for images and audio, from a model's configuration."""
    names = {"image_token_id": TokenKind.IMAGE, "image_token_index": TokenKind.IMAGE, "audio_token_id": TokenKind.AUDIO}
    found = {getattr(config, name, None): kind for name, kind in names.items()}
    return {token_id: kind for token_id, kind in found.items() if isinstance(token_id, int)}


def find_phase(calls: Sequence[HostCall], training: bool, caches_by_default: bool) -> Phase:
    """Return what a pass was for.

    ``train`` with the module in training mode and gradients on; ``decode`` with tokens in the cache and at most
    ``DECODE_LENGTH`` new ones per sequence; else ``prefill`` if a KV cache is filled, ``eval`` if not, or if labels are given.
    """
    if training:
        return Phase.TRAIN
    if any(call.past > 0 and 0 < call.length <= DECODE_LENGTH for call in calls):
        return Phase.DECODE
    said = [call.caching for call in calls if call.caching is not None]
    caching = any(said) if said else caches_by_default
    labelled = any(call.labelled for call in calls)
    return Phase.PREFILL if caching and not labelled else Phase.EVAL
