"""What attribution and other routes of one token cost, over all layers and experts of the sample model.

``python tests/benchmarks/bench_attribution.py [tokens]``: wall and processor time of each method, beside plain forwards of the
same tokens, in alternating runs.
"""

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from moedesk.core.resources import resource
from moedesk.probe.explaining.attribute import attribute
from moedesk.probe.explaining.counterfactual import counterfactual
from moedesk.probe.explaining.passage import passage_of_ids
from moedesk.probe.load import load

ROUNDS = 5


def main() -> None:
    """Print a line for each kind of question."""
    length = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    model, tokenizer = load("sample")
    text = resource("sample", "domains", "python", "01.txt").read_text(encoding="utf-8")
    ids = tokenizer(text).input_ids[: length + 1]
    passage = passage_of_ids(ids, -2, tokenizer)

    def forward() -> None:
        with torch.no_grad():
            model(torch.tensor([ids[:-1]]))

    def asked(method: Any) -> Callable[[], Any]:
        return lambda: attribute(model, passage, tokenizer, value="logprob", method=method)

    questions: dict[str, Callable[[], Any]] = {
        "a plain forward": forward,
        "direct": asked("direct"),
        "gradient": asked("gradient"),
        "ablation": asked("ablation"),
        "all methods": asked(("direct", "gradient", "ablation", "norm")),
        "80 other routes": lambda: counterfactual(model, passage, tokenizer),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in questions}
    for question in questions.values():
        question()
    for _ in range(ROUNDS):
        for name, question in questions.items():
            wall, processor = time.perf_counter(), time.process_time()
            question()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    base = median(processor for _, processor in times["a plain forward"])
    print(f"{len(passage.ids)} tokens, 6 layers × 16 experts, medians of {ROUNDS} alternating rounds")
    for name, pairs in times.items():
        wall, processor = (median(pair[which] for pair in pairs) for which in (0, 1))
        print(f"{name:16} {wall:6.3f} s wall  {processor:6.3f} s processor  {processor / base:6.1f} forwards")


if __name__ == "__main__":
    main()
