"""Time and memory of a routing difference: ``python tests/benchmarks/bench_diff.py [TOKENS] [LAYERS]``.

Both sides come from one generated store, B with two layers' worth of flips, so that reading a file is not in it; the bare
np.bincount passes over the same ids are timed beside it. Memory is the largest the process held, less what it held before.
"""

import resource
import sys
from dataclasses import dataclass
from time import process_time

import numpy as np

from moedesk.analysis.diff.report import diff
from moedesk.core.columns import TOKEN
from moedesk.core.model import LayerInfo, ModelInfo

EXPERTS, TOP_K, BLOCK, LENGTH = 64, 8, 1 << 15, 2048


@dataclass
class Generated:
    """The part of a Store that a difference reads, the same block of routing over and over."""

    model: ModelInfo
    total: int
    flips: float
    name: str

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self._experts = np.argsort(rng.random((BLOCK, EXPERTS), np.float32), axis=1)[:, :TOP_K].astype(np.int8)
        self._weights = rng.random((BLOCK, TOP_K), np.float32)
        self._margin = rng.random(BLOCK, np.float32) * 0.1
        other = np.random.default_rng(1).random(BLOCK) < self.flips
        self._experts[other, -1] = (self._experts[other].max(axis=1) + 1) % EXPERTS
        self._ids = rng.integers(0, 50_000, BLOCK)

    def n_tokens(self, stream: str) -> int:
        return self.total

    def read_tokens(self, i: int, j: int, stream: str) -> np.ndarray:
        rows = np.zeros(j - i, TOKEN)
        number = np.arange(i, j)
        rows["sequence"], rows["column"] = number // LENGTH, number % LENGTH
        rows["token_id"] = (self._ids[number % BLOCK] + number // BLOCK) % 50_000
        return rows

    def _rows(self, column: np.ndarray, i: int, j: int) -> np.ndarray:
        return column[np.arange(i, j) % BLOCK]

    def experts(self, layer: LayerInfo, i: int, j: int) -> np.ndarray:
        return self._rows(self._experts, i, j)

    def weights(self, layer: LayerInfo, i: int, j: int) -> np.ndarray:
        return self._rows(self._weights, i, j)

    def margin(self, layer: LayerInfo, i: int, j: int) -> np.ndarray:
        return self._rows(self._margin, i, j)

    def flags(self, layer: LayerInfo, i: int, j: int) -> np.ndarray:
        return np.zeros(j - i, np.uint8)


def held() -> float:
    """Most memory that the process held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """Print CPU seconds, their ratio to the bare passes, and memory."""
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    layers = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    infos = tuple(
        LayerInfo(f"layers.{n}.mlp", "Block", EXPERTS, TOP_K, score="softmax", place=n) for n in range(layers)
    )
    model = ModelInfo("bench", "Bench", infos)
    a = Generated(model, tokens, 0.0, "a")
    print(f"{tokens:,} tokens × {layers} layers × top-{TOP_K} of {EXPERTS}; CPU seconds")
    start = process_time()
    for layer in infos:
        for i in range(0, tokens, BLOCK):
            np.bincount(a.experts(layer, i, min(i + BLOCK, tokens)).ravel(), minlength=EXPERTS)
    bare = process_time() - start
    print(f"  np.bincount over the ids of one side  {bare:8.1f}")
    for flips in (0.01, 0.5):
        b = Generated(model, tokens, flips, "b")
        before, start = held(), process_time()
        found = diff(a, b)  # type: ignore[arg-type]
        took = process_time() - start
        print(
            f"  difference, {found.flip_rate:6.2%} flips            {took:8.1f}   {took / bare:5.1f} × bincount, "
            f"{held() - before:,.0f} MB ({(held() - before) * 1e6 / tokens:,.0f} bytes a token)"
        )


if __name__ == "__main__":
    main()
