"""Captured routing against what the models say themselves: their own router logits, the published rules, a replay."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.families import some_ids
from tests.support.gathered import Gathered, dense, gather

MAIN = ("olmoe", "mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss")


def olmoe_rule(logits: Tensor, block: nn.Module) -> tuple[Tensor, Tensor]:
    weights, ids = logits.float().softmax(-1).topk(2)
    return ids, weights


def mixtral_rule(logits: Tensor, block: nn.Module) -> tuple[Tensor, Tensor]:
    ids, weights = olmoe_rule(logits, block)
    return ids, weights / weights.sum(-1, keepdim=True)


def deepseek_rule(logits: Tensor, block: nn.Module) -> tuple[Tensor, Tensor]:
    """DeepSeek-V3 technical report, eq. 12 to 16, with 4 groups of 2 experts of which 2 are candidates."""
    scores = logits.float().sigmoid()
    biased = scores + block.gate.e_score_correction_bias
    best_groups = biased.view(-1, 4, 2).sum(-1).topk(2).indices
    allowed = torch.zeros(len(logits), 4, dtype=torch.bool).scatter(1, best_groups, True).repeat_interleave(2, dim=1)
    ids = biased.where(allowed, -torch.inf).topk(2).indices
    weights = scores.gather(1, ids)
    return ids, weights / weights.sum(-1, keepdim=True) * 2.5


def gpt_oss_rule(logits: Tensor, block: nn.Module) -> tuple[Tensor, Tensor]:
    best, ids = logits.topk(2)
    return ids, best.softmax(-1)


RULES: dict[str, Callable[[Tensor, nn.Module], tuple[Tensor, Tensor]]] = {
    "olmoe": olmoe_rule,
    "mixtral": mixtral_rule,
    "qwen3_moe": mixtral_rule,
    "deepseek_v3": deepseek_rule,
    "gpt_oss": gpt_oss_rule,
}


def record_twice(model: nn.Module, **inputs: Any) -> Gathered:
    """Two passes: the first finds the layers, the second takes the way of all later ones."""
    recording, gathered = gather(model, logits=True)
    with torch.no_grad(), recording:
        model(**inputs)
        model(**inputs)
    return gathered


@pytest.mark.parametrize("name", MAIN)
def test_ids_and_weights_follow_the_published_rule_on_the_models_own_logits(family: Any, name: str) -> None:
    model, ids = family(name), some_ids()
    gathered = record_twice(model, input_ids=ids)
    with torch.no_grad():
        own = model(ids, output_router_logits=True).router_logits
    assert len(gathered.model.layers) == len(own) == 2
    for place, (layer, logits) in enumerate(zip(gathered.model.layers, own, strict=True)):
        expected_ids, expected_weights = RULES[name](logits, model.get_submodule(layer.path))
        expected = dense(expected_ids.numpy(), expected_weights.numpy(), 8)
        assert (layer.experts, layer.top_k) == (8, 2)
        for turn in range(2):
            routes = gathered.routes(place, turn)
            np.testing.assert_allclose(dense(routes.experts, routes.weights, 8), expected, rtol=1e-5)
            np.testing.assert_array_equal(routes.logits, logits.float().numpy())
            np.testing.assert_array_equal(routes.counts, (~np.isnan(expected)).sum(0))


@pytest.mark.parametrize("name", MAIN)
def test_replaying_the_captured_routing_gives_the_blocks_output(family: Any, name: str) -> None:
    model = family(name)
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    gathered = record_twice(model, input_ids=some_ids())
    handles = [
        model.get_submodule(layer.path).register_forward_hook(
            lambda module, args, output, path=layer.path: kept.__setitem__(
                path, (args[0], output[0] if isinstance(output, tuple) else output)
            )
        )
        for layer in gathered.model.layers
    ]
    with torch.no_grad():
        model(some_ids())
        for layer in gathered.model.layers:
            hidden, output = (tensor.reshape(-1, 32) for tensor in kept[layer.path])
            block = model.get_submodule(layer.path)
            routes = gathered.routes(layer.place, 1)
            ids, weights = torch.tensor(routes.experts).long(), torch.tensor(routes.weights)
            rebuilt = layer.post_scale * model.get_submodule(layer.experts_path)(hidden, ids, weights)
            if layer.shared:
                rebuilt = rebuilt + block.shared_experts(hidden)
            torch.testing.assert_close(rebuilt, output, rtol=1e-4, atol=1e-5)
    for handle in handles:
        handle.remove()


def scores_by_hand(name: str, logits: np.ndarray, block: nn.Module) -> np.ndarray:
    """(T, E) score that each family ranks by; -inf where an expert is no candidate."""
    tensor = torch.tensor(logits)
    if name == "gpt_oss":
        return logits
    if name != "deepseek_v3":
        return tensor.softmax(-1).numpy()
    biased = tensor.sigmoid() + block.gate.e_score_correction_bias
    groups = biased.view(-1, 4, 2).sum(-1).topk(2).indices
    allowed = torch.zeros(len(biased), 4, dtype=torch.bool).scatter(1, groups, True).repeat_interleave(2, dim=1)
    return biased.where(allowed, -torch.inf).numpy()


@pytest.mark.parametrize("name", MAIN)
def test_margin_and_entropy_by_brute_force(family: Any, name: str) -> None:
    model = family(name)
    gathered = record_twice(model, input_ids=some_ids())
    for layer in gathered.model.layers:
        for turn in range(2):
            routes = gathered.routes(layer.place, turn)
            scores = scores_by_hand(name, routes.logits, model.get_submodule(layer.path))
            ordered = np.sort(scores, axis=1)[:, ::-1]
            np.testing.assert_allclose(routes.margin, ordered[:, 1] - ordered[:, 2], rtol=1e-4, atol=1e-6)
            share = np.exp(routes.logits - routes.logits.max(1, keepdims=True)).astype(np.float64)
            share /= share.sum(1, keepdims=True)
            np.testing.assert_allclose(routes.entropy, -(share * np.log(share)).sum(1), rtol=1e-4)
            assert not routes.flags.any()


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_every_experts_implementation_is_read_alike(family: Any, implementation: str) -> None:
    model, ids = family("qwen3_moe"), some_ids()
    reference = record_twice(model, input_ids=ids)
    before = model.config._experts_implementation
    model.set_experts_implementation(implementation)
    try:
        gathered = record_twice(model, input_ids=ids)
    finally:
        model.set_experts_implementation(before)
    for place in range(2):
        np.testing.assert_array_equal(gathered.column("experts", place), reference.column("experts", place))
        np.testing.assert_allclose(gathered.column("weights", place), reference.column("weights", place), rtol=1e-5)


def test_half_precision_scores_are_recognised(family: Any) -> None:
    from tests.support.families import build

    for name in ("mixtral", "deepseek_v3", "gpt_oss"):
        model = build(name).to(torch.bfloat16)
        gathered = record_twice(model, input_ids=some_ids())
        assert {layer.score for layer in gathered.model.layers} == {layer_score(name)}
        assert [layer.post_scale for layer in gathered.model.layers] == [1.0, 1.0]


def layer_score(name: str) -> str:
    return {"mixtral": "softmax", "gpt_oss": "logits"}.get(name, "sigmoid+bias, 2 of 4 groups")


def test_a_bias_that_is_still_zero_is_part_of_the_score() -> None:
    """Balancing without a loss starts at zero and moves during training: the formula must already hold it."""
    from tests.support.families import build

    model = build("deepseek_v3")
    gates = [module.gate for module in model.modules() if hasattr(module, "gate") and hasattr(module, "experts")]
    for gate in gates:
        gate.e_score_correction_bias.zero_()
    recording, gathered = gather(model, logits=True)
    with torch.no_grad(), recording:
        model(some_ids())
        for gate in gates:
            gate.e_score_correction_bias.copy_(torch.linspace(-0.4, 0.4, 8))
        model(some_ids())
    layer = gathered.model.layers[0]
    assert layer.score == "sigmoid+bias, 2 of 4 groups"
    routes = gathered.routes(0, 1)
    scores = np.sort(scores_by_hand("deepseek_v3", routes.logits, model.get_submodule(layer.path)), axis=1)
    np.testing.assert_allclose(routes.margin, scores[:, -2] - scores[:, -3], rtol=1e-4, atol=1e-6)
