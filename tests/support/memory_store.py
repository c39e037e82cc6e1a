"""A Store of plain numpy arrays: what the tests of analyses and panels read, written as plainly as possible."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from moedesk.core.acted import Acted
from moedesk.core.attribution import Explanation
from moedesk.core.columns import PASS, SPAN, STEP, TOKEN, PassFlag, Phase, RouteFlag, expert_dtype
from moedesk.core.label import Label
from moedesk.core.model import LayerInfo, ModelInfo, ModuleInfo
from moedesk.core.store import LayerLike, LoadBlocks


@dataclass
class LayerColumns:
    """Everything recorded of one layer, a row per token of its stream."""

    experts: np.ndarray
    weights: np.ndarray
    entropy: np.ndarray
    margin: np.ndarray
    flags: np.ndarray
    logits: np.ndarray | None = None


@dataclass
class MemoryStore:
    """Implements ``moedesk.core.store.Store`` over arrays in memory."""

    model: ModelInfo
    passes: np.ndarray
    streams: dict[str, np.ndarray]
    spans: dict[str, np.ndarray]
    layers: list[LayerColumns]
    vocabulary: dict[int, bytes] = field(default_factory=dict)
    name: str = "memory"
    revision: int = 0
    complete: bool = True
    notes: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
    attributions: tuple[Explanation, ...] = ()
    overrides: tuple[Acted, ...] = ()
    steps: np.ndarray = field(default_factory=lambda: np.empty(0, STEP))
    norms: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    @property
    def n_passes(self) -> int:
        return len(self.passes)

    @property
    def _main(self) -> str:
        return self.model.streams[0] if self.model.layers else "main"

    @property
    def n_steps(self) -> int:
        return len(self.steps)

    def read_steps(self, i: int = 0, j: int | None = None) -> np.ndarray:
        return self.steps[i:j].copy()

    def gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._norms("gradients", layer)[i:j]

    def output_norms(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._norms("outputs", layer)[i:j]

    def router_gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._norms("router", layer)[i:j, 0]

    def shared_gradients(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._norms("shared", layer)[i:j, 0]

    def _norms(self, name: str, layer: LayerLike) -> np.ndarray:
        info = self.model.layer(layer)
        width = info.experts if name in ("gradients", "outputs") else 1
        missing = np.full((len(self.steps), width), np.nan, np.float32)
        return self.norms.get((name, info.place), missing)

    def n_tokens(self, stream: str | None = None) -> int:
        return len(self.streams[stream or self._main])

    def read_passes(self, i: int = 0, j: int | None = None) -> np.ndarray:
        return self.passes[i:j].copy()

    def read_tokens(self, i: int = 0, j: int | None = None, stream: str | None = None) -> np.ndarray:
        return self.streams[stream or self._main][i:j].copy()

    def token_span(self, first: int, last: int, stream: str | None = None) -> tuple[int, int]:
        spans = self.spans[stream or self._main][first:last]
        if not len(spans):
            return 0, 0
        return int(spans["first"][0]), int(spans["first"][-1] + spans["count"][-1])

    def token_text(self, ids: np.typing.ArrayLike) -> list[str]:
        return [
            self.vocabulary[i].decode(errors="backslashreplace") if i in self.vocabulary else f"⟨{i}⟩"
            for i in np.asarray(ids).ravel().tolist()
        ]

    def text(self, i: int, j: int, stream: str | None = None) -> str:
        ids = self.read_tokens(i, j, stream)["token_id"].tolist()
        return b"".join(self.vocabulary.get(n, f"⟨{n}⟩".encode()) for n in ids).decode(errors="replace")

    def _columns(self, layer: LayerLike) -> LayerColumns:
        return self.layers[self.model.layer(layer).place]

    def experts(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._columns(layer).experts[i:j].copy()

    def weights(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._columns(layer).weights[i:j].copy()

    def entropy(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._columns(layer).entropy[i:j].copy()

    def margin(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._columns(layer).margin[i:j].copy()

    def flags(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._columns(layer).flags[i:j].copy()

    def logits(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray | None:
        logits = self._columns(layer).logits
        return None if logits is None else logits[i:j].copy()

    def counts(self, layer: LayerLike, by: str = "capture") -> np.ndarray:
        info = self.model.layer(layer)
        tokens = self.streams[info.stream]
        result = np.zeros((self.n_passes, info.experts), np.int64)
        for row, chosen in zip(tokens, self._columns(info).experts, strict=True):
            if not row["is_padding"]:
                for expert in chosen:
                    if expert >= 0:
                        result[row["pass"], expert] += 1
        return result if by == "pass" else result.sum(0)

    def window_counts(self, first: int = 0, last: int | None = None) -> list[np.ndarray]:
        return [self.counts(layer, "pass")[first:last].sum(0) for layer in self.model.layers]

    def load_blocks(self, first: int, last: int, columns: int) -> LoadBlocks:
        step = max(1, -(-(last - first) // max(columns, 1)))
        edges = np.append(np.arange(first, last, step), last)
        offsets = np.cumsum([0] + [layer.experts for layer in self.model.layers])
        counts = np.zeros((len(edges) - 1, offsets[-1]), np.uint32)
        for layer in self.model.layers:
            by_pass = self.counts(layer, "pass")
            for block, (start, stop) in enumerate(pairwise(edges)):
                counts[block, offsets[layer.place] : offsets[layer.place + 1]] = by_pass[start:stop].sum(0)
        return LoadBlocks(edges.astype(np.int64), counts, offsets.astype(np.int64))


WORDS = (b"the", b" router", b" picks", b" experts", b"\n", b" def", b" return", b"\xc3", b"\xa9", b" moe", b"42", b".")


def memory_store(
    passes: int = 20,
    tokens: int = 12,
    layers: int = 3,
    experts: int = 8,
    top_k: int = 2,
    *,
    seed: int = 0,
    logits: bool = False,
    padding: float = 0.1,
) -> MemoryStore:
    """Build a random store: the first pass of every five is a prefill of two sequences, the rest decode one token each."""
    rng = np.random.default_rng(seed)
    infos = tuple(
        LayerInfo(
            path=f"model.layers.{place}.mlp",
            block="TestSparseMoeBlock",
            experts=experts,
            top_k=top_k,
            score="softmax",
            post_scale=1.0,
            router_path=f"model.layers.{place}.mlp.gate",
            experts_path=f"model.layers.{place}.mlp.experts",
            place=place,
        )
        for place in range(layers)
    )
    headers = np.zeros(passes, PASS)
    spans = np.zeros(passes, SPAN)
    rows = []
    first = 0
    for number in range(passes):
        step = number % 5
        decode = step > 0
        length = 1 if decode else tokens
        block = np.zeros(2 * length, TOKEN)
        block["pass"] = number
        block["sequence"] = np.repeat([2 * (number // 5), 2 * (number // 5) + 1], length)
        block["column"] = np.tile(np.arange(length) + (tokens + step - 1 if decode else 0), 2)
        block["position"] = block["column"]
        block["token_id"] = rng.integers(0, len(WORDS), 2 * length)
        block["is_padding"] = (rng.random(2 * length) < padding) & (not decode)
        rows.append(block)
        start = 1_700_000_000_000_000_000 + number * 10_000_000
        headers[number] = (
            number,
            Phase.DECODE if decode else Phase.PREFILL,
            0,
            0,
            -1,
            start,
            start + int(rng.integers(1_000_000, 9_000_000)),
            first,
            2 * length,
            2 * length,
            block["is_padding"].sum(),
            2,
            tokens + step - 1 if decode else 0,
        )
        spans[number] = (first, 2 * length)
        first += 2 * length
    stream = np.concatenate(rows)
    columns = []
    for _ in infos:
        z = rng.normal(0, 1.5, (first, experts)).astype(np.float32) + np.linspace(1, -1, experts, dtype=np.float32)
        q = np.exp(z - z.max(1, keepdims=True))
        q /= q.sum(1, keepdims=True)
        order = np.argsort(-q, axis=1, kind="stable")
        ranked = np.take_along_axis(q, order, 1)
        columns.append(
            LayerColumns(
                experts=order[:, :top_k].astype(expert_dtype(experts)),
                weights=ranked[:, :top_k].astype(np.float32),
                entropy=-(q * np.log(q)).sum(1).astype(np.float32),
                margin=(ranked[:, top_k - 1] - ranked[:, top_k]).astype(np.float32),
                flags=np.zeros(first, np.uint8),
                logits=z if logits else None,
            )
        )
    if passes > 2:  # one dropped slot, so that every reader meets one
        columns[-1].experts[3, -1] = -1
        columns[-1].weights[3, -1] = 0
        columns[-1].flags[3] = RouteFlag.DROPPED
    model = ModelInfo(
        name="test-moe",
        class_name="TestMoeForCausalLM",
        layers=infos,
        modules=_modules(infos),
        dtype="float32",
        device="cpu",
        parameters=sum(infos_.experts for infos_ in infos) * 1000,
        config={"num_experts": experts},
    )
    return MemoryStore(model, headers, {"main": stream}, {"main": spans}, columns, dict(enumerate(WORDS)))


def _modules(infos: tuple[LayerInfo, ...]) -> tuple[ModuleInfo, ...]:
    modules = [
        ModuleInfo("", "TestMoeForCausalLM", "TestMoeForCausalLM", -1),
        ModuleInfo("model", "model", "TestMoeModel", 0),
        ModuleInfo("model.layers", "layers", "ModuleList", 1),
    ]
    for info in infos:
        parent = len(modules)
        block = info.path.rsplit(".", 1)[0]
        modules += [
            ModuleInfo(block, block.rsplit(".", 1)[-1], "TestDecoderLayer", 2),
            ModuleInfo(
                info.path, "mlp", info.block, parent, "moe", info.place, 0, info.experts * 1000, "float32", "cpu"
            ),
            ModuleInfo(
                info.router_path, "gate", "TestRouter", parent + 1, "router", info.place, 64, 64, "float32", "cpu"
            ),
            ModuleInfo(
                info.experts_path,
                "experts",
                "TestExperts",
                parent + 1,
                "experts",
                info.place,
                info.experts * 990,
                info.experts * 990,
                "float32",
                "cpu",
                f"down_proj {info.experts}×10×99",
            ),
        ]
    return tuple(modules)


def spare(store: MemoryStore, passes: Sequence[int]) -> None:
    """Take entropies, margins and logits of some passes away, as where a model ran too fast for them."""
    store.passes["flags"][list(passes)] |= np.uint8(PassFlag.SPARED)
    for info, layer in zip(store.model.layers, store.layers, strict=True):
        rows = np.isin(store.streams[info.stream]["pass"], list(passes))
        layer.entropy[rows] = layer.margin[rows] = np.nan
        if layer.logits is not None:
            layer.logits[rows] = np.nan
