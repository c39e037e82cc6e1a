"""Generate a capture of 2 GB or more and read it: python -m tests.benchmarks.bench_large_capture [FOLDER] [TOKENS].

48 layers of 512 experts, top-8; passes of 40 tokens, every hundredth of 2,000. The file is left there and used again.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from moedesk.capture.writer import CaptureWriter
from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN
from moedesk.core.model import LayerInfo, ModelInfo

LAYERS, EXPERTS, TOP_K = 48, 512, 8


def make_batch(rng: np.random.Generator, rows: int) -> RouteBatch:
    """Skewed ids, each token's experts different ones."""
    tokens = np.zeros(rows, TOKEN)
    tokens["token_id"] = rng.zipf(1.3, rows) % 50000
    tokens["column"] = tokens["position"] = np.arange(rows)
    layers = []
    for layer in range(LAYERS):
        scores = rng.gumbel(size=(rows, EXPERTS)) + np.linspace(0, 2, EXPERTS)
        ids = np.argpartition(-scores, TOP_K, axis=1)[:, :TOP_K].astype("<i2")
        weights = rng.dirichlet(np.ones(TOP_K), rows).astype(np.float32)
        real = rng.random(rows).astype(np.float32)
        counts = np.bincount(ids.ravel(), minlength=EXPERTS)
        layers.append(LayerRoutes(layer, counts, ids, weights, real, real, np.zeros(rows, np.uint8)))
    return RouteBatch(np.zeros((), PASS), {"main": tokens}, tuple(layers))


def generate(path: Path, tokens: int) -> None:
    """Write the file."""
    rng = np.random.default_rng(0)
    model = ModelInfo("large", "L", tuple(LayerInfo(f"l.{n}", "B", EXPERTS, TOP_K, place=n) for n in range(LAYERS)))
    small, large = [make_batch(rng, 40) for _ in range(97)], make_batch(rng, 2000)
    start, done, number = time.perf_counter(), 0, 0
    with CaptureWriter(path, weights="float16") as writer:
        writer.describe(model)
        while done < tokens:
            batch = large if number % 100 == 50 else small[number % len(small)]
            writer.append(batch)
            done += len(batch.tokens["main"])
            number += 1
    seconds = time.perf_counter() - start
    size = path.stat().st_size
    print(
        f"wrote {number:,} passes, {done:,} tokens, {size / 1e9:.2f} GB in {seconds:.0f} s: {done / seconds:,.0f} tokens/s"
    )
    print(f"{size / done:.0f} bytes a token; {writer.stopped or 'complete'}; peak memory of the writer {peak()}")


def peak() -> str:
    """Return the most memory this process has used (ru_maxrss would include its parent's)."""
    status = Path("/proc/self/status").read_text()
    return f"{int(status.split('VmHWM:')[1].split()[0]) / 1024:.0f} MiB"


def timed(title: str, call: Callable[[], object]) -> object:
    """Print how long a call takes, cold and again."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        value = call()
        times.append(1000 * (time.perf_counter() - start))
    print(f"{title}: {times[0]:.1f} ms, again {times[1]:.1f} ms; peak memory so far {peak()}", flush=True)
    return value


def read(path: Path) -> None:
    """Print what opening and looking costs, in a process that has done nothing else."""
    import moedesk

    timed("open, number of passes and tokens", lambda: (c := moedesk.open(path), c.n_passes, c.n_tokens(), c.close()))
    capture = moedesk.open(path)
    n, tokens = capture.n_passes, capture.n_tokens()
    middle = n // 2
    for columns in (300, 1000):
        timed(f"blocks of all {n:,} passes for {columns} columns", lambda c=columns: capture.load_blocks(0, n, c))
    for width in (200, 1000, 5000):
        blocks = timed(
            f"blocks of {width:,} passes for 1000 columns",
            lambda w=width: capture.load_blocks(middle, middle + w, 1000),
        )
        print(f"    {len(blocks.edges) - 1} blocks")  # type: ignore[attr-defined]
    timed("counts of all layers, whole capture", capture.window_counts)
    timed("counts of all layers, 3/4 of the passes", lambda: capture.window_counts(n // 8 + 3, n - n // 8 + 5))
    timed("experts of 1,000 tokens of a layer", lambda: capture.experts(20, tokens // 2, tokens // 2 + 1000))
    timed("weights of 1,000 tokens of a layer", lambda: capture.weights(20, tokens // 2, tokens // 2 + 1000))
    timed("one token at all layers", lambda: [capture.experts(layer, 12345, 12346) for layer in range(LAYERS)])
    timed("50 rows of the table of passes", lambda: capture.passes[middle : middle + 50])
    timed("counts of a layer by pass", lambda: capture.counts(20, by="pass"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(Path(sys.argv[2]))
    else:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir())
        file = folder / "moedesk-large.h5"
        if not file.exists():
            generate(file, int(sys.argv[2]) if len(sys.argv) > 2 else 2_000_000)
        subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_large_capture", "--read", str(file)], check=True)
