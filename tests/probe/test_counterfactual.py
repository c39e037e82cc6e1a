"""Other routes against runs of the test's own: ids and weights put into the experts' call, weights by the family's formula."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moedesk.core.attribution import Counterfactual
from moedesk.core.errors import MoedeskError
from moedesk.probe.explaining.counterfactual import counterfactual
from moedesk.probe.explaining.passage import passage_of_ids
from tests.support.families import some_ids
from tests.support.stopping import hooks_on


@contextmanager
def routed(experts: nn.Module, ids: list[int], weights: Tensor) -> Iterator[None]:
    """An experts module whose last row goes to other experts."""

    def change(module: nn.Module, args: Any) -> Any:
        hidden, chosen, given = args
        chosen, given = chosen.clone(), given.clone()
        chosen[-1], given[-1] = torch.tensor(ids), weights.to(given)
        return hidden, chosen, given

    handle = experts.register_forward_pre_hook(change)
    try:
        yield
    finally:
        handle.remove()


def loss_of(model: Any, ids: Tensor, following: int) -> float:
    with torch.no_grad():
        return -float(model(ids[None]).logits[0, -1].double().log_softmax(-1)[following])


def plain_softmax(logits: Tensor, ids: list[int], router: Any) -> Tensor:
    return logits.softmax(-1)[ids]


def normalised_softmax(logits: Tensor, ids: list[int], router: Any) -> Tensor:
    return logits[ids].softmax(-1)


def deepseek(logits: Tensor, ids: list[int], router: Any) -> Tensor:
    scores = logits.sigmoid()[ids]
    return scores / (scores.sum() + 1e-20) * 2.5


FORMULAS = {
    "olmoe": plain_softmax,
    "qwen3_moe": normalised_softmax,
    "mixtral": normalised_softmax,
    "deepseek_v3": deepseek,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_are_those_of_whole_runs_on_these_routes(family: Any, name: str) -> None:
    model, ids = family(name), some_ids(1)[0]
    found = counterfactual(model, passage_of_ids(ids, -2), runners=2, tries=4)
    seen, following = ids[:-1], int(ids[-1])
    assert found.loss == pytest.approx(loss_of(model, seen, following), abs=1e-5)
    assert found.next_id == following
    blocks = [layer.mlp for layer in model.model.layers if hasattr(layer.mlp, "gate")]
    for place, block in enumerate(blocks):
        rows: list[Tensor] = []
        handle = block.register_forward_pre_hook(lambda m, args, rows=rows: rows.append(args[0].reshape(-1, 32)[-1]))
        loss_of(model, seen, following)
        handle.remove()
        logits = (rows[0] @ block.gate.weight.T).detach()
        tried = np.flatnonzero((found.layers == place) & ~found.own)
        assert len(tried) == 2 * len(found.experts[0])
        if FORMULAS[name] is not deepseek:  # ranks by its logits alone
            own = found.experts[np.flatnonzero((found.layers == place) & found.own)[0]].tolist()
            order = logits.argsort(descending=True).tolist()
            assert set(own) == set(order[:2])
            assert set(found.experts[tried].flatten().tolist()) - set(own) == set(order[2:4])
        for row in tried.tolist():
            experts = found.experts[row].tolist()
            weights = FORMULAS[name](logits, experts, block.gate)
            np.testing.assert_allclose(found.weights[row], weights.numpy(), rtol=1e-4)
            with routed(block.experts, experts, weights):
                assert found.losses[row] == pytest.approx(loss_of(model, seen, following), abs=1e-5)


@pytest.fixture(scope="module")
def found(sample: Any) -> Counterfactual:
    model, tokenizer = sample
    ids = tokenizer("def add(a, b):\n    return a + b\n\nprint(add(1, 2))").input_ids
    return counterfactual(model, passage_of_ids(ids, -3, tokenizer), tokenizer)


def test_ranks_and_regrets(found: Counterfactual) -> None:
    assert found.tried_layers.tolist() == list(range(6))
    for place, layer in enumerate(found.tried_layers):
        mine = found.losses[found.layers == layer]
        assert found.own[found.layers == layer].sum() == 1
        assert found.ranks[place] == sorted(mine.tolist()).index(found.loss)
        assert found.regrets[place] == pytest.approx(max(0.0, found.loss - mine.min()))
        routes = [tuple(sorted(route)) for route in found.experts[found.layers == layer].tolist()]
        assert len(set(routes)) == len(routes) == 9
        assert {len(set(route)) for route in routes} == {2}  # the same cost
    assert "its rank" in repr(found)
    assert "<table>" in found._repr_html_()


def test_whole_routes_are_runs_with_all_of_it(sample: Any, found: Counterfactual) -> None:
    """By the router's probabilities of that very run: each layer's choice is forced by the test, layer after layer."""
    model, tokenizer = sample
    ids = torch.tensor(tokenizer("def add(a, b):\n    return a + b\n\nprint(add(1, 2))").input_ids)
    routes = found.whole_experts[0]

    def force(chosen: np.ndarray) -> Any:
        def change(module: nn.Module, args: Any, output: Any) -> Any:
            logits, weights, experts = output
            weights, experts = weights.clone(), experts.clone()
            experts[-1] = torch.from_numpy(chosen)
            probabilities = (args[0].reshape(-1, 128) @ module.weight.T).softmax(-1)
            weights[-1] = probabilities[-1, experts[-1]]
            return logits, weights, experts

        return change

    handles = [
        layer.mlp.gate.register_forward_hook(force(routes[place])) for place, layer in enumerate(model.model.layers)
    ]
    try:
        loss = loss_of(model, ids[:-2], int(ids[-2]))
    finally:
        for handle in handles:
            handle.remove()
    assert found.whole_losses[0] == pytest.approx(loss, abs=1e-4)
    assert abs(found.whole_losses[0] - found.loss) > 1e-2


def test_the_same_seed_gives_the_same_routes(sample: Any, found: Counterfactual) -> None:
    model, tokenizer = sample
    ids = tokenizer("def add(a, b):\n    return a + b\n\nprint(add(1, 2))").input_ids
    passage = passage_of_ids(ids, -3, tokenizer)
    again = counterfactual(model, passage, tokenizer, layers=[1], tries=5)
    other = counterfactual(model, passage, tokenizer, layers=[1], tries=5, seed=1)
    once_more = counterfactual(model, passage, tokenizer, layers=[1], tries=5)
    assert again.whole_experts.tolist() == once_more.whole_experts.tolist() != other.whole_experts.tolist()
    np.testing.assert_allclose(again.losses, found.losses[found.layers == 1], atol=1e-5)


def test_layers_that_cannot_be_forced_are_named(family: Any) -> None:
    passage = replace(passage_of_ids(some_ids(1)[0], -2), source=np.array([5, 6, 7]))
    with pytest.raises(
        MoedeskError, match="no other route can be tried: layer 2: no other routes, its choice can't be forced"
    ):
        counterfactual(family("nllb_moe"), passage)  # it runs expert 1 and 0, whatever its router says


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layers": 6}, "no MoE layer 6; the model has 6"),
        ({"target": 2048}, "target 2048 is not in the vocabulary"),
        ({"runners": 0}, "runners=0 is no number of routes; give 1 or more"),
        ({"tries": -1}, "tries=-1 is no number of routes; give 0 or more"),
    ],
)
def test_what_does_not_exist_is_said_in_one_line(sample: Any, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(MoedeskError, match=said) as caught:
        counterfactual(sample[0], passage_of_ids([5, 6, 7], 1), **arguments)
    assert "\n" not in str(caught.value)


def test_the_next_token_has_to_be_known_and_the_model_is_left_as_it_was(sample: Any) -> None:
    model = sample[0]
    hooks = hooks_on(model)
    with pytest.raises(MoedeskError, match="the token that came next is not known"):
        counterfactual(model, passage_of_ids([5, 6, 7]))

    def interrupted(share: float, text: str) -> None:
        if share > 0.2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        counterfactual(model, passage_of_ids([5, 6, 7], 1), progress=interrupted)
    assert hooks_on(model) == hooks
    assert not any("forward" in vars(module) for module in model.modules())
