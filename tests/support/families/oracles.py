"""What the odd families' experts do, by hand from their sources: for each block its ids, weights, output and a replay."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.families.seen import Seen

Oracle = Callable[[str, nn.Module, Any, Any], Seen]
"""Takes path, block, its input and its output."""


def watcher(kind: str, oracle: Oracle) -> Any:
    """A context in which the calls of all blocks of a class are seen."""

    @contextmanager
    def watching(model: nn.Module) -> Iterator[list[Seen]]:
        seen: list[Seen] = []
        handles = [
            module.register_forward_hook(
                lambda module, args, kwargs, output, path=path: seen.append(
                    oracle(path, module, {**dict(enumerate(args)), **kwargs}, output)
                ),
                with_kwargs=True,
            )
            for path, module in model.named_modules()
            if type(module).__name__ == kind
        ]
        yield seen
        for handle in handles:
            handle.remove()

    return watching


def by_hand(run_one: Callable[[int, Tensor], Tensor], rows: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Every expert on every row, weighted and summed."""

    def run(ids: Tensor, weights: Tensor) -> Tensor:
        total: Any = 0
        for slot in range(ids.shape[1]):
            outputs = torch.stack(
                [
                    run_one(int(i), row[None])[0] if i >= 0 else 0 * run_one(0, row[None])[0]
                    for i, row in zip(ids[:, slot], rows, strict=True)
                ]
            )
            total = total + weights[:, slot : slot + 1] * outputs
        return total

    return run


@torch.no_grad()
def llama4(path: str, block: Any, given: Any, output: Any) -> Seen:
    """The weight is the sigmoid of the logit, and multiplies the row before it goes into the expert."""
    rows = given[0].detach().reshape(-1, 32)
    logits = rows @ block.router.weight.T
    best, ids = logits.topk(2)

    def run(ids: Tensor, weights: Tensor) -> Tensor:
        total = torch.zeros_like(rows)
        for n, row in enumerate(rows):
            for i, weight in zip(ids[n].tolist(), weights[n], strict=True):
                gate, up = (weight * row @ block.experts.gate_up_proj[i]).chunk(2)
                total[n] += (up * torch.nn.functional.silu(gate)) @ block.experts.down_proj[i]
        return total

    routed = output[0].reshape(-1, 32) - block.shared_expert(rows)
    return Seen(path + ".experts", block.experts, ids, best.sigmoid(), routed, run, linear=False, rows=rows)


@torch.no_grad()
def jetmoe(path: str, block: Any, given: Any, output: Any) -> Seen:
    """The feed-forward part: a gated layer per expert, one bias behind all."""
    rows = given[0].detach().reshape(-1, 32)
    best, ids = (rows @ block.router.layer.weight.T).topk(2)

    def one(expert: int, row: Tensor) -> Tensor:
        gate, up = (row @ block.input_linear.weight[expert].T).chunk(2, dim=-1)
        return (torch.nn.functional.silu(gate) * up) @ block.output_linear.weight[expert].T

    return Seen(
        path, block.output_linear, ids, best.softmax(-1), output.reshape(-1, 32) - block.bias, by_hand(one, rows)
    )


@contextmanager
def jetmoe_both(model: nn.Module) -> Iterator[list[Seen]]:
    """Attention's experts are reached by a method, not by a call: the method is replaced for the time being."""
    with watcher("JetMoeMoE", jetmoe)(model) as seen:
        blocks = {path: module for path, module in model.named_modules() if type(module).__name__ == "JetMoeMoA"}
        for path, block in blocks.items():
            block.map = watched_map(path, block, seen)
        yield seen
        for block in blocks.values():
            del block.map


