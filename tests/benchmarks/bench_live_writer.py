"""How fast a live recording is taken, looked at and saved: python -m tests.benchmarks.bench_live_writer [--seconds 20] [--folder F].

- events: prefill passes of 2,048 tokens at 16 layers × 64 experts, top-8, into an uncompressed ``CaptureWriter``, from the first
  ``append`` to everything committed, in turn with a bare h5py loop that writes the same arrays into a dataset a layer and column.
  An event is one token at one layer: 8 ids and weights, entropy, margin, flags, 49 bytes.
- passes: decode passes of 1 and 8 tokens at 48 layers × 512 experts.
- live: while passes of 8 tokens are written at 48 × 512, ``publish`` and ``load_blocks`` of the last 10 passes, 30 times a second.
- save: ``save_capture`` of what was recorded.
"""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np

from moedesk.capture.save import save_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN
from moedesk.core.model import LayerInfo, ModelInfo

QUEUE_BYTES = 64 << 20
NAMES = ("experts", "weights", "entropy", "margin", "flags")


def make_model(layers: int, experts: int) -> ModelInfo:
    infos = (LayerInfo(f"l.{n}", "B", experts, 8, place=n) for n in range(layers))
    return ModelInfo("bench", "Bench", tuple(infos))


def make_batch(rng: np.random.Generator, model: ModelInfo, rows: int) -> RouteBatch:
    tokens = np.zeros(rows, TOKEN)
    tokens["token_id"] = rng.integers(0, 50000, rows)
    layers = []
    for layer in model.layers:
        ids = rng.integers(0, layer.experts, (rows, 8)).astype("i1" if layer.experts <= 127 else "<i2")
        scores = rng.random((rows, 8), np.float32)
        real = rng.random(rows, np.float32)
        counts = np.bincount(ids.ravel(), minlength=layer.experts)
        layers.append(LayerRoutes(layer.place, counts, ids, scores, real, real, np.zeros(rows, np.uint8)))
    return RouteBatch(np.zeros((), PASS), {"main": tokens}, tuple(layers))


def resident() -> float:
    """MiB of this process."""
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def write_events(path: Path, model: ModelInfo, batches: list[RouteBatch], seconds: float) -> tuple[float, float, int]:
    """Return events a second of wall time and of the processor time of all threads, and passes."""
    with CaptureWriter(path, compress=False, queue_bytes=QUEUE_BYTES) as writer:
        live = writer.live()
        writer.describe(model)
        writer.flush()
        start, used, n = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() < start + seconds:
            writer.append(batches[n % len(batches)])
            live.publish()
            n += 1
        writer.flush()
        wall, used = time.perf_counter() - start, time.process_time() - used
        live.close()
    assert writer.stopped is None
    events = n * len(batches[0].tokens["main"]) * len(model.layers)
    return events / wall, events / used, n


def write_bare(path: Path, model: ModelInfo, batches: list[RouteBatch], passes: int) -> float:
    """Write the same with h5py alone; return events a second."""
    rows = len(batches[0].tokens["main"])
    with h5py.File(path, "w", libver=("v110", "v110"), locking=False) as file:
        datasets = {}
        for layer in batches[0].layers:
            for name in NAMES:
                values = getattr(layer, name)
                datasets[layer.layer, name] = file.create_dataset(
                    f"{layer.layer}/{name}", (0, *values.shape[1:]), values.dtype,
                    maxshape=(None, *values.shape[1:]), chunks=(4096, *values.shape[1:]),
                )  # fmt: skip
        start = time.perf_counter()
        for n in range(passes):
            for layer in batches[n % len(batches)].layers:
                for name in NAMES:
                    dataset = datasets[layer.layer, name]
                    dataset.resize((n + 1) * rows, axis=0)
                    dataset[n * rows :] = getattr(layer, name)
        file.flush()
        wall = time.perf_counter() - start
    return passes * rows * len(model.layers) / wall


