"""Expert choice and Soft MoE, without a declaration: against what the blocks say, and a replay of the first."""

from typing import Any

import numpy as np
import pytest
import torch

from moedesk.core.columns import RouteFlag
from tests.support.gathered import dense, gather
from tests.support.hand_written import WIDTH, ExpertChoice, ExpertChoiceInSequence, Small, SoftMoE, some_ids


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("block", [ExpertChoice, ExpertChoiceInSequence, SoftMoE])
def test_it_is_read_as_it_says(block: Any, dtype: torch.dtype) -> None:
    model: Any = Small(block).to(dtype).eval()
    inputs = [some_ids(seed=seed, length=length) for seed, length in ((1, 9), (2, 9), (3, 20))]
    with torch.no_grad():
        plain = [model(ids) for ids in inputs]
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        assert all(torch.equal(model(ids), output) for ids, output in zip(inputs, plain, strict=True))
    assert gathered.notes == []
    for place, layer in enumerate(model.layers):
        info = gathered.model.layers[place]
        assert (info.selection, info.experts, info.top_k) == ("soft" if block is SoftMoE else "expert choice", 8, 8)
        for turn, (ids, weights) in enumerate(layer.moe.said[-3:]):
            routes = gathered.routes(place, turn)
            expected = dense(ids.numpy(), weights.float().numpy(), 8)
            rtol = 1e-5 if dtype is torch.float32 else 2e-2
            np.testing.assert_allclose(dense(routes.experts, routes.weights, 8), expected, rtol=rtol)
            np.testing.assert_array_equal(routes.counts, (~np.isnan(expected)).sum(0))
            nobody = np.isnan(expected).all(1)
            np.testing.assert_array_equal(routes.flags, nobody * RouteFlag.DROPPED)
    if block is not SoftMoE:
        several = [(gathered.routes(0, turn).experts >= 0).sum(1) for turn in range(3)]
        assert {0, 1, 2} <= set(np.concatenate(several).tolist())


@pytest.mark.parametrize("block", [ExpertChoice, ExpertChoiceInSequence])
def test_a_replay_gives_the_blocks_output(block: Any) -> None:
    model: Any = Small(block, layers=1).eval()
    moe, kept = model.layers[0].moe, []
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        moe.register_forward_hook(lambda module, args, output: kept.append((args[0], output)))
        model(some_ids(seed=8))
    hidden, output = (value.reshape(-1, WIDTH) for value in kept[0])
    routes, rebuilt = gathered.routes(0, 1), torch.zeros_like(output)
    with torch.no_grad():
        for row in range(len(hidden)):
            for expert, weight in zip(routes.experts[row], routes.weights[row], strict=True):
                if expert >= 0:
                    rebuilt[row] += float(weight) * moe.experts[expert](hidden[row])
    torch.testing.assert_close(rebuilt, output, rtol=1e-4, atol=1e-6)
