"""Training: phases and steps, outputs and gradients unchanged, recomputed forwards not counted twice."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.core.columns import Phase
from tests.support.families import build, some_ids
from tests.support.gathered import gather


def train_step(model: nn.Module) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad()
    model(some_ids(), labels=some_ids()).loss.backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ["olmoe", "deepseek_v3"])
def test_gradients_stay_bit_identical(name: str, backward: bool) -> None:
    model = build(name)
    plain = train_step(model), train_step(model)
    model = build(name)
    recording, gathered = gather(model, backward=backward)
    with recording:
        recorded = train_step(model), train_step(model)
    for before, after in zip(plain, recorded, strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert gathered.phases == [Phase.TRAIN, Phase.TRAIN]
    assert [int(batch.header["step"]) for batch in gathered.batches] == [0, 1]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_forwards_count_once(reentrant: bool) -> None:
    model = build("olmoe")
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    calls: list[Any] = []
    handle = model.model.layers[0].mlp.experts.register_forward_pre_hook(lambda module, args: calls.append(0))
    recording, gathered = gather(model)
    with recording:
        train_step(model)
        train_step(model)
    handle.remove()
    assert len(calls) == 4, "the model did compute its forwards twice"
    assert len(gathered.batches) == 2
    assert [routes.counts.sum() for batch in gathered.batches for routes in batch.layers] == [36] * 4
    assert not gathered.notes


def test_evaluation_without_gradients_inside_training_is_no_training_pass() -> None:
    model = build("mixtral")
    recording, gathered = gather(model)
    with recording:
        train_step(model)
        model.eval()
        with torch.no_grad():
            model(some_ids(), labels=some_ids())
    assert gathered.phases == [Phase.TRAIN, Phase.EVAL]
    np.testing.assert_array_equal([batch.header["step"] for batch in gathered.batches], [0, -1])
