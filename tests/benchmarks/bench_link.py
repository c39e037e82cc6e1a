"""What the link moves from one process to another, beside a bare pyzmq PUSH/PULL loop that moves the same buffers.

    python tests/benchmarks/bench_link.py [--rounds 5] [--seconds 1.5]

An event is one token at one layer, with k = 8 experts. In each round the ways take turns, in a new order: bare pyzmq with the
columns of a pass in one buffer, ready made, and the link with the columns as a probe has them, an array a layer and column. Both
without and with CURVE. Sent are prefill passes (16 layers × 2048 tokens: ids int8, weights, entropy, margin float32, flags) and
decode passes (48 layers of 512 experts, one token). The sender never has more than 48 MiB on its way, so that nothing is shed.
Then, at 100 passes a second, the time from ``append`` to ``arrived``.
"""

import argparse
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import zmq

from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN, expert_dtype
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.link.client import LinkClient
from moedesk.link.endpoint import Endpoint
from moedesk.link.keys import KeyPair
from moedesk.link.server import LinkServer

ON_ITS_WAY = 48 << 20
SHAPES = {"prefill": (16, 64, 2048), "decode": (48, 512, 1)}


def make_batch(layers: int, experts: int, tokens: int) -> RouteBatch:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, experts, (layers, tokens, 8)).astype(expert_dtype(experts))
    floats = rng.random((10, layers, tokens), np.float32)
    weights = np.ascontiguousarray(floats[:8].transpose(1, 2, 0))
    flags = np.zeros((layers, tokens), np.uint8)
    counts = [np.bincount(row.ravel(), minlength=experts).astype(np.int64) for row in ids]
    routes = tuple(
        LayerRoutes(n, counts[n], ids[n], weights[n], floats[8, n], floats[9, n], flags[n]) for n in range(layers)
    )
    header = np.zeros((), PASS)
    return RouteBatch(header, {"main": np.zeros(tokens, TOKEN)}, routes)


def model_of(layers: int, experts: int) -> ModelInfo:
    return ModelInfo(
        "bench", "Bench", tuple(LayerInfo(f"layers.{n}", "Moe", experts, 8, place=n) for n in range(layers))
    )


class Counting:
    """A receiver that counts what arrives, and when it was sent."""

    def __init__(self, done: Callable[[], None]) -> None:
        self.passes = 0
        self.delays: list[int] = []
        self.last = 0.0
        self.done = done

    def arrived(self, stream: int, batch: RouteBatch) -> None:
        self.passes += 1
        self.last = time.perf_counter()
        self.delays.append(time.time_ns() - int(batch.header["t0_ns"]))

    def ended(self, stream: int) -> None:
        self.done()

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values: None


def take_link(pipe: Connection) -> None:
    """In the receiving process: report passes, end time, processor time and delays of each stream."""
    while (asked := pipe.recv()) is not None:
        address, server_key, keys = asked
        receiver = Counting(lambda: pipe.send("ended"))
        used = time.process_time()
        client = LinkClient(Endpoint(address, server_key), receiver, keys)  # type: ignore[arg-type]
        pipe.recv()
        pipe.send((receiver.passes, receiver.last, time.process_time() - used, receiver.delays))
        client.close()


def take_bare(pipe: Connection) -> None:
    """The same for PUSH/PULL; the sender's last message is empty."""
    while (asked := pipe.recv()) is not None:
        address, server_key, keys = asked
        context = zmq.Context()
        socket = context.socket(zmq.PULL)
        if server_key:
            socket.curve_serverkey = server_key.encode()
            socket.curve_publickey, socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
        socket.connect(address)
        passes, used, last = 0, time.process_time(), 0.0
        pipe.send("ready")
        while len(frames := socket.recv_multipart(copy=False)) == 2:
            np.frombuffer(frames[1].buffer, np.uint8)
            passes, last = passes + 1, time.perf_counter()
        pipe.send((passes, last, time.process_time() - used, []))
        socket.close()
        context.term()


def send_link(pipe: Connection, batch: RouteBatch, curve: bool, seconds: float, rate: float = 0.0) -> Mapping[str, Any]:
    server, keys = LinkServer(), KeyPair.make()
    endpoint = server.listen_tcp() if curve else server.listen_local()
    if curve:
        server.allow(keys.public)
    stream = server.open_stream("bench")
    stream.describe(model_of(len(batch.layers), len(batch.layers[0].counts)))
    pipe.send((endpoint.address, endpoint.server_key, keys))
    while not server.clients:
        time.sleep(0.001)
    start, used, sent = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() < start + seconds:
        if rate:
            time.sleep(max(0.0, start + sent / rate - time.perf_counter()))
        batch.header["t0_ns"] = time.time_ns()
        stream.append(batch)
        sent += 1
        while stream.counters.queued_bytes > ON_ITS_WAY - (16 << 20):
            time.sleep(0.0005)
    counters = stream.counters
    stream.close()
    assert pipe.recv() == "ended"
    pipe.send("report")
    passes, last, taking, delays = pipe.recv()
    sending = time.process_time() - used
    server.close()
    assert passes == sent, (passes, sent)
    assert counters.shed == counters.dropped == 0, counters
    return {"passes": passes, "seconds": last - start, "sending": sending, "taking": taking, "delays": delays}


