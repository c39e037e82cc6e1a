"""One pass, arrived on the host: its header, token rows and routes, as a ``RouteBatch``. NumPy only, on the writer's thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN, PassFlag, RouteFlag, TokenKind
from moedesk.probe.calls import Call
from moedesk.probe.scout import Binding
from moedesk.probe.tap import LayerGroup, Transfer
from moedesk.probe.tokens import HostCall, Sequences, find_phase, token_rows, unknown_rows


@dataclass
class RecordedPass:
    """One forward, as the hooks left it; its tensors may still be on their way.

    Attributes
    ----------
    t0_ns, t1_ns : int
        Wall clock at its start; that plus the time taken.
    calls : list of Call
        Outermost first.
    groups : list of LayerGroup
    full : bool
        Whether more than counts is kept.
    training, failed, caches : bool
        Training mode with gradients on; the forward raised; the model fills a KV cache unless told otherwise.
    step : int
        Training step, -1 outside training.
    shed, dropped : bool
        There was room for its counts only; for nothing.
    """

    t0_ns: int
    transfer: Transfer
    calls: list[Call] = field(default_factory=list)
    groups: list[LayerGroup] = field(default_factory=list)
    t1_ns: int = 0
    full: bool = True
    training: bool = False
    failed: bool = False
    caches: bool = False
    step: int = -1
    shed: bool = False
    dropped: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of its routing."""
        tensors = [
            tensor
            for group in self.groups
            for tensor in (group.ids, group.weights, group.entropy, group.margin, group.logits)
            if tensor is not None
        ]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@dataclass(frozen=True)
class _Routes:
    """One layer's rows in one call of its experts, on the host."""

    ids: np.ndarray
    weights: np.ndarray | None
    entropy: np.ndarray | None
    margin: np.ndarray | None
    logits: np.ndarray | None


