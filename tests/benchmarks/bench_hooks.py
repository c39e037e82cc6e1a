"""What hooks cost a decoding model: microseconds a hooked MoE layer, in the hooks themselves and over the whole pass.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_hooks [--layers 16] [--tokens 1] [--rounds 30] [--nnsight] [--logits]

A random OLMoE (hidden 64, 64 experts, top-8), so small that hooks show. Copies of it that share their weights take turns within
each round, in a new order each time: no hooks; attached (ids, weights, entropy and margin to a sink that keeps nothing, the courier's
thread beside the model); attached with recording off; and, where nnsight is installed, an nnsight trace that saves the same
values: ids, weights and logits of each layer. Each turn is a prompt of 32 tokens, then 32 timed passes on its cache.

"In the hooks" is the time inside every hook function, added up from outside; it includes waiting for the interpreter's lock while
the courier works. "Over the pass" is the median over rounds of the difference to the pass without hooks of the same round.
"""

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, OlmoeConfig, OlmoeForCausalLM

from moedesk.core.batch import RouteBatch
from moedesk.core.model import ModelInfo
from moedesk.probe.attach import attach
from tests.benchmarks.bench_recording import timed_hooks

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


def turn(forward: Callable[..., Any], prompt: Callable[..., Any], tokens: int) -> float:
    """Seconds a pass."""
    cache = DynamicCache()
    prompt(torch.randint(0, 1024, (tokens, 32)), past_key_values=cache)
    ids = torch.randint(0, 1024, (PASSES, tokens, 1))
    start = time.perf_counter()
    for step in range(PASSES):
        forward(ids[step], past_key_values=cache)
    return (time.perf_counter() - start) / PASSES


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
    parser.add_argument("--logits", action="store_true", help="keep the logits too")
    arguments = parser.parse_args()
    plain = build(arguments.layers)
    hooked, paused = same_weights(plain), same_weights(plain)
    kinds: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "no hooks": (plain, plain), "attached": (hooked, hooked), "recording off": (paused, paused),
    }  # fmt: skip
    if arguments.nnsight:
        traced = same_weights(plain)
        kinds["nnsight"] = nnsight_forward(traced), traced
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    inside: dict[str, list[float]] = {kind: [] for kind in kinds}
    with timed_hooks() as spent, torch.no_grad():
        attachments = [attach(model, sink=Null(), logits=arguments.logits) for model in (hooked, paused)]
        for forward, prompt in kinds.values():  # finds the layers
            turn(forward, prompt, arguments.tokens)
        attachments[1].set_recording(False)
        before = attachments[0].counters
        for _ in range(arguments.rounds):
            for kind in random.sample(list(kinds), len(kinds)):
                spent[0] = 0.0
                with nullcontext():
                    times[kind].append(turn(*kinds[kind], arguments.tokens))
                inside[kind].append(spent[0] / (PASSES + 1))
        after = attachments[0].counters
        for attachment in attachments:
            attachment.detach()
    report(times, inside, arguments.layers)
    own = (after.hook_ns - before.hook_ns) / (after.passes - before.passes) / arguments.layers / 1e3
    print(f"by its own clock: {own:.1f} µs a layer; {after.shed} passes shed, {after.dropped} dropped")


def report(times: dict[str, list[float]], inside: dict[str, list[float]], layers: int) -> None:
    plain = times["no hooks"]
    print(f"no hooks: {statistics.median(plain) * 1e3:.2f} ms a pass of {layers} layers")
    for kind in times:
        if kind == "no hooks":
            continue
        hook = statistics.median(inside[kind]) / layers * 1e6
        added = [(mine - base) / layers * 1e6 for mine, base in zip(times[kind], plain, strict=True)]
        low, middle, high = statistics.quantiles(added, n=4)
        own = f"{hook:6.1f} µs a layer in the hooks, " if kind != "nnsight" else ""
        print(f"{kind:14s} {own}{middle:+7.1f} µs a layer over the pass (quartiles {low:+.1f} to {high:+.1f})")


if __name__ == "__main__":
    main()
