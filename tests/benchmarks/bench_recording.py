"""What recording costs a mid-size random OLMoE (hidden 512, 16 layers, 64 experts, top-8), and what it writes.

    python tests/benchmarks/bench_recording.py [--rounds 10] [--tokens 2048] [--decode]

Four ways take turns within each round, in a new order each time: no hooks; ids and weights (default columns, into a real file);
counts only; ``output_router_logits=True``. Printed are the median over rounds of the ratio to the run without hooks of the same
round, and its quartiles; then the same of the processor time of the whole process, which other programs disturb less. Only the
forwards are timed, with the threads that write running beside them; entering, leaving and the first pass, which finds the layers,
are not. ``--decode`` times steps of one token on a cache of 128 instead.

On a shared machine whole passes differ by more than a recording costs. ``--own`` therefore adds up what recording itself does in
a pass: the time inside its hooks, and the processor time of its threads, each as a share of the pass.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import DynamicCache, OlmoeConfig, OlmoeForCausalLM

import moedesk

Cost = tuple[float, float]
"""Wall time and processor time (all threads), in seconds."""

GOALS = {"ids + weights": 0.03, "counts only": 0.01}


def build(intermediate: int) -> OlmoeForCausalLM:
    config = OlmoeConfig(
        vocab_size=8192, hidden_size=512, intermediate_size=intermediate, num_hidden_layers=16, num_attention_heads=8,
        num_key_value_heads=8, eos_token_id=2, num_experts=64, num_experts_per_tok=8, max_position_embeddings=4096,
    )  # fmt: skip
    torch.manual_seed(0)
    return OlmoeForCausalLM(config).eval()


def prefill(model: OlmoeForCausalLM, tokens: int) -> Callable[..., Cost]:
    ids = torch.randint(0, 8192, (1, tokens))

    def run(**options: bool) -> Cost:
        start, used = time.perf_counter(), time.process_time()
        model(ids, use_cache=False, logits_to_keep=1, **options)
        return time.perf_counter() - start, time.process_time() - used

    return run


def decode(model: OlmoeForCausalLM) -> Callable[..., Cost]:
    ids = torch.randint(0, 8192, (1, 128))

    def run(**options: bool) -> Cost:
        cache = DynamicCache()
        model(ids, past_key_values=cache, logits_to_keep=1)
        start, used = time.perf_counter(), time.process_time()
        for step in range(16):
            model(ids[:, step : step + 1], past_key_values=cache, **options)
        return (time.perf_counter() - start) / 16, (time.process_time() - used) / 16

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=256)
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--own", action="store_true")
    arguments = parser.parse_args()
    if arguments.own and arguments.decode:
        parser.error("--own looks at one long pass; leave out --decode")
    model = build(arguments.intermediate)
    run = decode(model) if arguments.decode else prefill(model, arguments.tokens)
    if arguments.own:
        return report_own(model, run, arguments.rounds)
    kinds = ("no hooks", "ids + weights", "counts only", "output_router_logits")
    times: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    load: list[float] = []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "run.h5"
        run()
        for _ in range(arguments.rounds):
            load.append(float(Path("/proc/loadavg").read_text().split()[0]))
            for kind in random.sample(kinds, len(kinds)):
                times[kind].append(timed(kind, run, model, path))
        size = path.stat().st_size
    report(times, load)
    print(f"last file {size / 2**20:.1f} MiB", file=sys.stderr)
    return None


def timed(kind: str, run: Callable[..., Cost], model: OlmoeForCausalLM, path: Path) -> Cost:
    if kind in ("no hooks", "output_router_logits"):
        options = {"output_router_logits": True} if kind == "output_router_logits" else {}
        return run(**options)
    with moedesk.record(model, path, counts_only=kind == "counts only"):
        model(torch.randint(0, 8192, (1, 4)))
        return run()


def report(times: dict[str, list[Cost]], load: list[float]) -> None:
    plain = times["no hooks"]
    median = statistics.median(wall for wall, _ in plain)
    print(f"no hooks: median {median * 1e3:.1f} ms; load of the machine {min(load):.1f} to {max(load):.1f}")
    for kind, values in times.items():
        if kind == "no hooks":
            continue
        goal = f", goal < {GOALS[kind]:.0%}" if kind in GOALS else ""
        for place, measure in enumerate(("wall time", "processor time")):
            ratios = [cost[place] / base[place] - 1 for cost, base in zip(values, plain, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"{kind:21s} {measure:15s} {middle:+.2%} (quartiles {low:+.2%} to {high:+.2%}{goal})")


def report_own(model: OlmoeForCausalLM, run: Callable[..., Cost], rounds: int) -> None:
    """Print the median share of a pass that hooks and threads of a recording take."""
    for kind, goal in GOALS.items():
        shares = []
        for _ in range(rounds):
            with (
                tempfile.TemporaryDirectory() as folder,
                torch.no_grad(),
                timed_hooks() as spent,
                moedesk.record(model, Path(folder) / "run.h5", counts_only=kind == "counts only"),
            ):
                model(torch.randint(0, 8192, (1, 4)))
                written, spent[0] = writing_seconds(), 0.0
                wall, _ = run()
                shares.append((spent[0] / wall, (writing_seconds() - written) / wall, wall))
        hooks, threads, wall = (statistics.median(values) for values in zip(*shares, strict=True))
        print(
            f"{kind:14s} hooks {hooks:.3%}, threads {threads:.3%}, together {hooks + threads:.3%} "
            f"of a pass of {wall * 1e3:.0f} ms (goal < {goal:.0%})"
        )


@contextmanager
def timed_hooks() -> Iterator[list[float]]:
    """Add up the seconds inside every forward hook that is registered within the block."""
    spent = [0.0]
    module = torch.nn.Module
    kept = {name: getattr(module, name) for name in ("register_forward_pre_hook", "register_forward_hook")}

    def timing(register: Callable[..., object]) -> Callable[..., object]:
        def timed_register(self: torch.nn.Module, hook: Callable[..., object], **options: bool) -> object:
            def timed_hook(*arguments: object) -> object:
                start = time.perf_counter()
                result = hook(*arguments)
                spent[0] += time.perf_counter() - start
                return result

            return register(self, timed_hook, **options)

        return timed_register

    for name, register in kept.items():
        setattr(module, name, timing(register))
    try:
        yield spent
    finally:
        for name, register in kept.items():
            setattr(module, name, register)


def writing_seconds() -> float:
    """Return the processor time of the recording's threads, once they have nothing left to do."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("moedesk") and thread.ident]
    before = -1.0
    while True:
        now = sum(time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in threads)
        if now == before:
            return now
        before = now
        time.sleep(0.6)  # longer than the writer waits between two commits


if __name__ == "__main__":
    main()