def send_bare(pipe: Connection, batch: RouteBatch, curve: bool, seconds: float) -> Mapping[str, Any]:
    columns = [
        getattr(layer, name) for layer in batch.layers for name in ("experts", "weights", "entropy", "margin", "flags")
    ]
    parts = [batch.tokens["main"], *(layer.counts for layer in batch.layers), *columns]
    buffer = np.concatenate([part.reshape(-1).view(np.uint8) for part in parts])
    context, keys, server = zmq.Context(), KeyPair.make(), KeyPair.make()
    socket = context.socket(zmq.PUSH)
    socket.sndhwm = max(1, ON_ITS_WAY // 2 // buffer.nbytes)
    if curve:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = server.public.encode(), server.secret.encode()
    socket.bind("tcp://127.0.0.1:*" if curve else "ipc://*")
    pipe.send((socket.last_endpoint.decode(), server.public if curve else "", keys))
    assert pipe.recv() == "ready"
    start, used, sent, header = time.perf_counter(), time.process_time(), 0, b"x" * 200
    while time.perf_counter() < start + seconds:
        socket.send_multipart([header, buffer], copy=False)
        sent += 1
    socket.send(b"")
    passes, last, taking, _ = pipe.recv()
    sending = time.process_time() - used
    socket.close()
    context.term()
    assert passes == sent, (passes, sent)
    return {"passes": passes, "seconds": last - start, "sending": sending, "taking": taking}


def nbytes(batch: RouteBatch) -> int:
    return sum(
        getattr(layer, name).nbytes
        for layer in batch.layers
        for name in ("experts", "weights", "entropy", "margin", "flags")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    pipes, children = {}, []
    for name, take in (("bare", take_bare), ("link", take_link)):
        pipes[name], there = spawn.Pipe()
        children.append(spawn.Process(target=take, args=(there,)))
        children[-1].start()
    for shape, (layers, experts, tokens) in SHAPES.items():
        batch = make_batch(layers, experts, tokens)
        for curve in (False, True):
            compare(shape, batch, curve, pipes, arguments.rounds, arguments.seconds)
    for shape, (layers, experts, tokens) in SHAPES.items():
        for curve in (False, True):
            found = send_link(pipes["link"], make_batch(layers, experts, tokens), curve, 3.0, rate=100)
            delays = np.percentile(np.array(found["delays"]) / 1e6, (50, 95, 99, 100))
            way = "tcp + CURVE" if curve else "ipc"
            print(f"{shape:8} {way:12} latency at 100/s, ms: median {delays[0]:.2f}, 95 % {delays[1]:.2f}, ", end="")
            print(f"99 % {delays[2]:.2f}, most {delays[3]:.2f}")
    for pipe, child in zip(pipes.values(), children, strict=True):
        pipe.send(None)
        child.join()


def compare(
    shape: str, batch: RouteBatch, curve: bool, pipes: Mapping[str, Connection], rounds: int, seconds: float
) -> None:
    rates: dict[str, list[float]] = {"bare": [], "link": []}
    costs: dict[str, list[tuple[float, float]]] = {"bare": [], "link": []}
    for _ in range(rounds):
        for name in random.sample(("bare", "link"), 2):
            send = send_bare if name == "bare" else send_link
            found = send(pipes[name], batch, curve, seconds)
            rates[name].append(found["passes"] / found["seconds"])
            costs[name].append((found["sending"] / found["passes"], found["taking"] / found["passes"]))
    events = len(batch.layers) * len(batch.tokens["main"])
    ratio = statistics.median(link / bare for link, bare in zip(rates["link"], rates["bare"], strict=True))
    print(f"{shape:8} {'tcp + CURVE' if curve else 'ipc':12} link at {ratio:.2f} of bare pyzmq")
    for name in rates:
        rate = statistics.median(rates[name])
        send_ms, take_ms = (1e3 * statistics.median(cost) for cost in zip(*costs[name], strict=True))
        print(
            f"    {name}: {rate:9,.0f} passes/s {rate * events / 1e6:7.2f} M events/s {rate * nbytes(batch) / 1e6:7,.0f} MB/s; "
            f"processor a pass: {send_ms:.3f} ms sending, {take_ms:.3f} ms taking"
        )


if __name__ == "__main__":
    main()
