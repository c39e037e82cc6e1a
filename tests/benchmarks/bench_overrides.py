"""What overrides cost a pass: alternating runs without any, with each kind, and after all are gone.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_overrides [--rounds 20] [--layers all] [--seconds 12]

The sample model (6 layers, 16 experts, top-2), and a random OLMoE (hidden 512, 8 layers, 64 experts, top-8), with a prompt of 128
tokens and with one token on a full cache. Times are of the thread's CPU, since other programs share the machine; each turn takes
all ways in a new order. Printed are the median of the ratio to no override in the same round, and its quartiles; each of
the four tables takes as many rounds as fit into --seconds, so that all is done within a minute.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from moedesk.core.override import Override, OverrideKind
from moedesk.probe.load import load
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of


def larger() -> Any:
    config = OlmoeConfig(
        vocab_size=1024, hidden_size=512, intermediate_size=256, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=8, eos_token_id=2, num_experts=64, num_experts_per_tok=8, max_position_embeddings=4096,
    )  # fmt: skip
    torch.manual_seed(0)
    return OlmoeForCausalLM(config).eval()


def ways(layers: tuple[int, ...]) -> dict[str, Override]:
    return {
        "ablate": Override(OverrideKind.ABLATE, layers, (3,)),
        "ablate, columns": Override(OverrideKind.ABLATE, layers, (3,), columns=(0, 9999)),
        "swap": Override(OverrideKind.SWAP, layers, (3, 4)),
        "exclude": Override(OverrideKind.EXCLUDE, layers, (3,)),
        "bias": Override(OverrideKind.BIAS, layers, (3,), 0.5),
        "force": Override(OverrideKind.FORCE, layers, (3,)),
        "temperature": Override(OverrideKind.TEMPERATURE, layers, value=1.5),
    }


def turn(forward: Callable[[], Any], passes: int) -> float:
    """CPU seconds a pass."""
    forward()
    start = time.thread_time()
    for _ in range(passes):
        forward()
    return (time.thread_time() - start) / passes


@torch.no_grad()
def measure(
    name: str, model: Any, rows: int, layers: tuple[int, ...], rounds: int, only: list[str] | None, seconds: float
) -> None:
    ids = torch.randint(3, 1000, (1, rows), generator=torch.Generator().manual_seed(0))
    past = None
    if rows == 1:
        past = model(torch.randint(3, 1000, (1, 128)), use_cache=True).past_key_values

    def forward() -> None:
        model(ids, past_key_values=past, use_cache=past is not None)
        if past is not None:
            past.crop(-1)

    overrides: Overrides = overrides_of(model)
    kinds = {kind: override for kind, override in ways(layers).items() if only is None or kind in only}
    passes = 3 if rows > 1 else 8
    base = turn(forward, passes)
    ratios: dict[str, list[float]] = {kind: [] for kind in (*kinds, "after all are gone")}
    end = time.monotonic() + seconds
    for done in range(rounds):
        if done > 1 and time.monotonic() > end:  # quartiles need two
            break
        order = [*ratios]
        random.shuffle(order)
        plain = turn(forward, passes)
        for kind in order:
            if kind in kinds:
                overrides.add(kinds[kind])
            took = turn(forward, passes)
            overrides.close()
            again = turn(forward, passes)
            ratios[kind].append(took / ((plain + again) / 2) - 1)
            plain = again
    where = "all layers" if not layers else f"{len(layers)} layer"
    passed = f"{rows} token{'s' * (rows > 1)} a pass ({base * 1e3:.1f} ms CPU)"
    print(f"\n{name}, {passed}, {where}, {len(ratios['after all are gone'])} rounds")
    for kind, found in ratios.items():
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"  {kind:<20} {middle:+7.2%}   ({low:+.2%} to {high:+.2%})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=12.0, help="at most, for each table")
    parser.add_argument("--layers", choices=["one", "all"], default="all")
    parser.add_argument("--model", choices=["sample", "larger"])
    parser.add_argument("--rows", type=int, choices=[1, 128])
    parser.add_argument("--kinds", nargs="*", help="of these only")
    arguments = parser.parse_args()
    layers = () if arguments.layers == "all" else (2,)
    for name in ("sample", "larger") if arguments.model is None else (arguments.model,):
        model: Any = load("sample")[0] if name == "sample" else larger()
        for rows in (128, 1) if arguments.rows is None else (arguments.rows,):
            measure(name, model, rows, layers, arguments.rounds, arguments.kinds, arguments.seconds)


if __name__ == "__main__":
    main()
