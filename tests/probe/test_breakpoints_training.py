"""Training steps that stop: gradients through what was changed there, also where checkpointing computes the forward again.

The same change is made by hand, by a hook on the experts of a model without moedesk and without checkpointing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moedesk.probe.breaking import second_forward
from tests.support.families import build, some_ids
from tests.support.stopping import PlayedApp, attached_to, hooks_on

pytestmark = pytest.mark.usefixtures("no_hook_stays")

CHECKPOINTING = {"none": None, "reentrant": {"use_reentrant": True}, "not reentrant": {"use_reentrant": False}}
ROW, SLOT, WEIGHT = 3, 1, 0.125
"""What is changed: at layer 0 a weight; at layer 1, the experts of the same token change places."""


def trained(checkpointing: dict[str, bool] | None, family: str = "olmoe") -> Any:
    """A model in training mode, the same each time."""
    model: Any = build(family).train()
    if checkpointing is not None:
        model.activation_checkpointing_enable(checkpointing)
        model.enable_input_require_grads()  # reentrant checkpointing needs it
    return model


def changing(app: PlayedApp, stop: Any) -> None:
    """What is typed at a stop."""
    line = f"weights[{SLOT}] = {WEIGHT}" if stop["layer"] == 0 else "ids = ids.flip(0)"
    exec(line, app.namespace)


@contextmanager
def changed_by_hand(model: Any) -> Iterator[None]:
    def weight(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, ids, weights = args
        weights = weights.clone()
        weights[ROW, SLOT] = WEIGHT
        return hidden, ids, weights

    def experts(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, ids, weights = args
        ids = ids.clone()
        ids[ROW] = ids[ROW].flip(0)
        return hidden, ids, weights

    layers = model.model.layers
    handles = [layers[0].mlp.experts.register_forward_pre_hook(weight)]
    handles.append(layers[1].mlp.experts.register_forward_pre_hook(experts))
    yield
    for handle in handles:
        handle.remove()


def loss_of(model: Any, batch: int = 0) -> Tensor:
    ids = some_ids() + batch
    loss: Tensor = model(ids, labels=ids, use_cache=False).loss
    return loss


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def app() -> PlayedApp:
    made = PlayedApp()
    made.at_stop = lambda breakpoints, stop: changing(made, stop)
    return made


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(second_forward, "notice", lines.append)
    return lines


@pytest.mark.parametrize("checkpointing", CHECKPOINTING.values(), ids=CHECKPOINTING)
def test_a_training_step_with_changes_at_two_layers(checkpointing: dict[str, bool] | None, app: PlayedApp) -> None:
    model = trained(checkpointing)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with attached_to(app, model) as (attachment, gathered):
        loss_of(model)  # so that its layers are known
        points = [
            app.break_on(f"layer:0 position:{ROW} sequence:2"),
            app.break_on(f"layer:1 position:{ROW} sequence:2"),
        ]
        loss = loss_of(model)
        loss.backward()
        found = gradients(model)
        optimizer.step()
        attachment.detach()
        assert [stop["layer"] for stop in app.stops] == [0, 1]
        assert [point.hits for point in points] == [1, 1], "the second forward counts nothing"
        assert len(gathered.batches) == 2
    hand = trained(None)
    hand_optimizer = torch.optim.SGD(hand.parameters(), 0.1)
    loss_of(hand).backward()
    plain = gradients(hand)
    hand.zero_grad()
    with changed_by_hand(hand):
        expected = loss_of(hand)
        expected.backward()
    assert torch.equal(loss, expected)
    assert same(found, gradients(hand))
    assert not same(found, plain)
    hand_optimizer.step()
    assert same(dict(model.named_parameters()), dict(hand.named_parameters()))  # type: ignore[arg-type]


@pytest.mark.parametrize("checkpointing", list(CHECKPOINTING.values())[1:], ids=list(CHECKPOINTING)[1:])
@pytest.mark.parametrize(
    ("order", "tokens"),
    [("together", "the same"), ("newest first", "the same"), ("oldest first", "others"), ("twice", "others")],
)
@pytest.mark.parametrize("changed", [0, 2])
def test_of_several_forwards_each_is_computed_again_as_it_was(
    order: str, changed: int, tokens: str, checkpointing: dict[str, bool], app: PlayedApp, said: list[str]
) -> None:
    """One of three forwards is changed. Those of the same tokens are told apart by the order of one backward pass alone."""
    found = []
    for by_hand in (False, True):
        model = trained(None if by_hand else checkpointing)
        with attached_to(app, model):
            loss_of(model)
            for layer in (0, 1):
                app.break_on(f"layer:{layer} position:{ROW} pass:{changed + (99 if by_hand else 1)}")
            losses = []
            for number in range(3):
                batch = number if tokens == "others" else 0
                if by_hand and number == changed:
                    with changed_by_hand(model):
                        losses.append(loss_of(model, batch))
                else:
                    losses.append(loss_of(model, batch))
            scaled = [loss * factor for loss, factor in zip(losses, (1.0, 3.0, 10.0), strict=True)]
            if order == "together":
                sum(scaled).backward()  # type: ignore[union-attr]
            elif order == "twice":
                scaled[changed].backward(retain_graph=True)
                scaled[changed].backward()
            else:
                for loss in reversed(scaled) if order == "newest first" else scaled:
                    loss.backward()
            app.breakpoints.clear()
        found.append(gradients(model))
    assert len(app.stops) == 2
    alike = [line for line in said if "of the same tokens" in line]
    assert len(alike) == (2 if tokens == "the same" else 0), "a line for each layer"
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", ["removed", "deactivated", "removed at the stop"])
def test_what_was_changed_stays_so_when_the_breakpoints_go_before_the_backward_pass(
    how: str, app: PlayedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_forward, "KEPT", 2)
    model = trained({"use_reentrant": False})
    with attached_to(app, model):
        loss_of(model)
        hooks = hooks_on(model)
        for layer in (0, 1):
            app.break_on(f"layer:{layer} position:{ROW} pass:1")
        if how == "removed at the stop":
            app.at_stop = lambda breakpoints, stop: (changing(app, stop), breakpoints[0].remove())  # type: ignore[assignment, return-value]
        loss = loss_of(model)
        if how == "deactivated":
            app.breakpoints.active = False
        elif how == "removed":
            app.breakpoints.clear()
        loss.backward()
        found = gradients(model)
        assert hooks_on(model) > hooks, "a second backward pass may come"
        for _ in range(2):
            loss_of(model)
        assert hooks_on(model) == hooks
        app.breakpoints.active = True
        app.break_on(f"layer:0 position:{ROW}")
        stops = len(app.stops)
        loss_of(model)
        assert len(app.stops) == stops + 1, "the layer stops again"
        app.breakpoints.clear()
    hand = trained(None)
    with changed_by_hand(hand):
        loss_of(hand).backward()
    assert same(found, gradients(hand))


def test_a_forward_that_comes_out_otherwise_the_second_time_is_said(app: PlayedApp, said: list[str]) -> None:
    model = trained({"use_reentrant": True})
    with attached_to(app, model):
        loss_of(model)
        app.break_on(f"layer:0 position:{ROW}")
        losses = [loss_of(model), loss_of(model, 1)]
        model.model.layers[0].mlp.gate.weight.data.neg_()
        for loss in losses:
            loss.backward()
    (line,) = said
    assert line.startswith("model.layers.0.mlp: ")
    assert "does not route as the first one did" in line


def test_without_gradients_nothing_is_kept(app: PlayedApp) -> None:
    model: Any = build("olmoe")
    with torch.no_grad(), attached_to(app, model):
        loss_of(model)
        hooks = hooks_on(model)
        app.break_on(f"layer:0 position:{ROW}")
        loss_of(model)
        app.breakpoints.clear()
        assert len(app.stops) == 1
        assert hooks_on(model) == hooks


@pytest.mark.parametrize("checkpointing", CHECKPOINTING.values(), ids=CHECKPOINTING)
def test_a_layer_whose_adapter_writes_its_routing(checkpointing: dict[str, bool] | None, app: PlayedApp) -> None:
    """Llama 4's router gives a score for every expert, and the change is made in a copy of these."""
    model = trained(checkpointing, "llama4")
    app.at_stop = lambda breakpoints, stop: exec(f"weights[0] = {WEIGHT}", app.namespace)
    with attached_to(app, model):
        loss_of(model).backward()  # being recorded alone, too, must not disturb checkpointing
        model.zero_grad()
        app.break_on(f"layer:0 position:{ROW}")
        loss_of(model).backward()
    hand = trained(None, "llama4")
    loss_of(hand).backward()
    plain = gradients(hand)
    hand.zero_grad()

    def by_hand(module: nn.Module, args: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        scores = output[0].clone()
        scores[ROW, int(scores[ROW].argmax())] = WEIGHT
        return scores, output[1]

    hand.model.layers[0].feed_forward.router.register_forward_hook(by_hand)
    loss_of(hand).backward()
    found, expected = gradients(model), gradients(hand)
    assert not same(expected, plain)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6, msg=name)
