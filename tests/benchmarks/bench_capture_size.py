"""Bytes a token and write throughput of OLMoE-like routing: python -m tests.benchmarks.bench_capture_size [TOKENS].

16 layers of 64 experts, top-8, chosen by a skewed, token-dependent router; weights are those of its softmax, as float32 that came
from bfloat16 ("bf16 model") or from float32 ("fp32 model").
"""

import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from moedesk.capture.writer import CaptureWriter
from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN
from moedesk.core.model import LayerInfo, ModelInfo

LAYERS, EXPERTS, TOP_K, ROWS = 16, 64, 8, 2048
MODEL = ModelInfo(
    "OLMoE-like", "Bench", tuple(LayerInfo(f"l.{n}", "B", EXPERTS, TOP_K, place=n) for n in range(LAYERS))
)


def make_batch(rng: np.random.Generator, bias: np.ndarray, bf16: bool) -> RouteBatch:
    """One prefill of ROWS tokens."""
    tokens = np.zeros(ROWS, TOKEN)
    tokens["token_id"] = rng.zipf(1.3, ROWS) % 50000
    tokens["position"] = tokens["column"] = np.arange(ROWS)
    layers = []
    for layer in range(LAYERS):
        logits = rng.standard_normal((ROWS, EXPERTS), np.float32) * 1.5 + bias[layer]
        ids = np.argsort(-logits, axis=1)[:, :TOP_K].astype("i1")
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        weights = np.take_along_axis(scores, ids.astype(int), 1)
        if bf16:
            weights = (weights.view(np.uint32) & 0xFFFF0000).view(np.float32)
        entropy = -(scores * np.log(scores)).sum(axis=1)
        ranked = -np.sort(-scores, axis=1)
        counts = np.bincount(ids.ravel(), minlength=EXPERTS)
        margin = ranked[:, TOP_K - 1] - ranked[:, TOP_K]
        layers.append(LayerRoutes(layer, counts, ids, weights, entropy, margin, np.zeros(ROWS, np.uint8)))
    return RouteBatch(np.zeros((), PASS), {"main": tokens}, tuple(layers))


def measure(title: str, batches: list[RouteBatch], repeats: int, weights: str) -> None:
    """Write the batches again and again and print what that took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        processor, start = time.process_time(), time.perf_counter()
        with CaptureWriter(path, weights=weights) as writer:  # type: ignore[arg-type]
            writer.describe(MODEL)
            for _ in range(repeats):
                for batch in batches:
                    writer.append(batch)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        tokens = repeats * len(batches) * ROWS
        print(
            f"{title}: {path.stat().st_size / tokens:.0f} bytes a token in all, {tokens / seconds:,.0f} tokens/s",
            end="",
        )
        print(f" ({1000 * processor * ROWS / tokens:.0f} ms of processor per pass of {ROWS:,} tokens)")
        with h5py.File(path) as file:
            for name in ("experts", "weights", "entropy", "margin", "flags"):
                dataset = file[f"routes/0/{name}"]
                raw = dataset.nbytes / tokens
                print(f"    {name}: {dataset.id.get_storage_size() / tokens:.1f} (raw {raw:.0f})")
            counts = sum(dataset.id.get_storage_size() for dataset in file["routes/0/counts"].values())
            print(
                f"    counts: {counts / tokens:.1f}; tokens: {file['streams/main/tokens'].id.get_storage_size() / tokens:.1f}"
            )


def main(tokens: int) -> None:
    """Measure exact and float16 recordings."""
    rng = np.random.default_rng(0)
    bias = rng.standard_normal((LAYERS, EXPERTS)).astype(np.float32)
    for title, bf16, weights in (
        ("fp32 model", False, "exact"),
        ("bf16 model", True, "exact"),
        ("float16", False, "float16"),
    ):
        batches = [make_batch(rng, bias, bf16) for _ in range(16)]
        measure(title, batches, max(1, tokens // (16 * ROWS)), weights)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 262_144)
