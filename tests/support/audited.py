"""A made-up capture in which an audit finds nothing, and what it finds in one."""

from collections.abc import Mapping

import numpy as np

from moedesk.analysis.audit import audit
from moedesk.core.columns import PASS, SPAN, TOKEN
from moedesk.core.model import LayerInfo, ModelInfo, ModuleInfo
from tests.support.memory_store import LayerColumns, MemoryStore

ROWS, PASSES, EXPERTS, TOP_K = 4800, 48, 8, 2
QUIET = {"not-verified"}


def healthy(layers: int = 4, config: Mapping = {"norm_topk_prob": False}, seed: int = 0) -> MemoryStore:
    rng = np.random.default_rng(seed)
    infos = tuple(
        LayerInfo(f"layers.{n}", "B", EXPERTS, TOP_K, score="softmax", experts_path=f"layers.{n}.experts", place=n)
        for n in range(layers)
    )
    modules = tuple(
        ModuleInfo(one.experts_path, "experts", "E", -1, "experts", one.place, 0, 8000, "bfloat16") for one in infos
    )
    passes, spans, tokens = np.zeros(PASSES, PASS), np.zeros(PASSES, SPAN), np.zeros(ROWS, TOKEN)
    passes["id"] = np.arange(PASSES)
    passes["t1_ns"], passes["n_tokens"], passes["n_seen"], passes["step"] = 1_000_000, 100, 100, -1
    spans["first"], spans["count"] = np.arange(PASSES) * 100, 100
    passes["first_token"] = spans["first"]
    tokens["pass"] = tokens["sequence"] = np.repeat(np.arange(PASSES), 100)
    tokens["column"] = tokens["position"] = np.tile(np.arange(100), PASSES)
    tokens["token_id"] = rng.integers(5, 500, ROWS)
    columns = [of_logits(rng.normal(0, 1.5, (ROWS, EXPERTS))) for _ in infos]
    model = ModelInfo("m", "M", infos, modules, dtype="float32", config=config)
    return MemoryStore(model, passes, {"main": tokens}, {"main": spans}, columns)


def of_logits(z: np.ndarray) -> LayerColumns:
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    order = np.argsort(-q, axis=1)
    ranked = np.take_along_axis(q, order, 1)
    return LayerColumns(
        order[:, :TOP_K].astype(np.int8),
        ranked[:, :TOP_K].astype(np.float32),
        -(q * np.log(q)).sum(1).astype(np.float32),
        (ranked[:, TOP_K - 1] - ranked[:, TOP_K]).astype(np.float32),
        np.zeros(len(z), np.uint8),
        z.astype(np.float32),
    )


def found(store: MemoryStore) -> set[tuple[str, str | None, int | None]]:
    return {(one.id, one.layer, one.expert) for one in audit(store).findings if one.id not in QUIET}
