"""Time the reduction of layer×expert counts to a picture: ``python tests/benchmarks/bench_heatmap.py``."""

from statistics import median
from time import perf_counter

import numpy as np

from moedesk.analysis.heatmap import extend, reduce_blocks
from moedesk.core.store import LoadBlocks

LAYERS, PASSES, ROWS = 48, 2000, 600
NEW = 16


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{LAYERS} layers, {PASSES} passes, reduced to {ROWS} rows; median of 15, in ms")
    print(f"{'experts':>8} {'columns':>8} {'whole':>8} {f'{NEW} new':>8}")
    for experts in (32, 128, 512):
        offsets = np.arange(LAYERS + 1, dtype=np.int64) * experts
        counts = rng.poisson(40, (PASSES, LAYERS * experts)).astype(np.uint32)
        edges = np.arange(PASSES + 1, dtype=np.int64)
        blocks = LoadBlocks(edges, counts, offsets)
        newest = LoadBlocks(edges[-1] + edges[: NEW + 1], counts[:NEW], offsets)
        for columns in (1000, 2000):
            picture = reduce_blocks(LoadBlocks(edges, counts, offsets), 2000, ROWS)
            whole = timed(lambda columns=columns, blocks=blocks: reduce_blocks(blocks, columns, ROWS))
            new = timed(
                lambda newest=newest, picture=picture: extend(picture, reduce_blocks(newest, NEW, ROWS), PASSES)
            )
            print(f"{experts:>8} {columns:>8} {whole:>8.1f} {new:>8.2f}")


def timed(function) -> float:
    function()
    times = []
    for _ in range(15):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return 1e3 * median(times)


if __name__ == "__main__":
    main()