class BatchMaker:
    """Turns recorded passes into batches, in order; numbers sequences through the capture.

    Attributes
    ----------
    kinds : mapping
        Token ids that stand for images or audio.
    places : mapping
        Place in ``ModelInfo.layers`` by path of the experts module.
    notes : set of str
        What had to be left out.
    """

    def __init__(self, kinds: Mapping[int, TokenKind]) -> None:
        self.kinds = kinds
        self.places: dict[str, int] = {}
        self.notes: dict[str, None] = {}
        self._sequences = Sequences()

    def make(self, recorded: RecordedPass) -> RouteBatch:
        """Return the batch of a pass; waits for its copies."""
        recorded.transfer.wait()
        calls = [_arrive(call) for call in recorded.calls]
        firsts: dict[int, int] = {}
        bindings, layers = _by_layer(recorded.groups)
        rows: dict[str, np.ndarray] = {}
        unknown = False
        for stream in dict.fromkeys(binding.layer.stream for binding in bindings.values()):
            members = [path for path, binding in bindings.items() if binding.layer.stream == stream]
            stacks = {bindings[path].candidate.stack_path for path in members}
            seen = [sum(len(part.ids) for part in layers[path]) for path in members]
            rows[stream] = self._stream_rows([call for call in calls if call.path in stacks], seen, firsts)
            unknown |= bool((rows[stream]["token_id"] == -1).any())
        routes = tuple(
            self._layer_routes(bindings[path], parts, rows[bindings[path].layer.stream], recorded.full)
            for path, parts in sorted(layers.items(), key=lambda item: self.places[item[0]])
        )
        header = self._header(recorded, calls, rows, unknown)
        if not recorded.full:
            rows = {stream: np.zeros(0, TOKEN) for stream in rows}
        return RouteBatch(header, rows, routes)

    def _stream_rows(self, calls: Sequence[HostCall], seen: Sequence[int], firsts: dict[int, int]) -> np.ndarray:
        """The token rows of the calls if any layer saw as many; else as many unknown rows as most layers saw."""
        total = sum(call.batch * call.length for call in calls)
        if total and total in seen:
            parts = []
            for call in calls:
                first = firsts.setdefault(id(call), self._sequences.first(call))
                parts.append(token_rows(call, first, self.kinds))
            return np.concatenate(parts)
        return unknown_rows(max(set(seen), key=seen.count))

    def _layer_routes(self, binding: Binding, parts: Sequence[_Routes], rows: np.ndarray, full: bool) -> LayerRoutes:
        layer, place = binding.layer, self.places[binding.candidate.path]
        ids = _join([part.ids for part in parts])
        assert ids is not None
        matched = len(ids) == len(rows)
        real = ids[~rows["is_padding"]] if matched and rows["is_padding"].any() else ids
        counts = np.bincount(real[real >= 0].ravel(), minlength=layer.experts).astype(np.int64)
        if not matched:
            self.notes[f"{layer.path}: only counts, since its {len(ids)} rows are not the {len(rows)} tokens"] = None
        if not full or not matched:
            return LayerRoutes(place, counts)
        weights = _join([part.weights for part in parts])
        entropy = _join([part.entropy for part in parts])
        margin = _join([part.margin for part in parts])
        unknown = np.full(len(ids), np.nan, np.float32)
        flags = np.where((ids < 0).any(1), np.uint8(RouteFlag.DROPPED), np.uint8(0))
        broken = np.zeros(len(ids), bool) if weights is None else ~np.isfinite(weights).all(1)
        if entropy is not None:
            broken |= ~np.isfinite(entropy)
        flags[broken] |= np.uint8(RouteFlag.NONFINITE)
        return LayerRoutes(
            place,
            counts,
            ids,
            weights,
            unknown if entropy is None else entropy,
            unknown if margin is None else margin,
            flags,
            _join([part.logits for part in parts]),
        )

    def _header(
        self, recorded: RecordedPass, calls: Sequence[HostCall], rows: Mapping[str, np.ndarray], unknown: bool
    ) -> np.ndarray:
        main = next((call for call in reversed(calls) if call.length), None)
        header = np.zeros((), PASS)
        header["phase"] = find_phase(calls, recorded.training, recorded.caches)
        flags = PassFlag(0) if recorded.full else PassFlag.COUNTS_ONLY
        flags |= PassFlag.FAILED if recorded.failed else PassFlag(0)
        flags |= PassFlag.TOKENS_UNKNOWN if unknown else PassFlag(0)
        header["flags"] = flags
        header["step"] = recorded.step
        header["t0_ns"], header["t1_ns"] = recorded.t0_ns, recorded.t1_ns
        header["n_seen"] = sum(len(part) for part in rows.values())
        header["n_padding"] = sum(int(part["is_padding"].sum()) for part in rows.values())
        header["batch"] = main.batch if main else 0
        header["past"] = main.past if main else 0
        return header


def _by_layer(groups: Sequence[LayerGroup]) -> tuple[dict[str, Binding], dict[str, list[_Routes]]]:
    """Bindings and, in the order of the calls, routes of every layer, by path of its experts module."""
    bindings: dict[str, Binding] = {}
    layers: dict[str, list[_Routes]] = {}
    for group in groups:
        ids, weights, entropy = numpy_of(group.ids), numpy_of(group.weights), numpy_of(group.entropy)
        margin, logits = numpy_of(group.margin), numpy_of(group.logits)
        assert ids is not None
        for i, binding in enumerate(group.bindings):
            path = binding.candidate.path
            bindings.setdefault(path, binding)
            columns = (None if column is None else column[i] for column in (weights, entropy, margin, logits))
            layers.setdefault(path, []).append(_Routes(ids[i], *columns))
    return bindings, layers


def _join(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    present = [part for part in parts if part is not None]
    if not present or len(present) < len(parts):
        return None
    return present[0] if len(present) == 1 else np.concatenate(present)


def numpy_of(tensor: Tensor | None) -> np.ndarray | None:
    """Return the array behind a tensor that has arrived on the host."""
    return None if tensor is None else tensor.detach().cpu().numpy()


def _arrive(call: Call) -> HostCall:
    past = call.past if isinstance(call.past, int) else int(call.past.max())
    return HostCall(
        call.path, call.batch, call.length, past, numpy_of(call.ids), numpy_of(call.positions), numpy_of(call.padding),
        call.cache, call.source, call.output, call.caching, call.labelled,
    )  # fmt: skip
