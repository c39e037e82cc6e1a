"""Dispatch and combine tensors with a capacity: against what each token got, worked out one by one, and a replay."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.core.columns import RouteFlag
from tests.support.capacity import MOELayer, SwitchBlock, Top2Gate, TopKGate
from tests.support.gathered import Gathered, dense, gather
from tests.support.hand_written import WIDTH, Small, some_ids

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "DeepSpeed top-1": lambda: MOELayer(TopKGate(6, 1, 4)),
    "DeepSpeed top-2": lambda: MOELayer(TopKGate(6, 2, 5)),
    "FairScale": lambda: MOELayer(Top2Gate(6, 5)),
}


def check(gathered: Gathered, place: int, turn: int, said: list[dict[int, float]], rtol: float = 1e-6) -> None:
    layer, routes = gathered.model.layers[place], gathered.routes(place, turn)
    expected = np.full((len(said), layer.experts), np.nan, np.float32)
    for row, given in enumerate(said):
        for expert, weight in given.items():
            expected[row, expert] = weight
    np.testing.assert_allclose(dense(routes.experts, routes.weights, layer.experts), expected, rtol=rtol)
    np.testing.assert_array_equal(routes.counts, (~np.isnan(expected)).sum(0))
    lost = np.array([len(given) < layer.top_k for given in said])
    np.testing.assert_array_equal(routes.flags, lost * RouteFlag.DROPPED)
    assert (routes.weights[routes.experts < 0] == 0).all()
    ordered = np.sort(routes.weights, axis=1)[:, ::-1]
    np.testing.assert_array_equal(routes.weights, ordered)  # slots by weight


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_what_each_token_got(name: str, training: bool) -> None:
    model: Any = Small(LAYERS[name]).train(training)
    recording, gathered = gather(model, logits=True)
    with recording:
        for seed in range(3):
            model(some_ids(seed=seed))
    assert gathered.notes == []
    for place, layer in enumerate(model.layers):
        info = gathered.model.layers[place]
        assert (info.experts, info.top_k) == (6, 1 if "top-1" in name else 2)
        assert info.adapter == "GShard MOELayer"
        for turn in range(3):
            check(gathered, place, turn, layer.moe.gate.said[turn])
            share = torch.tensor(gathered.routes(place, turn).logits).softmax(-1)
            np.testing.assert_allclose(gathered.routes(place, turn).entropy, -(share * share.log()).sum(-1), rtol=1e-4)
    dropped = sum(
        (gathered.routes(place, turn).flags & RouteFlag.DROPPED).sum() for place in (0, 1) for turn in range(3)
    )
    assert dropped > 0
    if not training and "top-1" in name:
        assert gathered.model.layers[0].score == "logits"


@pytest.mark.parametrize("name", LAYERS)
def test_a_replay_gives_the_blocks_output(name: str) -> None:
    model: Any = Small(LAYERS[name], layers=1).eval()
    block, kept = model.layers[0].moe, []
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        handle = block.register_forward_hook(lambda module, args, output: kept.append((args[0], output)))
        model(some_ids())
    handle.remove()
    hidden, output = (value.reshape(-1, WIDTH) for value in kept[0])
    routes, rebuilt = gathered.routes(0, 1), torch.zeros_like(output)
    with torch.no_grad():
        for row, (experts, weights) in enumerate(zip(routes.experts, routes.weights, strict=True)):
            for expert, weight in zip(experts, weights, strict=True):
                if expert >= 0:
                    rebuilt[row] += float(weight) * block.experts.deepspeed_experts[expert](hidden[row])
    torch.testing.assert_close(rebuilt, output, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("top_k", "capacity"), [(1, 3), (2, 4), (2, 30)])
def test_dispatch_and_combine_in_the_blocks_own_forward(top_k: int, capacity: int, dtype: torch.dtype) -> None:
    model: Any = Small(lambda: SwitchBlock(top_k=top_k, capacity=capacity)).to(dtype).eval()
    recording, gathered = gather(model)
    with torch.inference_mode(), recording:
        for seed in range(3):
            model(some_ids(seed=seed))
    assert gathered.notes == []
    for place, layer in enumerate(model.layers):
        assert gathered.model.layers[place].top_k == top_k
        for turn in range(3):
            check(gathered, place, turn, layer.moe.said[turn], 1e-6 if dtype is torch.float32 else 1e-2)


def test_more_experts_than_slots_are_found_out() -> None:
    """Weights for three experts where there were two before: the pass is left out by name, never cut."""
    model: Any = Small(lambda: MOELayer(TopKGate(6, 2, 30)), layers=1).eval()
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        model.layers[0].moe.gate.k = 3
        model(some_ids())
    assert [len(batch.layers) for batch in gathered.batches] == [1, 0]
    assert len(gathered.notes) == 1
    assert "gave ids outside 0 to 5" in gathered.notes[0]