def watched_map(path: str, block: Any, seen: list[Seen]) -> Any:
    """What ``map`` does: the queries of the chosen experts, one a slot."""
    plain = block.map

    def mapped(hidden: Tensor) -> Any:
        queries, logits, topology = plain(hidden)
        with torch.no_grad():
            rows = hidden.detach().reshape(-1, 32)
            best, ids = (rows @ block.router.layer.weight.T).topk(2)
            weights = best.softmax(-1)
            mixed = (weights.unsqueeze(-1) * queries.reshape(len(rows), 2, -1)).sum(1)
            run = by_hand(lambda expert, row: row @ block.input_linear.weight[expert].T, rows)
        seen.append(Seen(path, None, ids, weights, mixed.detach(), run))
        return queries, logits, topology

    return mapped


@torch.no_grad()
def doge(path: str, block: Any, given: Any, output: Any) -> Seen:
    """All pairs of keys, added; an expert is one neuron."""
    rows = given[0].detach().reshape(-1, 32)
    x, y = block.router_gate(given[0]).view(2, len(rows), -1)
    best, ids = (x.unsqueeze(2) + y.unsqueeze(1)).flatten(1).topk(2)
    shared = block.down_proj(block.act_fn(block.gate_proj(rows)) * block.up_proj(rows))

    def one(expert: int, row: Tensor) -> Tensor:
        return torch.nn.functional.silu(row @ block.down_embed.weight[expert])[:, None] * block.up_embed.weight[expert]

    routed = output[0].reshape(-1, 32) - shared
    return Seen(path, block.up_embed, ids, best.softmax(-1), routed, by_hand(one, rows), rows=rows)


@torch.no_grad()
def nllb_moe(path: str, block: Any, given: Any, output: Any) -> Seen:
    """What runs: for each place of the (N, E) mask the expert whose number stands there, with the weight at that place."""
    rows = given[0].detach().reshape(-1, 32)
    mask, probabilities, _ = block.router(rows, given.get("padding_mask"))
    weights, places = probabilities.sort(-1, descending=True)
    assert not weights[:, 2:].any()
    ids = mask.gather(1, places)[:, :2].masked_fill(weights[:, :2] == 0, -1)
    output = output.reshape(-1, 32) / (1 - block.experts.moe_token_dropout)
    run = by_hand(lambda expert, row: block.experts[f"expert_{expert}"](row), rows)
    return Seen(path + ".experts", block.experts, ids, weights[:, :2], output, run, rows=rows)


@torch.no_grad()
def vitpose(path: str, block: Any, given: Any, output: Any) -> Seen:
    """The index of the image is the expert of all its patches; its output is the last part of the block's."""
    hidden = given[0].detach()
    ids = given["indices"].reshape(-1, 1).repeat_interleave(hidden.shape[1], 0)
    rows = block.act(block.fc1(hidden)).reshape(len(ids), -1)
    run = by_hand(lambda expert, row: block.experts[expert](row), rows)
    routed = output[..., -block.part_features :].reshape(len(ids), -1)
    return Seen(path + ".experts", block.experts, ids, torch.ones(ids.shape), routed, run, rows=rows)


@torch.no_grad()
def zaya(path: str, block: Any, given: Any, output: Any) -> Seen:
    """Skip is the last class of the router; its output is zero."""
    rows = given[0].detach().reshape(-1, 32)
    logits = block.gate(given[0], router_states=given.get(1, given.get("prev_router_hidden_states")))[0]
    shares = logits.softmax(-1)
    ids = (shares + block.gate.balancing_biases).argmax(-1, keepdim=True)
    weights = shares.gather(1, ids).masked_fill(ids == 8, 0)
    assert 0 < (ids == 8).sum() < len(ids)

    def one(expert: int, row: Tensor) -> Tensor:
        if expert == 8:
            return torch.zeros_like(row)
        gate, up = (row @ block.experts.gate_up_proj[expert].T).chunk(2, dim=-1)
        return (torch.nn.functional.silu(gate) * up) @ block.experts.down_proj[expert].T

    return Seen(path + ".experts", block.experts, ids, weights, output[0].reshape(-1, 32), by_hand(one, rows))
