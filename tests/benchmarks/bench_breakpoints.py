"""What a breakpoint that never matches costs, and that none is left after it is gone: ratios of alternating runs.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_breakpoints [--rounds 15]

The sample model, attached to a sink that keeps nothing. In each round, in a new order: no breakpoint; one that could match at one
layer; three that could match at every layer: by an expert's number, by a margin, which has to be worked out, and by a token; the
same deactivated; all cleared. Each turn is a prompt of 128 tokens and 24 decode passes, in CPU time of the model's thread.
The ratios are medians (quartiles) over rounds against the turn without a breakpoint in the same round.
"""

import argparse
import random
import statistics
import time
from typing import Any

import torch
from transformers import DynamicCache

from moedesk.core.breakpoint import Breakpoint
from moedesk.probe.attach import attach
from moedesk.probe.breaking.breakpoints import Breakpoints
from moedesk.probe.load import load
from tests.benchmarks.bench_hooks import Null

NONE, GONE, OFF = "none", "cleared", "deactivated"
VARIANTS = {
    NONE: "",
    "one layer": "layer:2 margin<-1",
    "all layers, an expert that gets nothing": "expert:15 weight>2",
    "all layers, a margin": "margin<-1",
    "all layers, a token": "id:2047",
    OFF: "margin<-1",
    GONE: "",
}
PASSES = 24


def turn(model: Any, prompt: torch.Tensor, step: torch.Tensor) -> tuple[float, float]:
    """CPU seconds of the prompt, and of a decode pass."""
    cache = DynamicCache()
    began = time.thread_time()
    model(prompt, past_key_values=cache)
    between = time.thread_time()
    for _ in range(PASSES):
        model(step, past_key_values=cache)
    return between - began, (time.thread_time() - between) / PASSES


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    torch.set_num_threads(1)
    model, _ = load("sample")
    attachment = attach(model, sink=Null())
    breakpoints = Breakpoints({}, lambda: 0, lambda topic, value, stream: None)
    breakpoints.attach(attachment)
    prompt, step = torch.randint(0, 2047, (1, 128)), torch.randint(0, 2047, (1, 1))
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    with torch.no_grad():
        turn(model, prompt, step)
        for _ in range(rounds):
            for name in random.sample(list(VARIANTS), len(VARIANTS)):
                placed = breakpoints.add(Breakpoint(VARIANTS[name])) if VARIANTS[name] else None
                breakpoints.active = name != OFF
                if name == GONE:
                    breakpoints.add(Breakpoint("margin<-1"))
                    model(step)
                    breakpoints.clear()
                spent[name].append(turn(model, prompt, step))
                assert placed is None or placed.hits == 0
                breakpoints.clear()
    attachment.detach()
    for place, what in enumerate(("prompt of 128", "decode pass")):
        bare = [times[place] for times in spent[NONE]]
        print(f"{what}: {statistics.median(bare) * 1e3:.2f} ms of CPU without a breakpoint")
        for name, times in spent.items():
            ratios = [one[place] / other for one, other in zip(times, bare, strict=True)]
            quarters = statistics.quantiles(ratios, n=4) if rounds > 1 else [ratios[0]] * 3
            print(f"  {name:42} × {quarters[1]:.3f} ({quarters[0]:.3f} to {quarters[2]:.3f})")


if __name__ == "__main__":
    main()
