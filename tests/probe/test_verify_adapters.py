"""The self-test of layers that an adapter reads, and of blocks that are watched; and how adapters change a routing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import moedesk
from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.errors import MoedeskError
from moedesk.core.verification import CheckName, Verdict, Verification
from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.adapters.registry import declared, forget
from moedesk.probe.exactness.kept import Kept
from moedesk.probe.exactness.single_expert import expert_runner
from moedesk.probe.exactness.verify import verify
from moedesk.probe.finding.binding import Binding
from moedesk.probe.overriding.rerouting import Rerouting
from tests.support import hand_written
from tests.support.capacity import MOELayer, SwitchBlock, TopKGate
from tests.support.families import FAMILIES, build
from tests.support.families import some_ids as family_ids
from tests.support.gathered import gather
from tests.support.hand_written import HandWritten, Small, some_ids

WATCHED: dict[str, Callable[[], nn.Module]] = {
    **hand_written.BLOCKS,
    "ExpertChoice": hand_written.ExpertChoice,
    "ExpertChoiceInSequence": hand_written.ExpertChoiceInSequence,
    "SwitchBlock": lambda: SwitchBlock(top_k=1, capacity=3),
    "MOELayer": lambda: MOELayer(TopKGate(6, 2, 4)),
}


@pytest.fixture(autouse=True)
def no_adapter_stays() -> Iterator[None]:
    yield
    for adapter in declared():
        forget(adapter)


def tried(block: Callable[[], nn.Module]) -> Verification:
    """A model of two such blocks, tested."""
    return verify(Small(block).eval(), inputs={"idx": some_ids()})


@pytest.mark.parametrize("name", WATCHED)
def test_blocks_of_ones_own_are_verified(name: str) -> None:
    found = tried(WATCHED[name])
    assert found.summary == "verified 2 of 2 layers", found
    assert found.verdict is Verdict.VERIFIED
    check = found.layers[0].check(CheckName.REPLAY)
    assert check is not None
    assert ("the block's input" in check.text) == (name == "AllExpertsRun")
    assert ("shared" in check.text) == (name == "SortedTokens")


def test_experts_that_get_mixtures_of_tokens_are_not_checked_by_name() -> None:
    found = tried(hand_written.SoftMoE)
    assert found.verdict is Verdict.NOT_CHECKED
    assert {layer.reason for layer in found.layers} == {
        "replay: its experts get mixtures of all tokens, so no expert can be run on one token"
    }


def capture_wrongly(monkeypatch: pytest.MonkeyPatch, change: Callable[[LayerRoutes], LayerRoutes]) -> None:
    """Let what is captured of every layer be something else."""
    right = Kept.append

    def wrong(kept: Any, batch: RouteBatch) -> None:
        right(kept, replace(batch, layers=tuple(change(routes) for routes in batch.layers)))

    monkeypatch.setattr(Kept, "append", wrong)


def failed(found: Verification) -> set[str]:
    """Names of the failed checks of the first layer."""
    return {check.name for check in found.layers[0].checks if check.verdict is Verdict.FAILED}


@pytest.mark.parametrize("name", ["LoopOverExperts", "SwitchBlock", "OwnGate"])
def test_a_weight_that_is_captured_wrongly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    capture_wrongly(monkeypatch, lambda routes: replace(routes, weights=routes.weights * np.float32(1.001)))
    assert failed(tried(WATCHED[name])) == {CheckName.CAPTURED, CheckName.REPLAY}


@pytest.mark.parametrize("name", ["llama4", "zaya", "jetmoe", "vitpose_backbone", "nllb_moe", "doge"])
def test_ids_of_a_family_that_are_captured_wrongly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(routes: LayerRoutes) -> LayerRoutes:
        experts = len(routes.counts)
        moved = np.where(routes.experts < 0, -1, (routes.experts + 1) % experts).astype(routes.experts.dtype)
        return replace(routes, experts=moved, counts=np.roll(routes.counts, 1))

    capture_wrongly(monkeypatch, shifted)
    family = FAMILIES[name]
    found = verify(family.build(), inputs=family.arguments(family_ids()))
    assert {CheckName.CAPTURED, CheckName.REPLAY, CheckName.COUNTS} <= failed(found)


class Declared(HandWritten):
    """A block whose adapter says what it did; ``leak`` of expert 0's output reaches every token."""

    leak = 0.0

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        weights, ids = self.gate(rows).softmax(-1).topk(self.top_k, dim=-1)
        self.say(ids, weights)
        output = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            row, slot = torch.where(ids == number)
            made = expert(rows[row])
            output[row] += weights[row, slot, None] * made
            output += self.leak * made.sum()
        return output.view_as(x)


class Leaking(Declared):
    leak = 1e-3


