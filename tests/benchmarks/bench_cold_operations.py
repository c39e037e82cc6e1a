"""What small operations cost in the middle of a model's pass, and what they cost alone, again and again.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_cold_operations

Between two of them a layer of the sample model runs for one token, as in a pass: what it doesn't use itself is then not in the
processor's caches any more. Operations take turns in a new order each round. Printed are the thirtieth percentiles, less what
an empty call takes, and the least of many turns of a thousand calls.
"""

import random
import time
from collections.abc import Callable
from typing import Any

import torch

from moedesk.probe.load import load

ROUNDS = 600


def operations() -> dict[str, Callable[[], Any]]:
    scores, row, ids = torch.randn(1, 16), torch.zeros(1, 16), torch.tensor([[3, 5]])
    mask, number = torch.zeros(1, 16, dtype=torch.bool), torch.tensor(-torch.inf)
    mask[0, 3] = True
    return {
        "nothing": lambda: None,
        "a function of Python": lambda: (lambda: None)(),
        "add": lambda: scores + row,
        "add a number": lambda: scores + 0.5,
        "divide": lambda: scores / 1.5,
        "masked_fill": lambda: scores.masked_fill(mask, -torch.inf),
        "where": lambda: torch.where(mask, number, scores),
        "gather": lambda: scores.gather(-1, ids),
        "softmax": lambda: scores.softmax(-1),
        "topk": lambda: torch.topk(scores, 2, dim=-1),
        "tolist": lambda: ids.tolist(),
        "equal": lambda: torch.equal(ids, ids),
        "tensor": lambda: torch.tensor([[3, 5]]),
    }


@torch.no_grad()
def main() -> None:
    model = load("sample")[0]
    layer, hidden = model.model.layers[3], torch.randn(1, 1, 128)
    positions = model.model.rotary_emb(hidden, torch.zeros(1, 1, dtype=torch.long))
    every = operations()
    cold: dict[str, list[int]] = {name: [] for name in every}
    for _ in range(ROUNDS):
        for name in random.sample(list(every), len(every)):
            layer(hidden, position_embeddings=positions, attention_mask=None)
            start = time.perf_counter_ns()
            every[name]()
            cold[name].append(time.perf_counter_ns() - start)
    empty = sorted(cold["nothing"])[ROUNDS * 3 // 10]
    print(f"{'µs a call':<24}{'in a pass':>10}{'alone':>10}")
    for name, function in every.items():
        print(f"{name:<24}{(sorted(cold[name])[ROUNDS * 3 // 10] - empty) / 1e3:>10.1f}{alone(function):>10.1f}")


def alone(function: Callable[[], Any]) -> float:
    """Microseconds of a call among a thousand, the least of ten turns."""
    turns = []
    for _ in range(10):
        start = time.perf_counter_ns()
        for _ in range(1000):
            function()
        turns.append(time.perf_counter_ns() - start)
    return min(turns) / 1e6


if __name__ == "__main__":
    main()
