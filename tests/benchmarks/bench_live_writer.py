"""How fast a live recording is taken, looked at and saved: python -m tests.benchmarks.bench_live_writer [--seconds S].

- events: prefill passes of 2,048 tokens at 16 layers × 64 experts, top-8, into an uncompressed ``CaptureWriter``, from the first
  ``append`` to everything committed, in turn with two bare h5py loops that write the same arrays: into a dataset a layer and
  column, and into a dataset a column whose chunk is a whole pass, stacked beforehand (no reader wants that; it is how fast HDF5
  and the disk are). An event is one token at one layer: 8 ids and weights, entropy, margin, flags, 49 bytes.
- passes: decode passes of 1 and 8 tokens at 48 layers × 512 experts.
- live: while passes of 8 tokens are written at 48 × 512, ``publish`` and ``load_blocks`` of the last 10 passes 30 times a s.
- save: ``save_capture`` of what was recorded.

Every measurement has a process of its own; "processor" is the time of all its threads. ``--folder /dev/shm`` leaves the disk out.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

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


def memory() -> str:
    """Say what this process uses, and the most it used."""
    status = Path("/proc/self/status").read_text()
    now, most = (int(status.split(f"{name}:")[1].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return f"{now:.0f} MiB resident, at most {most:.0f}"


def write_live(path: Path, layers: int, experts: int, rows: int, seconds: float) -> tuple[float, float, int, str]:
    """Return wall and processor seconds, passes, and memory."""
    model = make_model(layers, experts)
    batches = [make_batch(np.random.default_rng(n), model, rows) for n in range(16)]
    with CaptureWriter(path, compress=False, queue_bytes=QUEUE_BYTES) as writer:
        live = writer.live()
        writer.describe(model)
        writer.flush()
        start, used, n = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() < start + seconds:
            writer.append(batches[n % len(batches)])
            n += 1
        writer.flush()
        wall, used = time.perf_counter() - start, time.process_time() - used
        said = memory()
        live.close()
    assert writer.stopped is None, writer.stopped
    return wall, used, n, said


def write_bare(path: Path, layers: int, experts: int, rows: int, passes: int) -> float:
    """Write the same passes into a dataset a layer and column; return seconds."""
    model = make_model(layers, experts)
    batches = [make_batch(np.random.default_rng(n), model, rows) for n in range(16)]
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
        return time.perf_counter() - start


def write_bare_stacked(path: Path, layers: int, experts: int, rows: int, passes: int) -> float:
    """Write the same passes, already stacked, into a dataset a column; return seconds."""
    model = make_model(layers, experts)
    batches = [make_batch(np.random.default_rng(n), model, rows) for n in range(16)]
    stacks = [
        {name: np.stack([getattr(layer, name) for layer in batch.layers], axis=1) for name in NAMES}
        for batch in batches
    ]
    with h5py.File(path, "w", libver=("v110", "v110"), locking=False) as file:
        datasets = {
            name: file.create_dataset(name, (0, *v.shape[1:]), v.dtype, maxshape=(None, *v.shape[1:]), chunks=v.shape)
            for name, v in stacks[0].items()
        }
        start = time.perf_counter()
        for n in range(passes):
            for name, dataset in datasets.items():
                dataset.resize((n + 1) * rows, axis=0)
                dataset[n * rows :] = stacks[n % len(stacks)][name]
        file.flush()
        return time.perf_counter() - start


def apart(function: Callable[..., Any], path: Path, *arguments: object) -> Any:
    """Call a function in a process of its own, and remove the file it wrote; returns what it returns and the file's size."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        result = pool.submit(function, path, *arguments).result()
    size = path.stat().st_size if path.exists() else 0
    path.unlink(missing_ok=True)
    return result, size


def bench_events(folder: Path, seconds: float, rounds: int) -> None:
    shape = (16, 64, 2048)
    ratios: dict[str, list[float]] = {"bare h5py": [], "bare h5py, stacked": []}
    for _ in range(rounds):
        (wall, used, passes, said), size = apart(write_live, folder / "live.h5", *shape, seconds)
        events = passes * shape[0] * shape[2] / 1e6
        print(
            f"events: {events / wall:.1f} M/s, {events / used:.1f} M per second of processor, {size / 1e9:.1f} GB; {said}"
        )
        for (title, values), bare in zip(ratios.items(), (write_bare, write_bare_stacked), strict=True):
            took, _ = apart(bare, folder / "bare.h5", *shape, passes)
            values.append(took / wall)
            print(f"    {title} {events / took:.1f} M/s, ratio {took / wall:.2f}", flush=True)
    for title, values in ratios.items():
        print(f"events: median ratio to {title} {statistics.median(values):.2f}")


def bench_passes(folder: Path, seconds: float) -> None:
    for rows in (1, 8):
        (wall, used, passes, said), size = apart(write_live, folder / "live.h5", 48, 512, rows, seconds)
        print(
            f"passes of {rows} tokens at 48 × 512: {passes / wall:,.0f} a second, {passes / used:,.0f} per second of "
            f"processor, {size / passes / 1024:.0f} KiB each; {said}",
            flush=True,
        )


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
    publish, load, used, whole = [], [], [], []
    end, seen = time.perf_counter() + seconds, 0
    while (now := time.perf_counter()) < end:
        live.publish()
        published, processor = time.perf_counter(), time.thread_time()
        publish.append(published - now)
        if live.n_passes > max(10, seen):
            live.load_blocks(live.n_passes - 10, live.n_passes, 10)
            load.append(time.perf_counter() - published)
            used.append(time.thread_time() - processor)
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
        ("    its processor time", used),
        ("load_blocks, all passes", whole),
    ):
        low, middle, high = np.quantile(times, (0.5, 0.95, 1.0)) * 1e3
        print(f"    {title}: median {low:.3f} ms, 95 % {middle:.3f}, worst {high:.3f} ({len(times)})")
    writer.flush()
    live.publish()
    raw = live.n_tokens() * 48 * 57 / 1e6
    start, processor = time.perf_counter(), time.process_time()
    save_capture(live, folder / "saved.h5", lambda share: None)
    took, processor = time.perf_counter() - start, time.process_time() - processor
    saved = (folder / "saved.h5").stat().st_size / 1e6
    print(
        f"save: {raw:.0f} MB of routes in {took:.1f} s ({processor:.1f} s of processor), {raw / took:.0f} MB/s, to {saved:.0f} MB"
    )
    print(f"    {memory()}")
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