def says(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Declare an adapter for these blocks."""
    moedesk.adapter("Declared", experts="experts", read=lambda block, *_: Routing(*change(*block.said[-1])))


def test_a_declared_block_is_verified_by_its_experts_modules() -> None:
    says(lambda ids, weights: (ids, weights))
    assert tried(Declared).summary == "verified 2 of 2 layers"


def test_an_expert_that_reaches_tokens_that_did_not_choose_it() -> None:
    says(lambda ids, weights: (ids, weights))
    found = tried(Leaking)
    check = found.layers[0].check(CheckName.SWITCHED_OFF)
    assert check is not None
    assert check.verdict is Verdict.FAILED
    assert "token rows that did not choose it" in check.text


def test_a_read_that_says_other_experts() -> None:
    says(lambda ids, weights: ((ids + 1) % 8, weights))
    assert failed(tried(Declared)) == {CheckName.SWITCHED_OFF}


def test_weights_that_explain_nothing_are_not_called_verified() -> None:
    """They may be right, with another factor behind the experts."""
    says(lambda ids, weights: (ids, weights / 2))
    layer = tried(Declared).layers[0]
    assert layer.verdict is Verdict.NOT_CHECKED
    assert layer.reason == "replay: what follows the experts is not linear, or was not measured"


def bound(name: str) -> tuple[nn.Module, dict[str, Any], Binding]:
    """A family's model, its inputs, and its first layer that is called."""
    family = FAMILIES[name]
    model, inputs = family.build(), family.arguments(family_ids())
    recording, _ = gather(model)
    with torch.no_grad(), recording:
        model(**inputs)
        bindings = recording._tracer.bindings
    return model, inputs, next(binding for binding in bindings if type(binding.candidate.block).__name__ != "JetMoeMoA")


@pytest.mark.parametrize("name", ["llama4", "jetmoe", "nllb_moe", "zaya", "doge", "vitpose_backbone"])
def test_what_an_adapter_writes_is_what_runs(name: str) -> None:
    """Every token is sent to experts of the test's choice; what that adds to the output is worked out by single experts."""
    model, inputs, binding = bound(name)
    block, layer, run_one = binding.candidate.block, binding.layer, expert_runner(binding)
    assert run_one is not None
    if name == "vitpose_backbone":  # its experts get other rows than the block
        block = binding.candidate.experts
    calls: list[tuple[Any, Any]] = []
    handle = block.register_forward_pre_hook(lambda module, *call: calls.append(call), with_kwargs=True)
    with torch.no_grad():
        model(**inputs)
        handle.remove()
        (args, kwargs) = calls[0]
        rows = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)).flatten(0, -2)
        numbers = torch.arange(len(rows) * layer.top_k).reshape(-1, layer.top_k)
        ids, weights = numbers % min(7, layer.experts), 0.2 + 0.1 * (numbers % 5).float()
        ids[3, 0] = -1

        def output(weights: Tensor) -> Tensor:
            with Rerouting(binding, lambda routing: replace(routing, ids=ids, weights=weights)):
                made = block(*args, **kwargs)
            return (made[0] if isinstance(made, tuple) else made).reshape(len(rows), -1)

        added = output(weights) - output(torch.zeros_like(weights))
        expected = torch.zeros_like(added)
        for row, slot in torch.cartesian_prod(torch.arange(len(rows)), torch.arange(layer.top_k)).tolist():
            expert, weight, given = int(ids[row, slot]), weights[row, slot], rows[row : row + 1]
            if expert >= 0:
                inside = binding.adapter is not None and binding.adapter.weighs == "inputs"
                expected[row] += run_one(expert, given * weight)[0] if inside else weight * run_one(expert, given)[0]
    torch.testing.assert_close(added, layer.post_scale * expected, rtol=1e-4, atol=1e-5)


def test_a_token_cannot_be_sent_where_it_has_no_place() -> None:
    model: Any = Small(WATCHED["MOELayer"], layers=1).eval()
    recording, _ = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        (binding,) = recording._tracer.bindings
    with (
        torch.no_grad(),
        pytest.raises(MoedeskError, match="no place"),
        Rerouting(binding, lambda routing: replace(routing, ids=(routing.ids + 1) % 6)),
    ):
        model(some_ids())


def test_an_adapter_without_write_says_so() -> None:
    says(lambda ids, weights: (ids, weights))
    model = Small(Declared, layers=1).eval()
    recording, _ = gather(model)
    with torch.no_grad(), recording:
        model(some_ids())
        (binding,) = recording._tracer.bindings
    with pytest.raises(MoedeskError, match="adapter 'Declared' can't change the routing"):
        Rerouting(binding, lambda routing: routing)


def test_the_models_are_left_as_they_were() -> None:
    for model, inputs in ((build("llama4"), None), (Small(hand_written.LoopOverExperts).eval(), {"idx": some_ids()})):
        before = [
            (list(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks))
            for module in model.modules()
        ]
        verify(model, inputs=inputs)
        after = [
            (list(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks))
            for module in model.modules()
        ]
        assert after == before
