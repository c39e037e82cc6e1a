"""Short passes are held by reference and copied at their end: what a model writes into them meanwhile is no routing."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moedesk.probe.attach import Attachment, attach
from moedesk.probe.taking import layer_hooks
from moedesk.probe.taking.cost import Cost
from moedesk.probe.taking.held import Source, copied
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.tap import Current, Tap
from tests.support.families import build, some_ids
from tests.support.gathered import Gathered

pytestmark = pytest.mark.usefixtures("nothing_stays_attached")

Ruin = Callable[[dict[str, Tensor]], object]

RUINS: dict[str, Ruin] = {
    "ids": lambda given: given["ids"].fill_(0),
    "weights": lambda given: given["weights"].detach().zero_(),
    "logits": lambda given: given["logits"].detach().neg_(),
    "a view of the weights": lambda given: given["weights"].detach().view(-1)[:3].zero_(),
    "logits as an output": lambda given: torch.zeros(given["logits"].shape, out=given["logits"].detach()),
}


class Ruined:
    """A model whose blocks, once done, write into what their experts got; keeps what it was before."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.ruin: Ruin | None = None
        self.seen: list[dict[str, np.ndarray]] = []
        self._given: dict[str, Tensor] = {}
        self._handles = []
        for layer in model.model.layers:
            self._handles += [
                layer.mlp.gate.register_forward_hook(self._routed),
                layer.mlp.experts.register_forward_pre_hook(self._entered),
                layer.mlp.register_forward_hook(self._left),
            ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _routed(self, module: nn.Module, args: Any, output: tuple[Tensor, Tensor, Tensor]) -> None:
        self._given["logits"] = output[0]

    def _entered(self, module: nn.Module, args: tuple[Tensor, Tensor, Tensor]) -> None:
        self._given.update(ids=args[1], weights=args[2])

    def _left(self, module: nn.Module, args: Any, output: Any) -> None:
        self.seen.append({name: tensor.detach().clone().numpy() for name, tensor in self._given.items()})
        if self.ruin is not None:
            self.ruin(self._given)


@pytest.fixture
def ruined() -> Iterator[Ruined]:
    ruined = Ruined(build("olmoe"))
    yield ruined
    ruined.remove()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls were held, pass by pass."""
    numbers: list[int] = []

    def noted(holds: Any) -> Any:
        numbers.append(len(holds))
        return copied(holds)

    monkeypatch.setattr("moedesk.probe.taking.tap.copied", noted)
    return numbers


def run(ruined: Ruined, passes: int, mode: Callable[[], AbstractContextManager[Any]] = torch.no_grad) -> None:
    with mode():
        for seed in range(passes):
            ruined.model(some_ids(seed=seed))


def check(gathered: Gathered, seen: list[dict[str, np.ndarray]]) -> None:
    assert len(gathered.batches) * 2 == len(seen)
    for turn in range(len(gathered.batches)):
        for place in range(2):
            routes, was = gathered.routes(place, turn), seen[2 * turn + place]
            np.testing.assert_array_equal(routes.experts, was["ids"])
            np.testing.assert_array_equal(routes.weights, was["weights"])
            np.testing.assert_array_equal(routes.logits, was["logits"])
            np.testing.assert_array_equal(routes.counts, np.bincount(was["ids"].ravel(), minlength=8))


def watched(ruined: Ruined) -> tuple[Attachment, Gathered]:
    """Attached, with its layers found and one pass held."""
    gathered = Gathered()
    attachment = attach(ruined.model, sink=gathered, logits=True)
    run(ruined, 3)
    return attachment, gathered


def test_what_is_held_is_what_the_experts_got(ruined: Ruined, held: list[int]) -> None:
    attachment, gathered = watched(ruined)
    run(ruined, 2)
    attachment.detach()
    check(gathered, ruined.seen)
    assert held == [2, 2, 2], "the first pass finds the layers, the second how they are called"


@pytest.mark.parametrize("ruin", RUINS.values(), ids=RUINS.keys())
def test_a_change_drops_one_pass_and_from_then_on_hooks_copy(ruined: Ruined, ruin: Ruin, held: list[int]) -> None:
    attachment, gathered = watched(ruined)
    ruined.ruin = ruin
    run(ruined, 1)
    del ruined.seen[-2:]
    run(ruined, 3)
    assert (attachment.counters.passes, attachment.counters.dropped) == (7, 1)
    assert attachment.counters.dropped_tokens == some_ids().numel()
    attachment.detach()
    check(gathered, ruined.seen)
    assert held == [2, 2], "none is held after that"
    assert [line for line in gathered.notes if "one pass was dropped" in line], gathered.notes


@pytest.mark.parametrize("ruin", RUINS.values(), ids=RUINS.keys())
def test_inference_tensors_are_copied_at_once(ruined: Ruined, ruin: Ruin, held: list[int]) -> None:
    attachment, gathered = watched(ruined)
    ruined.ruin = ruin
    run(ruined, 3, torch.inference_mode)
    attachment.detach()
    check(gathered, ruined.seen)
    assert attachment.counters.dropped == 0
    assert held == [2]


@pytest.mark.parametrize("ruin", [RUINS["weights"], RUINS["logits"]])
def test_training(ruined: Ruined, ruin: Ruin) -> None:
    ruined.model.train()
    attachment, gathered = watched(ruined)
    run(ruined, 1, torch.enable_grad)
    ruined.ruin = ruin
    run(ruined, 1, torch.enable_grad)
    del ruined.seen[-2:]
    run(ruined, 1, torch.enable_grad)
    attachment.detach()
    check(gathered, ruined.seen)
    assert attachment.counters.dropped == 1


def test_what_is_on_a_device_is_copied_at_once(ruined: Ruined) -> None:
    """A model that ran on the host may move to a GPU, for which the meta device stands; the hooks stay the same ones."""
    attachment, _ = watched(ruined)
    binding = attachment._tracer.bindings[0]
    attachment.detach()
    assert binding.router is not None
    source, current, cost = Source(binding), Current(settled=True), Cost()
    current.tap = tap = Tap(Room.EVERYTHING, True, lambda tap, piece: None)
    entered = layer_hooks._before_experts(source, current, cost)
    routed = layer_hooks._after_router(source, current, cost)
    tap.expect(3)
    held = []
    for device in ("cpu", "cpu", "meta", "cpu"):  # the first call shows where ids and weights are
        rows, logits = torch.zeros(3, 32, device=device), torch.zeros(3, 8, device=device)
        ids, weights = torch.zeros(3, 2, dtype=torch.int64, device=device), torch.ones(3, 2, device=device)
        routed(binding.router, (rows,), (logits, weights, ids))
        entered(binding.candidate.experts, (rows, ids, weights))
        held.append(len(tap.held or ()))
        if device == "meta":
            event = tap._events[-1]
            assert event.ids.is_meta
            assert event.ids is not ids
            assert event.logits is not None
            assert event.logits is not logits
    assert held == [0, 1, 0, 1]


class Block(nn.Module):
    """A block of one's own, which writes past PyTorch's counters of changes."""

    def __init__(self, gate: nn.Module, experts: nn.Module) -> None:
        super().__init__()
        self.gate, self.experts = gate, experts

    def forward(self, hidden: Tensor) -> Tensor:
        rows = hidden.reshape(-1, hidden.shape[-1])
        logits, weights, ids = self.gate(rows)
        output = self.experts(rows, ids, weights).view_as(hidden)
        logits.data.zero_()
        weights.numpy()[:] = 0
        ids.data.zero_()
        return output


def test_modules_of_ones_own_are_copied_at_once(held: list[int]) -> None:
    model = build("olmoe")
    for layer in model.model.layers:
        layer.mlp = Block(layer.mlp.gate, layer.mlp.experts)
    ruined = Ruined(model)
    for layer in model.model.layers:  # looks before the block writes
        layer.mlp.experts.register_forward_hook(ruined._left)
        layer.mlp._forward_hooks.clear()
    attachment, gathered = watched(ruined)
    attachment.detach()
    check(gathered, ruined.seen)
    assert held == []


def test_nothing_is_kept_of_a_pass_that_is_over(ruined: Ruined) -> None:
    attachment, _ = watched(ruined)
    run(ruined, 1)
    kept = [weakref.ref(tensor) for tensor in ruined._given.values()]
    ruined._given.clear()
    gc.collect()
    assert [reference() for reference in kept] == [None, None, None]
    attachment.detach()
