"""What hooks cost a decoding model: microseconds a hooked MoE layer, in the hooks themselves and over the whole pass.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_hooks [--layers 16] [--tokens 1] [--rounds 30] [--nnsight]

A random OLMoE (hidden 64, 64 experts, top-8), so small that hooks show. Copies of it that share their weights take turns within
each round, in a new order each time: no hooks; attached (ids, weights, entropy and margin to a sink that keeps nothing);
attached with recording off; and with --nnsight, where it is installed, an nnsight trace that saves the same values: ids, weights
and logits of each layer. Each turn is a prompt of 32 tokens, then 32 timed passes on its cache.

"In the layers' hooks" is the time inside the hook functions on routers and experts, added up from outside, pass by pass; "in all
hooks" has those on the model too, which open and close a pass and copy what the layers' hooks held. The tenth percentile is what
they cost when no other program gets in between. "Over the pass" is the median over rounds of the difference to the pass without
hooks of the same round, with the courier's thread beside the model.
"""

import argparse
import copy
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, OlmoeConfig, OlmoeForCausalLM, PreTrainedModel

from moedesk.core.batch import RouteBatch
from moedesk.core.model import ModelInfo
from moedesk.probe.attach import attach

PASSES = 32


class Null:
    """A sink that keeps nothing."""

    stopped = None

    def describe(self, model: ModelInfo) -> None: ...
    def append(self, batch: RouteBatch) -> None: ...
    def note(self, line: str) -> None: ...
    def close(self) -> None: ...


def build(layers: int) -> nn.Module:
    config = OlmoeConfig(
        vocab_size=1024, hidden_size=64, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=4, eos_token_id=2, num_experts=64, num_experts_per_tok=8, max_position_embeddings=4096,
    )  # fmt: skip
    torch.manual_seed(0)
    return OlmoeForCausalLM(config).eval()


def same_weights(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})


def turn(
    forward: Callable[..., Any], prompt: Callable[..., Any], tokens: int, spent: list[int]
) -> tuple[float, list[tuple[int, int]]]:
    """Seconds a pass, and nanoseconds in the layers' hooks and in all hooks of each."""
    cache = DynamicCache()
    prompt(torch.randint(0, 1024, (tokens, 32)), past_key_values=cache)
    ids = torch.randint(0, 1024, (PASSES, tokens, 1))
    inside = []
    start = time.perf_counter()
    for step in range(PASSES):
        spent[:] = 0, 0
        forward(ids[step], past_key_values=cache)
        inside.append((spent[0], sum(spent)))
    return (time.perf_counter() - start) / PASSES, inside


def nnsight_forward(model: nn.Module) -> Callable[..., Any]:
    import nnsight

    wrapped = nnsight.NNsight(model)

    def forward(ids: torch.Tensor, past_key_values: DynamicCache) -> None:
        with wrapped.trace(ids, past_key_values=past_key_values):
            saved = nnsight.save([])
            for layer in wrapped.model.layers:
                logits, weights, chosen = layer.mlp.gate.output
                saved.append((logits.clone(), weights.clone(), chosen.clone()))
        assert len(saved) == len(model.model.layers)

    return forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=1, help="sequences in the batch, of one new token each")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--nnsight", action="store_true")
    arguments = parser.parse_args()
    plain = build(arguments.layers)
    hooked, paused, traced = (same_weights(plain) for _ in range(3))
    kinds: dict[str, tuple[Callable[..., Any], nn.Module]] = {
        "no hooks": (plain, plain), "attached": (hooked, hooked), "recording off": (paused, paused),
    }  # fmt: skip
    if arguments.nnsight:
        kinds["nnsight"] = nnsight_forward(traced), traced
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    inside: dict[str, list[tuple[int, int]]] = {kind: [] for kind in kinds}
    with torch.no_grad(), clocked_hooks() as spent:
        attachments = [attach(model, sink=Null()) for model in (hooked, paused)]
        for forward, model in kinds.values():  # finds the layers
            turn(forward, model, arguments.tokens, spent)
        attachments[1].set_recording(False)
        before = attachments[0].counters
        for _ in range(arguments.rounds):
            for kind in random.sample(list(kinds), len(kinds)):
                seconds, nanoseconds = turn(*kinds[kind], arguments.tokens, spent)
                times[kind].append(seconds)
                inside[kind] += nanoseconds
        after = attachments[0].counters
        for attachment in attachments:
            attachment.detach()
    report(times, inside, arguments.layers)
    own = (after.hook_ns - before.hook_ns) / (after.passes - before.passes) / arguments.layers / 1e3
    print(f"the app is told {own:.1f} µs a layer (mean); {after.shed} passes shed, {after.dropped} dropped")


@contextmanager
def clocked_hooks() -> Iterator[list[int]]:
    """Add up the nanoseconds inside every forward hook registered within the block: of layers, and of what takes tokens."""
    spent = [0, 0]
    kept = {name: getattr(nn.Module, name) for name in ("register_forward_pre_hook", "register_forward_hook")}

    def clocking(register: Callable[..., object]) -> Callable[..., object]:
        def clocked_register(self: nn.Module, hook: Callable[..., object], **options: bool) -> object:
            place = isinstance(self, PreTrainedModel)

            def clocked_hook(*arguments: object) -> object:
                start = time.perf_counter_ns()
                result = hook(*arguments)
                spent[place] += time.perf_counter_ns() - start
                return result

            return register(self, clocked_hook, **options)

        return clocked_register

    for name, register in kept.items():
        setattr(nn.Module, name, clocking(register))
    try:
        yield spent
    finally:
        for name, register in kept.items():
            setattr(nn.Module, name, register)


def report(times: dict[str, list[float]], inside: dict[str, list[tuple[int, int]]], layers: int) -> None:
    plain = times["no hooks"]
    print(f"no hooks: {statistics.median(plain) * 1e3:.2f} ms a pass of {layers} layers; load {os.getloadavg()[0]:.1f}")
    for kind in times:
        if kind == "no hooks":
            continue
        added = [(mine - base) / layers * 1e6 for mine, base in zip(times[kind], plain, strict=True)]
        low, middle, high = statistics.quantiles(added, n=4)
        own = ""
        if kind != "nnsight":
            for place, where in enumerate(("in the layers' hooks", "in all hooks")):
                hooks = [nanoseconds[place] / layers / 1e3 for nanoseconds in inside[kind]]
                tenth = statistics.quantiles(hooks, n=10)[0]
                own += f"{where} {statistics.median(hooks):.1f} µs a layer (tenth percentile {tenth:.1f}); "
        print(f"{kind}: {own}over the pass {middle:+.0f} µs a layer (quartiles {low:+.0f} to {high:+.0f})")


if __name__ == "__main__":
    main()