def bench_events(folder: Path, seconds: float, rounds: int) -> None:
    model = make_model(16, 64)
    rng = np.random.default_rng(0)
    batches = [make_batch(rng, model, 2048) for _ in range(16)]
    path, bare_path = folder / "live.h5", folder / "bare.h5"
    ratios = []
    for _ in range(rounds):
        wall, used, passes = write_events(path, model, batches, seconds)
        size = path.stat().st_size
        path.unlink()
        bare = write_bare(bare_path, model, batches, passes)
        bare_path.unlink()
        ratios.append(wall / bare)
        print(
            f"events: {wall / 1e6:.1f} M/s ({used / 1e6:.1f} M per second of processor, {size / 1e9:.1f} GB), "
            f"bare h5py {bare / 1e6:.1f} M/s, ratio {wall / bare:.2f}; {resident():.0f} MiB resident",
            flush=True,
        )
    print(f"events: median ratio to bare h5py {statistics.median(ratios):.2f}")


def bench_passes(folder: Path, seconds: float) -> None:
    model = make_model(48, 512)
    for rows in (1, 8):
        batches = [make_batch(np.random.default_rng(n), model, rows) for n in range(64)]
        path = folder / "decode.h5"
        wall, used, passes = write_events(path, model, batches, seconds)
        rate = wall / rows / 48
        print(
            f"passes of {rows} tokens at 48 × 512: {rate:,.0f} a second ({used / rows / 48:,.0f} per second of processor), "
            f"{path.stat().st_size / passes / 1024:.0f} KiB each; {resident():.0f} MiB resident",
            flush=True,
        )
        path.unlink()


def bench_live(folder: Path, seconds: float, rate: float) -> None:
    """Write ``rate`` passes a second from another thread, look 30 times a second, then save."""
    model = make_model(48, 512)
    batches = [make_batch(np.random.default_rng(n), model, 8) for n in range(64)]
    writer = CaptureWriter(folder / "live.h5", compress=False, queue_bytes=QUEUE_BYTES)
    writer.describe(model)
    live, ended = writer.live(), threading.Event()

    def feed() -> None:
        n, start = 0, time.perf_counter()
        while not ended.is_set():
            writer.append(batches[n % len(batches)])
            n += 1
            ended.wait(max(0.0, start + n / rate - time.perf_counter()))

    thread = threading.Thread(target=feed)
    thread.start()
    publish, load, whole = [], [], []
    end, seen = time.perf_counter() + seconds, 0
    while (now := time.perf_counter()) < end:
        live.publish()
        published = time.perf_counter()
        publish.append(published - now)
        if live.n_passes > max(10, seen):
            live.load_blocks(live.n_passes - 10, live.n_passes, 10)
            load.append(time.perf_counter() - published)
            seen = live.n_passes
        ended.wait(max(0.0, now + 1 / 30 - time.perf_counter()))
    for _ in range(5):
        start = time.perf_counter()
        live.load_blocks(0, live.n_passes, 1000)
        whole.append(time.perf_counter() - start)
    ended.set()
    thread.join()
    print(f"live: {live.n_passes:,} passes of 8 tokens at 48 × 512, {live.n_passes / seconds:.0f} a second")
    for title, times in (
        ("publish", publish),
        ("load_blocks, last 10 passes", load),
        ("load_blocks, all passes", whole),
    ):
        times.sort()
        print(
            f"    {title}: median {times[len(times) // 2] * 1e3:.3f} ms, worst {times[-1] * 1e3:.3f} ms ({len(times)})"
        )
    writer.flush()
    live.publish()
    size = (folder / "live.h5").stat().st_size
    start = time.perf_counter()
    save_capture(live, folder / "saved.h5", lambda share: None)
    took = time.perf_counter() - start
    saved = (folder / "saved.h5").stat().st_size
    print(
        f"save: {size / 1e6:.0f} MB in {took:.1f} s, {size / 1e6 / took:.0f} MB/s, {saved / 1e6:.0f} MB compressed; "
        f"{resident():.0f} MiB resident"
    )
    writer.close()
    live.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=400)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=("events", "passes", "live"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.only in (None, "events"):
            bench_events(folder, arguments.seconds, arguments.rounds)
        if arguments.only in (None, "passes"):
            bench_passes(folder, arguments.seconds / 4)
        if arguments.only in (None, "live"):
            bench_live(folder, arguments.seconds / 2, arguments.rate)


if __name__ == "__main__":
    main()
