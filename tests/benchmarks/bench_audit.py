"""CPU time of an audit against bare counting of the same file, and memory: python -m tests.benchmarks.bench_audit FILE TOKENS.

The file is written if it isn't there: 16 layers, top-8 of 64.
"""

import sys
import threading
import time
from pathlib import Path

import numpy as np

from moedesk.analysis.audit import audit
from moedesk.capture.open import open_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN
from moedesk.core.model import LayerInfo, ModelInfo

LAYERS, EXPERTS, TOP_K, ROWS, DIFFERENT = 16, 64, 8, 2048, 6
PIECE = 1 << 16


def main() -> None:
    path = Path(sys.argv[1])
    if not path.exists():
        write(path, int(sys.argv[2]))
        return
    with open_capture(path) as capture:
        print(
            f"{capture.n_tokens():,} tokens × {LAYERS} layers × top-{TOP_K} of {EXPERTS}, {path.stat().st_size / 1e9:.2f} GB"
        )
        before = peak()
        bare, audited = cpu(lambda: count(capture)), cpu(lambda: audit(capture))
    print(f"CPU seconds: bincount {bare:.1f}, audit {audited:.1f}; ratio {audited / bare:.2f}")
    print(f"peak memory {before:.0f} MB before, {peak():.0f} MB after; threads {threading.active_count()}")


def write(path: Path, tokens: int) -> None:
    """Some different passes again and again: long enough that no check sees a repetition within a sequence."""
    rng = np.random.default_rng(0)
    layers = tuple(
        LayerInfo(f"model.layers.{n}.mlp", "Block", EXPERTS, TOP_K, score="softmax", place=n) for n in range(LAYERS)
    )
    passes = [batch(rng) for _ in range(DIFFERENT)]
    with CaptureWriter(path, weights="float16") as writer:
        writer.describe(ModelInfo("bench", "Bench", layers, dtype="float32"))
        for number in range(tokens // ROWS):
            writer.append(passes[number % DIFFERENT])


def batch(rng: np.random.Generator) -> RouteBatch:
    rows = np.zeros(ROWS, TOKEN)
    rows["token_id"] = np.minimum(rng.zipf(1.2, ROWS), 49_999)
    rows["position"] = rows["column"] = np.arange(ROWS)
    header = np.zeros((), PASS)
    header["n_seen"], header["step"], header["batch"] = ROWS, -1, 1
    return RouteBatch(header, {"main": rows}, tuple(routes(rng, place) for place in range(LAYERS)))


def routes(rng: np.random.Generator, place: int) -> LayerRoutes:
    logits = rng.normal(0, 1.5, (ROWS, EXPERTS)) + np.linspace(0, 0.5, EXPERTS)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    order = np.argsort(-shares, axis=1)
    ranked = np.take_along_axis(shares, order, 1).astype(np.float32)
    experts = order[:, :TOP_K].astype(np.int8)
    return LayerRoutes(
        place,
        np.bincount(experts.ravel(), minlength=EXPERTS),
        experts,
        ranked[:, :TOP_K],
        -(shares * np.log(shares)).sum(1).astype(np.float32),
        ranked[:, TOP_K - 1] - ranked[:, TOP_K],
        np.zeros(ROWS, np.uint8),
    )


def count(capture) -> None:
    for layer in capture.model.layers:
        for start in range(0, capture.n_tokens(), PIECE):
            experts = capture.experts(layer, start, start + PIECE)
            np.bincount(experts.ravel().astype(np.intp) + 1, minlength=EXPERTS + 1)


def cpu(function) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
