"""Training steps in loops of one's own: when they end, their loss and learning rate, whose optimizer counts."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from tests.support.families import build
from tests.support.gathered import gather


def forward(model: nn.Module, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    ids = torch.randint(3, 100, (2, 9))
    return model(ids, labels=ids, output_router_logits=True)


def test_a_step_is_what_an_optimizer_does_after_its_passes() -> None:
    model = build("olmoe").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    recording, gathered = gather(model)
    losses, aux_losses = [], []
    with recording:
        for number in range(3):
            optimizer.zero_grad()
            for part in range(2):
                output = forward(model, 2 * number + part)
                (output.loss / 2).backward()
                losses.append(output.loss.item())
                aux_losses.append(output.aux_loss.item())
            optimizer.step()
            schedule.step()
    rows = np.array([step.row for step in gathered.steps])
    assert rows["step"].tolist() == [0, 1, 2]
    assert [int(batch.header["step"]) for batch in gathered.batches] == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(rows["loss"], np.reshape(losses, (3, 2)).mean(1), rtol=1e-6)
    np.testing.assert_allclose(rows["aux_loss"], np.reshape(aux_losses, (3, 2)).mean(1), rtol=1e-6)
    np.testing.assert_allclose(rows["learning_rate"], [0.1, 0.05, 0.1 / 3])
    assert np.isnan(rows["grad_norm"]).all()
    assert not any(step.layers for step in gathered.steps), "norms were not asked for"


def test_two_optimizers_make_one_step() -> None:
    model = build("olmoe").train()
    experts = [p for name, p in model.named_parameters() if "experts" in name]
    others = [p for name, p in model.named_parameters() if "experts" not in name]
    optimizers = [torch.optim.SGD(experts, lr=0.1), torch.optim.SGD(others, lr=0.2)]
    recording, gathered = gather(model, backward=True)
    with recording:
        for number in range(2):
            model.zero_grad()
            forward(model, number).loss.backward()
            for optimizer in optimizers:
                optimizer.step()
    assert [int(step.row["step"]) for step in gathered.steps] == [0, 1]
    assert np.isfinite(gathered.norms("gradients", 0)).all()
    assert np.isfinite(gathered.norms("router", 0)).all()


def test_another_models_optimizer_ends_no_step() -> None:
    model, other = build("olmoe").train(), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    recording, gathered = gather(model)
    with recording:
        for number in range(2):
            forward(model, number).loss.backward()
            other(torch.ones(2)).sum().backward()
            optimizer.step()
    assert [int(batch.header["step"]) for batch in gathered.batches] == [0, 0]
    assert not gathered.steps


def test_steps_go_on_while_recording_is_off() -> None:
    model = build("olmoe").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recording, gathered = gather(model)
    with recording:
        for number in range(4):
            recording.hooks.recording = number in (0, 3)
            forward(model, number).loss.backward()
            optimizer.step()
    assert [int(step.row["step"]) for step in gathered.steps] == [0, 3]


def test_a_closures_gradients_are_read_after_the_step() -> None:
    model = build("olmoe").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    recording, gathered = gather(model, backward=True)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = forward(model).loss
        loss.backward()
        return loss

    with recording:
        optimizer.step(closure)
    expected = model.model.layers[0].mlp.gate.weight.grad.norm()
    np.testing.assert_allclose(gathered.norms("router", 0), [expected.item()], rtol=1e-5)


@pytest.mark.parametrize("backward", [False, True])
def test_nothing_is_left_behind(backward: bool) -> None:
    before = len(_global_optimizer_pre_hooks), len(_global_optimizer_post_hooks)
    model = build("olmoe").train()
    forward(model)  # transformers adds hooks of its own, for good
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    recording, _ = gather(model, backward=backward)
    with recording:
        forward(model).loss.backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()
        assert len(_global_optimizer_pre_hooks) == before[0] + 1
    assert (len(_global_optimizer_pre_hooks), len(_global_optimizer_post_hooks)) == before
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert not any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters())


def test_a_model_that_is_dropped_takes_its_watch_along() -> None:
    from moedesk.probe.attach import attach
    from tests.support.gathered import Gathered

    before = len(_global_optimizer_pre_hooks)
    model = build("olmoe").train()
    attach(model, sink=Gathered(), backward=True)
    forward(model).loss.backward()
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert len(_global_optimizer_pre_hooks) == before
