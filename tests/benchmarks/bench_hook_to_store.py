"""Token-layer events a second from the hooks in one process to a scratch capture that panels can draw from in another.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_hook_to_store [--seconds 10] [--rounds 3] [--tokens 2048 8192]

An event is one token at one layer: 8 ids and 8 float32 weights (40 bytes; columns that say nothing are not sent), and with logits
entropy and margin (48), which the courier then works out here; on a GPU the device does. The model costs next to nothing (routers
and experts give back what was worked out before) and is attached as in the console. "Attach" is what that does where logits are
known: the model runs as far ahead as it may without being shed, and passes go without entropy and margin while the courier is
behind. "All entropies" has none given up, and holds the model back: there, and with ids and weights, it is a pass or two ahead.
A pass has 2,048 tokens, one long prompt, or 8,192, as in training or a server's prefill: only such passes make millions of
events. The other process takes the link into a scratch capture, publishes it 30 times a second, and reads a picture of the newest
passes each time. "Bare" sends 41 bytes an event with PUSH/PULL and writes them with h5py, uncompressed, one chunk a pass. All
take turns. "On two cores" is what the processor time of both processes comes to, whatever else the machine did: what two would do
if no thread ever waited; on a loaded machine compare that, and only within a round.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import h5py
import numpy as np
import zmq

from moedesk.core.batch import RouteBatch
from moedesk.link.client import LinkClient
from moedesk.link.endpoint import Endpoint
from moedesk.session.feed import Feed
from moedesk.session.jobs import Jobs
from moedesk.session.live_stream import LiveStream
from moedesk.session.scratch import Scratch
from moedesk.session.session import Session

K = 8
BARE, ROUTES, ATTACH, ENTROPIES = "bare pyzmq + h5py", "ids and weights", "attach", "all entropies"
FIRST = 2
"""Passes before the clock starts: in them the layers are found, and memory is got."""
AHEAD = 2
"""Passes that the model may be ahead of the link."""
QUEUED = 16 << 20
AHEAD_BYTES = 24 << 20
"""What may be on its way of a model that is not held back otherwise: less than from where on passes are shed."""


@dataclass(frozen=True)
class Sent:
    """What the model's process says at its end: passes that ran, what became of them, processor seconds a pass."""

    passes: int
    spared: int
    shed: int
    dropped: int
    used: float


@dataclass(frozen=True)
class Measured:
    """Passes stored, the seconds they took, processor seconds a pass of both processes; what was left out of how many."""

    passes: int
    took: float
    used: float
    sent: Sent | None = None

    @property
    def left_out(self) -> str:
        """What of the passes did not come; empty if they all came as they should."""
        if self.sent is None:
            return ""
        said = {"without entropy": self.sent.spared, "shed": self.sent.shed, "dropped": self.sent.dropped}
        return "".join(f"; {number / self.sent.passes:.1%} {what}" for what, number in said.items() if number)


def send(pipe: Connection, layers: int, tokens: int, kind: str, seconds: float) -> None:
    """In the model's process."""
    import torch

    from moedesk.link.server import LinkServer
    from moedesk.probe.attach import attach
    from moedesk.probe.taking import courier
    from tests.benchmarks.bench_courier import Model

    torch.set_num_threads(1)
    server = LinkServer()
    pipe.send(server.listen_local().address)
    stream = server.open_stream("free")
    held = layers * tokens * (40 if kind == ROUTES else 300)
    room = threading.Semaphore(10_000 if kind == ATTACH else AHEAD if held < QUEUED else 1)
    if kind == ENTROPIES:
        courier.SPARE_BYTES = courier.SHED_BYTES
    append = stream.append

    def counted(batch: RouteBatch) -> None:
        append(batch)
        room.release()

    stream.append = counted  # type: ignore[method-assign]
    model = Model(layers, tokens, 64, kind != ROUTES)
    ids = torch.randint(0, 1024, (1, tokens))
    while not server.clients:
        time.sleep(0.001)
    handle = attach(model, sink=stream)
    for _ in range(FIRST):
        room.acquire()
        model(ids)
    while handle.counters.queued_bytes:
        time.sleep(0.001)
    run = 0
    start, used = time.monotonic(), time.process_time()
    while time.monotonic() < start + seconds:
        room.acquire()
        model(ids)
        run += 1
        while stream.counters.queued_bytes > QUEUED or handle.counters.queued_bytes > AHEAD_BYTES:
            time.sleep(0.001)
    handle.detach()
    used = (time.process_time() - used) / run
    counters = handle.counters
    pipe.send(Sent(FIRST + run, counters.spared, counters.shed, counters.dropped, used))
    pipe.recv()
    server.close()


