"""A layer that is called several times in one pass: its rows are in the order of its calls, however many each has."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moedesk.probe.taking.held import copied
from tests.support.families import build, some_ids
from tests.support.gathered import gather


class Parts(nn.Module):
    """Has a block do some tokens after the other."""

    def __init__(self, block: nn.Module, parts: list[int]) -> None:
        super().__init__()
        self.block, self.parts = block, parts

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.cat([self.block(part) for part in hidden.split(self.parts, 1)], 1)


def watched(block: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """What its experts get, call by call."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def before(module: nn.Module, args: Any) -> None:
        seen.append((args[1].clone().numpy(), args[2].clone().numpy()))

    block.experts.register_forward_pre_hook(before)
    return seen


@pytest.mark.parametrize("parts", [([13], [5, 3, 5]), ([3, 5, 5], [5, 3, 5]), ([3, 3, 7], [5, 3, 5])])
@pytest.mark.parametrize("held", [True, False])
def test_rows_are_in_the_order_of_the_calls(
    held: bool, parts: tuple[list[int], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = build("olmoe")
    blocks = [layer.mlp for layer in model.model.layers]
    for layer, some in zip(model.model.layers, parts, strict=True):
        layer.mlp = Parts(layer.mlp, some)
    seen = [watched(block) for block in blocks]
    stacked: list[int] = []

    def noted(holds: Any) -> Any:
        stacked.append(len(holds))
        return copied(holds)

    monkeypatch.setattr("moedesk.probe.taking.tap.copied", noted)
    if not held:
        monkeypatch.setattr("moedesk.probe.taking.tap.FEW", 0)
    recording, gathered = gather(model, logits=True)
    with torch.no_grad(), recording:
        for seed in range(4):
            model(some_ids(1, 13, seed=seed))
    assert gathered.notes == []
    assert bool(stacked) == held
    for place, some in enumerate(parts):
        for turn in range(4):
            calls = seen[place][turn * len(some) : (turn + 1) * len(some)]
            routes = gathered.routes(place, turn)
            np.testing.assert_array_equal(routes.experts, np.concatenate([ids for ids, _ in calls]))
            np.testing.assert_array_equal(routes.weights, np.concatenate([weights for _, weights in calls]))
            share = torch.tensor(routes.logits).softmax(-1).numpy()
            chosen = np.take_along_axis(share, routes.experts.astype(np.int64), -1)
            np.testing.assert_allclose(chosen, routes.weights, rtol=1e-4)


class InParts(nn.Module):
    """A block that has its experts do some tokens after the other."""

    def __init__(self, block: Any, parts: list[int]) -> None:
        super().__init__()
        self.gate, self.experts, self.parts = block.gate, block.experts, parts

    def forward(self, hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, hidden.shape[-1])
        outputs = []
        for part in rows.split(self.parts):
            _, weights, ids = self.gate(part)
            outputs.append(self.experts(part, ids, weights))
        return torch.cat(outputs).reshape(hidden.shape)


@pytest.mark.parametrize("parts", [[13], [5, 3, 5], [6, 7]])
def test_a_block_that_calls_its_experts_several_times_is_whole_from_its_first_pass_on(parts: list[int]) -> None:
    model: Any = build("olmoe")
    for layer in model.model.layers:
        layer.mlp = InParts(layer.mlp, parts)
    seen = [watched(layer.mlp) for layer in model.model.layers]
    recording, gathered = gather(model, logits=True)
    with torch.no_grad(), recording:
        for seed in range(2):
            model(some_ids(1, 13, seed=seed))
    assert gathered.notes == []
    for place, calls in enumerate(seen):
        for turn in range(2):
            given = calls[turn * len(parts) : (turn + 1) * len(parts)]
            routes = gathered.routes(place, turn)
            np.testing.assert_array_equal(routes.experts, np.concatenate([ids for ids, _ in given]))
            np.testing.assert_array_equal(routes.weights, np.concatenate([weights for _, weights in given]))
            counts = np.bincount(np.concatenate([ids for ids, _ in given]).ravel(), minlength=len(routes.counts))
            np.testing.assert_array_equal(routes.counts, counts)
            share = torch.tensor(routes.logits).softmax(-1).numpy()
            chosen = np.take_along_axis(share, routes.experts.astype(np.int64), -1)
            np.testing.assert_allclose(chosen, routes.weights, rtol=1e-4)
