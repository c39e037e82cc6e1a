"""Other routes and ablations against models whose own modules were edited by hand, so that they choose so by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moedesk.core.attribution import Counterfactual
from moedesk.probe.explaining.attribute import attribute
from moedesk.probe.explaining.counterfactual import counterfactual
from moedesk.probe.explaining.passage import passage_of_ids
from tests.support.families import build

TOKEN, NEXT = 11, 57
SOURCE = [23, 80, 5, 42]


def loss_of(model: Any, **inputs: Any) -> float:
    given = {name: torch.tensor([ids]) for name, ids in inputs.items()}
    with torch.no_grad():
        return -float(model(**given).logits[0, -1].double().log_softmax(-1)[NEXT])


@contextmanager
def raised(bias: Tensor, experts: list[int]) -> Iterator[None]:
    """A selection bias that makes a router choose these experts, and weigh them by their own scores."""
    before = bias.detach().clone()
    with torch.no_grad():
        bias[experts] += 100
    try:
        yield
    finally:
        with torch.no_grad():
            bias.copy_(before)


def routes_of(found: Counterfactual, place: int) -> list[int]:
    return np.flatnonzero((found.layers == place) & ~found.own).tolist()


BIASES = {
    "deepseek_v3": ["model.layers.1.mlp.gate", "model.layers.2.mlp.gate"],  # groups of experts
    "minimax_m2": ["model.layers.0.mlp", "model.layers.1.mlp"],
}


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
@pytest.mark.parametrize("name", BIASES)
def test_a_bias_that_makes_the_router_choose_so(name: str, implementation: str) -> None:
    """A sequence of one token: the edited bias touches no other."""
    model: Any = build(name)
    model.set_experts_implementation(implementation)
    found = counterfactual(model, passage_of_ids([TOKEN, NEXT], 0), runners=7, tries=4)
    assert found.loss == pytest.approx(loss_of(model, input_ids=[TOKEN]), abs=1e-5)
    biases = [model.get_submodule(path).e_score_correction_bias for path in BIASES[name]]
    tried = 0
    for place, bias in enumerate(biases):
        for row in routes_of(found, place):
            with raised(bias, found.experts[row].tolist()):
                assert found.losses[row] == pytest.approx(loss_of(model, input_ids=[TOKEN]), abs=1e-5)
            tried += 1
    assert tried >= 8
    assert np.ptp(found.losses) > 1e-3
    for routes, loss in zip(found.whole_experts, found.whole_losses, strict=True):
        with raised(biases[0], routes[0].tolist()), raised(biases[1], routes[1].tolist()):
            assert loss == pytest.approx(loss_of(model, input_ids=[TOKEN]), abs=1e-5)


class Forced(nn.Module):
    """Switch's router, told which expert the last token goes to: with that expert's own probability, within its capacity."""

    def __init__(self, router: Any, expert: int) -> None:
        super().__init__()
        self.router, self.expert, self.num_experts = router, expert, router.num_experts

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.router.classifier(hidden)
        probabilities = logits.softmax(-1)
        chosen = probabilities.argmax(-1)
        chosen[0, -1] = self.expert
        one_hot = nn.functional.one_hot(chosen, self.num_experts)
        kept = one_hot * (one_hot.cumsum(-2) <= self.router.expert_capacity)
        return kept, probabilities.gather(-1, chosen.unsqueeze(-1)), logits


def test_a_router_with_a_capacity_put_in_the_place_of_the_model_s() -> None:
    """All four experts of each layer; one of them has no place left for the token at two layers."""
    model: Any = build("switch_transformers", expert_capacity=2)
    written = [0, 70, 12]
    passage = replace(passage_of_ids([*written, NEXT], 2), source=np.array(SOURCE))
    inputs = {"input_ids": SOURCE, "decoder_input_ids": written}
    found = counterfactual(model, passage, runners=3, tries=0)
    assert found.loss == pytest.approx(loss_of(model, **inputs), abs=1e-5)
    assert found.tried_layers.tolist() == [4, 5, 6, 7]
    dropped = 0
    for place in found.tried_layers.tolist():
        block = model.decoder.block[place - 4].layer[2].mlp
        router = block.router
        (left_out,) = {0, 1, 2, 3} - set(found.experts[found.layers == place, 0].tolist()) or {-1}
        for row in routes_of(found, place):
            dropped += found.experts[row, 0] < 0
            block.router = Forced(router, left_out if found.experts[row, 0] < 0 else int(found.experts[row, 0]))
            assert found.losses[row] == pytest.approx(loss_of(model, **inputs), abs=1e-5)
        block.router = router
    assert dropped == 2
    assert "dropped" in repr(replace(found, losses=np.where(found.experts[:, 0] < 0, 0.0, found.losses)))


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_an_ablated_expert_is_one_whose_output_weights_are_zero(implementation: str) -> None:
    """In a sequence of one token: the other experts keep their weights."""
    model: Any = build("deepseek_v3")
    model.set_experts_implementation(implementation)
    found = attribute(model, passage_of_ids([TOKEN]), target=NEXT, value="logprob", method="ablation")
    for place, layer in enumerate((1, 2)):
        for slot, expert in enumerate(found.experts[place].tolist()):
            weights = model.model.layers[layer].mlp.experts.down_proj
            before = weights.detach()[expert].clone()
            with torch.no_grad():
                weights[expert] = 0
            effect = loss_of(model, input_ids=[TOKEN]) + found.value
            with torch.no_grad():
                weights[expert] = before
            assert found.ablation[place, slot] == pytest.approx(effect, abs=1e-5)
            assert abs(effect) > 1e-4


class ByHand(nn.Module):
    """Doge's block with its choice for the last token given: its neurons, weighed by softmax over the two keys' sums."""

    def __init__(self, block: Any, experts: list[int]) -> None:
        super().__init__()
        self.block, self.experts = block, experts
        self.order: list[int] = []

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        block, rows = self.block, hidden[0]
        logits = block.router_gate(rows).view(2, len(rows), block.num_keys)
        sums = (logits[0].unsqueeze(-1) + logits[1].unsqueeze(-2)).flatten(1)
        order = sums.argsort(-1, descending=True)
        self.order, chosen = order[-1].tolist(), order[:, : len(self.experts)]
        chosen[-1] = torch.tensor(self.experts)
        weights = torch.zeros_like(sums).scatter(1, chosen, sums.gather(1, chosen).softmax(-1))
        routed = block.act_fn(rows @ block.down_embed.weight.T) * weights @ block.up_embed.weight
        return block.down_proj(block.act_fn(block.gate_proj(rows)) * block.up_proj(rows)) + routed, logits


@pytest.mark.parametrize("experts", [16, 4225])
def test_a_block_that_chooses_in_its_own_forward(experts: int) -> None:
    """Doge's, written out here; of 4,225 experts no logits are captured, but the best ones are found all the same."""
    model: Any = build("doge", num_experts=experts, num_experts_per_tok=3)
    for layer in model.model.layers:
        layer.mlp.up_embed.weight.data *= 300  # an expert is one neuron
    ids = [*SOURCE, TOKEN]
    found = counterfactual(model, passage_of_ids([*ids, NEXT], len(ids) - 1), runners=2, tries=3)
    assert found.loss == pytest.approx(loss_of(model, input_ids=ids), abs=1e-5)
    assert found.tried_layers.tolist() == [0, 1]
    blocks = [layer.mlp for layer in model.model.layers]
    for place, layer in enumerate(model.model.layers):
        own = found.experts[(found.layers == place) & found.own][0].tolist()
        layer.mlp = by_hand = ByHand(blocks[place], own)
        assert found.loss == pytest.approx(loss_of(model, input_ids=ids), abs=1e-5), "the block is written out right"
        for row in routes_of(found, place):
            (runner,) = set(found.experts[row].tolist()) - set(own)
            assert runner in by_hand.order[3:5]
            layer.mlp = ByHand(blocks[place], found.experts[row].tolist())
            assert found.losses[row] == pytest.approx(loss_of(model, input_ids=ids), abs=1e-5)
        layer.mlp = blocks[place]
    assert np.ptp(found.losses) > 1e-3
    for routes, loss in zip(found.whole_experts, found.whole_losses, strict=True):
        for layer, block, chosen in zip(model.model.layers, blocks, routes, strict=True):
            layer.mlp = ByHand(block, chosen.tolist())
        assert loss == pytest.approx(loss_of(model, input_ids=ids), abs=1e-5)
    assert not any("forward" in vars(module) for module in model.modules())
