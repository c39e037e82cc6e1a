"""Time search, audit and top tokens on a generated capture file: ``python tests/benchmarks/bench_analysis.py [TOKENS]``."""

import resource
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from moedesk.analysis.audit import audit
from moedesk.analysis.experts import top_tokens
from moedesk.analysis.search import matching_passes
from moedesk.capture.open import open_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN
from moedesk.core.filter import parse
from moedesk.core.model import LayerInfo, ModelInfo

LAYERS, EXPERTS, TOP_K, ROWS, VOCABULARY = 16, 64, 8, 2048, 50_000
FILTERS = ("expert:37 margin<0.01", "layer:3 expert:37", "token:w17", "phase:decode", "-weight>0.05", "pass:3")


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 250_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.h5"
        write(path, tokens)
        size = path.stat().st_size
        print(f"{tokens:,} tokens × {LAYERS} layers × top-{TOP_K} of {EXPERTS}, {size / 1e6:.0f} MB; seconds")
        with open_capture(path) as capture:
            bare = timed("np.bincount over the same ids", lambda: count(capture))
            for text in FILTERS:
                timed(f"search {text}", lambda text=text: matching_passes(capture, parse(text)))
            timed("top tokens of an expert", lambda: top_tokens(capture, 3, 37))
            whole = timed("audit", lambda: audit(capture))
    print(
        f"audit ÷ bincount: {whole / bare:.1f}; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB"
    )


def write(path: Path, tokens: int) -> None:
    rng = np.random.default_rng(0)
    layers = tuple(
        LayerInfo(f"model.layers.{place}.mlp", "Block", EXPERTS, TOP_K, score="softmax", place=place)
        for place in range(LAYERS)
    )
    with CaptureWriter(path, lambda ids: [f" w{i}".encode() for i in ids], weights="float16") as writer:
        writer.describe(ModelInfo("bench", "Bench", layers))
        for _ in range(tokens // ROWS):
            rows = np.zeros(ROWS, TOKEN)
            rows["token_id"] = np.minimum(rng.zipf(1.2, ROWS), VOCABULARY - 1)
            rows["position"] = rows["column"] = np.arange(ROWS)
            header = np.zeros((), PASS)
            header["n_seen"], header["step"], header["batch"] = ROWS, -1, 1
            writer.append(RouteBatch(header, {"main": rows}, tuple(routes(rng, place) for place in range(LAYERS))))


def routes(rng: np.random.Generator, place: int) -> LayerRoutes:
    noise = rng.random((ROWS, EXPERTS), np.float32) + np.linspace(0, 0.5, EXPERTS, dtype=np.float32)
    experts = np.argpartition(-noise, TOP_K, axis=1)[:, :TOP_K].astype(np.int8)
    weights = np.take_along_axis(noise, experts.astype(np.intp), axis=1)
    return LayerRoutes(
        place,
        np.bincount(experts.ravel(), minlength=EXPERTS),
        experts,
        weights / weights.sum(axis=1, keepdims=True),
        rng.random(ROWS, np.float32) * 4,
        rng.random(ROWS, np.float32) * 0.1,
        np.zeros(ROWS, np.uint8),
    )


def count(capture) -> None:
    for layer in capture.model.layers:
        for start in range(0, capture.n_tokens(), 1 << 16):
            experts = capture.experts(layer, start, start + (1 << 16))
            np.bincount(experts.ravel().astype(np.intp) + 1, minlength=EXPERTS + 1)


def timed(what: str, function) -> float:
    start = perf_counter()
    function()
    seconds = perf_counter() - start
    print(f"  {what:<32} {seconds:8.2f}")
    return seconds


if __name__ == "__main__":
    main()