def take(address: str, folder: Path, pipe: Connection) -> Measured:
    """Store what comes; pictures are read meanwhile as panels do."""
    scratch, streams = Scratch(folder), []

    def added(feed: Feed, stream: LiveStream, instead_of: LiveStream | None) -> None:
        session = Session(stream.store, Jobs(lambda work: work()))
        session.live, stream.session = stream, session
        streams.append(stream)

    feed = Feed(scratch, lambda work: work(), lambda: None, added, lambda feed, place: None)
    client = LinkClient(Endpoint(address), feed)
    while not streams or (not streams[0].publish() and not streams[0].store.n_passes):
        time.sleep(0.005)
    store, start, first = streams[0].store, time.monotonic(), streams[0].store.n_passes
    used = time.process_time()
    done: Sent | None = None
    while done is None or store.n_passes < done.passes - done.dropped:
        time.sleep(1 / 30)
        streams[0].publish()
        store.load_blocks(max(0, store.n_passes - 10), store.n_passes, 10)
        if done is None and pipe.poll():
            done = pipe.recv()
    took, used = time.monotonic() - start, time.process_time() - used
    passes = store.n_passes - first
    pipe.send("end")
    client.close()
    streams[0].session.close()
    scratch.close(discard=True)
    return Measured(passes, took, used / passes + done.used, done)


def columns(layers: int, tokens: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "experts": rng.integers(0, 64, (layers, tokens, K)).astype("i1"),
        "weights": rng.random((layers, tokens, K), np.float32),
        "flags": np.zeros((layers, tokens), "u1"),
    }


def send_bare(pipe: Connection, layers: int, tokens: int, seconds: float) -> None:
    arrays = list(columns(layers, tokens).values())
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket, tempfile.TemporaryDirectory() as folder:
        socket.set_hwm(8)
        socket.bind(f"ipc://{folder}/bare")
        pipe.send(f"ipc://{folder}/bare")
        start, used, sent = time.monotonic(), time.process_time(), 0
        while time.monotonic() < start + seconds:
            socket.send_multipart(arrays, copy=False)
            sent += 1
        socket.send(b"")
        pipe.send((time.process_time() - used) / sent)
        pipe.recv()


def take_bare(address: str, path: Path, layers: int, tokens: int, pipe: Connection) -> Measured:
    specs = columns(layers, tokens)
    passes, start, used = 0, 0.0, 0.0
    with zmq.Context() as context, context.socket(zmq.PULL) as socket, h5py.File(path, "w", libver="latest") as file:
        socket.set_hwm(8)
        sets = [
            file.create_dataset(
                name, (0, *array.shape), array.dtype, maxshape=(None, *array.shape), chunks=(1, *array.shape)
            )
            for name, array in specs.items()
        ]
        socket.connect(address)
        while len(frames := socket.recv_multipart(copy=False)) > 1:
            if not passes:
                start, used = time.monotonic(), time.process_time()
            for dataset, spec, frame in zip(sets, specs.values(), frames, strict=True):
                dataset.resize(passes + 1, axis=0)
                dataset[passes] = np.frombuffer(frame.buffer, spec.dtype).reshape(spec.shape)
            passes += 1
        file.flush()
        took, used = time.monotonic() - start, time.process_time() - used
    path.unlink()
    return Measured(passes, took, used / passes + pipe.recv())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=[BARE, ROUTES, ATTACH, ENTROPIES],
        help="which; the first is what they are compared with",
    )
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for tokens in options.tokens:
        print(f"{options.layers} layers × {tokens:,} tokens a pass × top-{K}")
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            compare(Path(folder), (options.layers, tokens), options.seconds, options.rounds, options.kinds)


def compare(folder: Path, shape: tuple[int, int], seconds: float, rounds: int, kinds: Sequence[str]) -> None:
    """Measure all in turn, and print medians."""
    rates: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for name, found in rates.items():
            measured, events = measure(folder, shape, seconds, name), shape[0] * shape[1]
            found.append((measured.passes * events / measured.took / 1e6, 2 * events / measured.used / 1e6))
            print(
                f"  {name:18} {found[-1][0]:6.1f} million events/s; on two cores {found[-1][1]:6.1f}{measured.left_out}",
                flush=True,
            )
    for name, found in rates.items():
        walls, cores = zip(*found, strict=True)
        of_bare, of_bare_cores = (
            statistics.median(a[i] / b[i] for a, b in zip(found, rates[kinds[0]], strict=True)) for i in range(2)
        )
        print(
            f"  {name:18} median {statistics.median(walls):6.1f} million events/s, {of_bare:.2f} of {kinds[0]}; "
            f"on two cores {statistics.median(cores):.1f}, {of_bare_cores:.2f}"
        )


def measure(folder: Path, shape: tuple[int, int], seconds: float, name: str) -> Measured:
    """Run one kind once."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    if name == BARE:
        process = context.Process(target=send_bare, args=(theirs, *shape, seconds))
        process.start()
        found = take_bare(ours.recv(), folder / "bare.h5", *shape, ours)
        ours.send("end")
    else:
        process = context.Process(target=send, args=(theirs, *shape, name, seconds))
        process.start()
        found = take(ours.recv(), folder / "scratch", ours)
    process.join()
    return found


if __name__ == "__main__":
    main()
