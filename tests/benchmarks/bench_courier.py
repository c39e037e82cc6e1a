"""How many token-layer events a second get from the hooks to a sink that keeps nothing; the model itself costs nothing.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_courier [--layers 16] [--tokens 2048] [--experts 64] [--seconds 3]

An event is what one layer did with one token: 8 ids and weights, and where the router's logits are known, entropy and margin.
Routers and experts give back what was worked out before the clock started. The sink waits for nothing, the model waits for the
courier, as in a recording; so the slower of the two threads sets the rate. "Cores busy" is the processor time of the whole
process, model and hooks included; "courier alone" is the rate that its thread would reach on a core of its own.
"""

import argparse
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from moedesk.core.batch import RouteBatch
from moedesk.probe.record import Recording
from moedesk.probe.wanted import Wanted
from tests.benchmarks.bench_hooks import Null

K = 8


class Counting(Null):
    """Counts the passes that arrive."""

    passes = 0

    def append(self, batch: RouteBatch) -> None:
        self.passes += 1


class Router(nn.Module):
    """Ranks once, then gives the same again."""

    def __init__(self, tokens: int, experts: int, with_logits: bool) -> None:
        super().__init__()
        self.logits = torch.randn(tokens, experts)
        self.with_logits = with_logits
        self.known: tuple[Tensor, ...] | None = None

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        if self.known is None:
            weights, ids = self.logits.softmax(-1).topk(K)
            self.known = (self.logits, weights, ids) if self.with_logits else (weights, ids)
        return self.known


class Experts(nn.Module):
    def __init__(self, experts: int) -> None:
        super().__init__()
        self.num_experts = experts

    def forward(self, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        return hidden


class Block(nn.Module):
    def __init__(self, tokens: int, experts: int, with_logits: bool) -> None:
        super().__init__()
        self.gate = Router(tokens, experts, with_logits)
        self.experts = Experts(experts)

    def forward(self, hidden: Tensor) -> Tensor:
        *_, weights, ids = self.gate(hidden)
        return self.experts(hidden, ids, weights)


class Model(nn.Module):
    def __init__(self, layers: int, tokens: int, experts: int, with_logits: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(tokens, experts, with_logits) for _ in range(layers))
        self.hidden = torch.zeros(tokens, 1)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.hidden
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


def measure(model: Model, ids: Tensor, seconds: float, **wanted: Any) -> Iterator[tuple[str, float]]:
    """Yield events a second, and the shares of a core that went into them."""
    sink = Counting()
    with Recording(model, "unused.h5", None, None, Wanted(**wanted), sink=sink):
        model(ids)
        courier = next(thread for thread in threading.enumerate() if thread.name == "moedesk-courier")
        clock = time.pthread_getcpuclockid(courier.ident or 0)
        time.sleep(0.2)
        start, used, working = time.perf_counter(), time.process_time(), time.clock_gettime(clock)
        passes = 0
        while time.perf_counter() - start < seconds:
            model(ids)
            passes += 1
        while sink.passes <= passes:  # the first found the layers
            time.sleep(0.001)
        wall, used, working = (
            time.perf_counter() - start,
            time.process_time() - used,
            time.clock_gettime(clock) - working,
        )
        events = passes * len(model.layers) * ids.numel()
    yield "events a second", events / wall
    yield "of one core", used / wall
    yield "courier alone", events / working


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()
    ids = torch.randint(0, 1024, (1, arguments.tokens))
    print(f"{arguments.layers} layers × {arguments.tokens} tokens × top-{K} of {arguments.experts}")
    kinds: list[tuple[str, bool, dict[str, Any]]] = [
        ("ids, weights", False, {}),
        ("ids, weights, entropy, margin", True, {}),
        ("counts only", False, {"counts_only": True}),
    ]
    for kind, with_logits, wanted in kinds:
        model = Model(arguments.layers, arguments.tokens, arguments.experts, with_logits)
        with torch.no_grad():
            figures = dict(measure(model, ids, arguments.seconds, **wanted))
        print(
            f"{kind:30s} {figures['events a second'] / 1e6:6.1f} M events/s with {figures['of one core']:.2f} cores busy; "
            f"courier alone {figures['courier alone'] / 1e6:.1f} M events/s"
        )


if __name__ == "__main__":
    main()
