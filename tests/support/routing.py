"""Random routing, the same for the same seed, and the plain numpy arrays that a capture of it must give back."""

from dataclasses import dataclass, field, replace

import numpy as np

from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN, PassFlag, Phase, RouteFlag, expert_dtype
from moedesk.core.model import LayerInfo, ModelInfo, ModuleInfo


def random_model(
    layers: int = 3, experts: int = 16, top_k: int = 2, stream: str = "main", name: str = "random"
) -> ModelInfo:
    """A model with ``layers`` alike MoE layers."""
    return ModelInfo(name, "RandomForTests", with_layers((), layers, experts, top_k, stream))


def with_layers(
    before: tuple[LayerInfo, ...], layers: int, experts: int, top_k: int, stream: str
) -> tuple[LayerInfo, ...]:
    """More layers after those there are."""
    first = len(before)
    new = (
        LayerInfo(f"model.layers.{n}.mlp", "RandomMoE", experts, top_k, stream=stream, place=n, score="softmax")
        for n in range(first, first + layers)
    )
    return (*before, *new)


def random_modules(layers: int) -> tuple[ModuleInfo, ...]:
    """A small tree."""
    root = ModuleInfo("", "RandomForTests", "RandomForTests", -1, parameters=5 * layers)
    return (
        root,
        *(
            ModuleInfo(f"blöck.{n}", f"{n}", "Block", 0, "moe", n, 5, 5, "float32", "cpu", "weight 16×128")
            for n in range(layers)
        ),
    )


def random_batch(
    seed: tuple[int, ...],
    model: ModelInfo,
    tokens: int,
    *,
    padding: float = 0.1,
    dropped: float = 0.05,
    absent: tuple[int, ...] = (),
    counts_only: bool = False,
    logits: bool = False,
) -> RouteBatch:
    """One pass of ``tokens`` rows in every stream."""
    rng = np.random.default_rng(seed)
    header = np.zeros((), PASS)
    header["phase"] = Phase.EVAL
    header["t0_ns"], header["t1_ns"] = seed[-1] * 1000, seed[-1] * 1000 + 7
    streams = {}
    for stream in model.streams:
        rows = np.zeros(tokens, TOKEN)
        rows["token_id"] = rng.integers(-1, 300, tokens)
        rows["position"] = np.arange(tokens)
        rows["sequence"] = seed[-1]
        rows["is_padding"] = rng.random(tokens) < padding
        streams[stream] = rows
    layers = []
    for layer in model.layers:
        if layer.place in absent:
            continue
        ids = rng.integers(0, layer.experts, (tokens, layer.top_k)).astype(expert_dtype(layer.experts))
        lost = rng.random(ids.shape) < dropped
        ids[lost] = -1
        real = ids[~streams[layer.stream]["is_padding"]]
        counts = np.bincount(real[real >= 0], minlength=layer.experts)
        kept = None if counts_only else ids
        floats = rng.random((tokens, layer.top_k + 2 + layer.experts), np.float32)
        layers.append(
            LayerRoutes(
                layer.place,
                counts.astype(np.int64),
                kept,
                None if counts_only else floats[:, : layer.top_k],
                None if counts_only else floats[:, layer.top_k],
                None if counts_only else floats[:, layer.top_k + 1],
                None if counts_only else (lost.any(axis=1) * RouteFlag.DROPPED).astype(np.uint8),
                floats[:, layer.top_k + 2 :] if logits and not counts_only else None,
            )
        )
    if counts_only:
        header["flags"] = PassFlag.COUNTS_ONLY
        streams = {stream: np.empty(0, TOKEN) for stream in streams}
    return RouteBatch(header, streams, tuple(layers))


@dataclass
class Plain:
    """What was recorded, as lists of batches; the arrays a reader must return, put together the plain way."""

    model: ModelInfo
    batches: list[RouteBatch] = field(default_factory=list)

    def add(self, batch: RouteBatch) -> RouteBatch:
        self.batches.append(batch)
        return batch

    def grow(self, layers: int, experts: int, top_k: int, stream: str) -> ModelInfo:
        self.model = replace(self.model, layers=with_layers(self.model.layers, layers, experts, top_k, stream))
        return self.model

    def tokens(self, stream: str) -> np.ndarray:
        parts = []
        for number, batch in enumerate(self.batches):
            rows = batch.tokens.get(stream, np.empty(0, TOKEN)).copy()
            rows["pass"] = number
            parts.append(rows)
        return np.concatenate(parts)

    def column(self, name: str, place: int) -> np.ndarray:
        """A column of one layer: -1, NaN or ABSENT where it didn't run."""
        layer = self.model.layers[place]
        shape = {"experts": (layer.top_k,), "weights": (layer.top_k,), "logits": (layer.experts,)}.get(name, ())
        fill = {"experts": -1, "flags": RouteFlag.ABSENT}.get(name, np.nan)
        parts = []
        for batch in self.batches:
            rows = len(batch.tokens.get(layer.stream, ()))
            found = [getattr(routes, name) for routes in batch.layers if routes.layer == place]
            parts.append(found[0] if found and found[0] is not None else np.full((rows, *shape), fill))
        return np.concatenate(parts)

    def counts(self, place: int) -> np.ndarray:
        """(passes, E), as each batch gave them."""
        out = np.zeros((len(self.batches), self.model.layers[place].experts), np.int64)
        for number, batch in enumerate(self.batches):
            for routes in batch.layers:
                if routes.layer == place:
                    out[number] = routes.counts
        return out
