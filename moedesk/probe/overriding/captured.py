"""The routing in a capture, read once, so that passes of a model with the same tokens can be given it again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from typing import Self

import numpy as np
import torch
from torch import Tensor

from moedesk.capture.open import open_capture
from moedesk.core.columns import PassFlag, RouteFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.core.store import Store
from moedesk.probe.taking.batch import arrive
from moedesk.probe.taking.calls import Call
from moedesk.probe.taking.tokens import packed_sequences, token_rows

MOST_BYTES = 1 << 30
"""Of ids and weights that are held in memory."""


@dataclass(frozen=True, eq=False)
class CapturedRouting:
    """What a layer did with the rows of one pass.

    Attributes
    ----------
    ids : (T, k) int64 tensor
        -1 for a slot that was dropped.
    weights : (T, k) float32 tensor
        0 for a slot that was dropped.
    present : (T,) bool tensor
        Rows that the layer saw.
    chosen : (T, k) int64 tensor
        The same ids, and -1 in all slots of rows that it didn't see or from which it dropped a slot.
    everywhere, drops : bool
        Whether it saw all rows, and whether it dropped any slot.
    """

    ids: Tensor
    weights: Tensor
    present: Tensor
    chosen: Tensor
    everywhere: bool
    drops: bool

    def of_present(self) -> Self:
        """Return that of the rows that the layer saw."""
        if self.everywhere:
            return self
        parts = (self.ids, self.weights, self.present, self.chosen)
        ids, weights, present, chosen = (part[self.present] for part in parts)
        return replace(self, ids=ids, weights=weights, present=present, chosen=chosen, everywhere=True)

    def fits(self, ids: Tensor, weights: Tensor) -> bool:
        """Return whether it can be used in the place of ids and weights as it is: of all rows, in their form."""
        same = ids.dtype is self.ids.dtype and weights.dtype is self.weights.dtype and not weights.requires_grad
        return same and self.everywhere and ids.shape == self.ids.shape

    def on(self, device: torch.device) -> Self:
        """Return it on another device."""
        parts = (self.ids, self.weights, self.present, self.chosen)
        ids, weights, present, chosen = (part.to(device, non_blocking=True) for part in parts)
        return replace(self, ids=ids, weights=weights, present=present, chosen=chosen)


class Captured:
    """The passes of one stream of a capture, found by their tokens.

    Parameters
    ----------
    path : str
    model : ModelInfo
        The model that is to be given the routing.
    places : sequence of int
        Its layers.

    Attributes
    ----------
    missed : int
        Passes of the model so far that are none of the capture's.
    unnamed : set of str
        Streams whose rows have no token ids (patches of a picture, embeddings of the caller's): their passes are found by the
        token ids of another stream, or, where there are none at all, by their number of rows.

    Raises
    ------
    MoedeskError
        If it can't be read, is of another model, or holds too much.
    """

    def __init__(self, path: str, model: ModelInfo, places: Sequence[int]) -> None:
        self.path, self.missed = path, 0
        self.unnamed: set[str] = set()
        self._named: set[str] = set()  # with passes that are found by token ids, their own or another stream's
        self._counted = False
        self._places: dict[tuple[str, bytes], list[int]] = {}
        self._used: dict[tuple[str, bytes], int] = {}
        self._routing: dict[int, list[CapturedRouting | None]] = {}
        with open_capture(path) as store:
            layers = [model.layers[place] for place in places]
            self._check(store, model, layers)
            for stream in dict.fromkeys(layer.stream for layer in layers):
                spans = self._index(store, stream)
                for layer in layers:
                    if layer.stream == stream:
                        self._routing[layer.place] = [_read(store, layer, span) for span in spans]
        if not self._places:
            raise MoedeskError(f"{path} holds no pass whose routing was kept whole, so there is nothing to replay")

    def _check(self, store: Store, model: ModelInfo, layers: Sequence[LayerInfo]) -> None:
        name, theirs = Path(self.path).name, store.model.layers
        if len(theirs) != len(model.layers):
            raise MoedeskError(
                f"{name} is of another model: it has {len(theirs)} MoE layers, this one {len(model.layers)}"
            )
        for layer in layers:
            other = theirs[layer.place]
            if _form(other) != _form(layer):
                raise MoedeskError(
                    f"{name} is of another model: its layer {layer.place} is {_form(other)}, here it is {_form(layer)}"
                )
        sizes = [info.config.get("vocab_size") for info in (store.model, model)]
        if all(isinstance(size, int) for size in sizes) and sizes[0] != sizes[1]:
            raise MoedeskError(
                f"{name} is of another model: its vocabulary has {sizes[0]:,} tokens, this one's {sizes[1]:,}"
            )
        held = sum(store.n_tokens(layer.stream) * layer.top_k * 12 for layer in layers)
        if held > MOST_BYTES:
            raise MoedeskError(
                f"{name} holds {held / 1e9:.1f} GB of routing, more than {MOST_BYTES / 1e9:.1f} GB; replay fewer layers"
            )

    def _index(self, store: Store, stream: str) -> list[tuple[int, int] | None]:
        """The rows of each pass, None for one that wasn't kept whole; notes the passes by their tokens."""
        spans: list[tuple[int, int] | None] = []
        for number, header in enumerate(store.read_passes()):
            first, end = store.token_span(number, number + 1, stream)
            partial = int(header["flags"]) & (PassFlag.COUNTS_ONLY | PassFlag.SAMPLED | PassFlag.LATE | PassFlag.FAILED)
            whole = end > first and not partial
            spans.append((first, end) if whole else None)
            if whole:
                key = _key_of(store, number, stream)
                if key is None:
                    self.unnamed.add(stream)
                    others = (_key_of(store, number, other) for other in store.model.streams if other != stream)
                    key = next(filter(None, others), None)
                if key is not None:
                    self._named.add(stream)
                key = key or _key_of_rows(end - first)
                self._places.setdefault((stream, key), []).append(number)
        return spans

    def drops(self, place: int) -> bool:
        """Return whether a layer dropped any slot."""
        return any(routing is not None and routing.drops for routing in self._routing[place])

    def find(self, call: Call, stream: str, count: int) -> int | None:
        """Return which pass of the capture is given again: of several, one after the other; None if none is.

        Parameters
        ----------
        call : Call
            That takes the tokens of the pass, if there are any.
        stream : str
        count : int
            Rows that its layers get.
        """
        known = call.ids is not None and stream in self._named
        key = stream, _key_of_call(call) if known else _key_of_rows(count)
        passes = self._places.get(key)
        if passes is None:
            self.missed += 1
            return None
        self._counted |= not known
        turn = self._used.get(key, -1) + 1
        self._used[key] = turn
        return passes[turn % len(passes)]

    def routing(self, place: int, number: int) -> CapturedRouting | None:
        """Return what a layer did in a pass."""
        return self._routing[place][number]

    @property
    def note(self) -> str:
        """How many passes were not found, and how those without tokens were, in one line; empty for neither."""
        said = []
        if self.missed:
            passes = "pass was" if self.missed == 1 else "passes were"
            said.append(f"{self.missed:,} {passes} none of the capture's, and ran untouched")
        if self._counted:
            said.append("passes without token ids are taken by their number of rows, one after the other")
        return f"replay of {Path(self.path).name}: {'; '.join(said)}" if said else ""


def _form(layer: LayerInfo) -> str:
    return f"{layer.path} ({layer.block}) with {layer.experts} experts, k = {layer.top_k}"


def _key_of(store: Store, number: int, stream: str) -> bytes | None:
    """The key of the tokens of a pass in a stream; None if it has no rows there, or rows without token ids."""
    first, end = store.token_span(number, number + 1, stream)
    tokens = store.read_tokens(first, end, stream)
    if end == first or (tokens["token_id"] < 0).any():
        return None
    return _key(tokens["token_id"], tokens["column"], tokens["sequence"])


def _key_of_call(call: Call) -> bytes:
    """The key of the tokens of a call."""
    if call.batch == call.length == 1 and isinstance(call.past, int) and call.ids is not None:  # whatever its positions
        return _ONE.pack(int(call.ids), call.past, 1)
    host = arrive(call)
    rows = token_rows(host, packed_sequences(host)[0], {})
    return _key(rows["token_id"], rows["column"], rows["sequence"])


_ONE = Struct("=qqq")
"""The key of one token: its id, its column, and that a sequence begins."""


def _key_of_rows(count: int) -> bytes:
    """The key of a pass of which nothing but the number of rows is known."""
    return b"rows" + count.to_bytes(8, "little")


def _key(ids: np.ndarray, columns: np.ndarray, sequences: np.ndarray) -> bytes:
    """What tells the tokens of a pass, their slots and their sequences; sequences count from the pass's first."""
    starts = np.concatenate([[1], np.diff(sequences.astype(np.int64)) != 0])
    return np.stack([ids.astype(np.int64), columns.astype(np.int64), starts.astype(np.int64)]).tobytes()


def _read(store: Store, layer: LayerInfo, span: tuple[int, int] | None) -> CapturedRouting | None:
    if span is None:
        return None
    ids = torch.from_numpy(store.experts(layer.place, *span).astype(np.int64))
    weights = torch.from_numpy(np.array(store.weights(layer.place, *span), np.float32)).masked_fill(ids < 0, 0)
    present = torch.from_numpy((store.flags(layer.place, *span) & RouteFlag.ABSENT) == 0)
    whole = present & (ids >= 0).all(-1)
    everywhere, drops = bool(present.all()), bool((ids < 0).any())
    chosen = ids if everywhere and not drops else ids.masked_fill(~whole[:, None], -1)
    return CapturedRouting(ids, weights, present, chosen, everywhere, drops)
