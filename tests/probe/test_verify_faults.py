"""The self-test finds what could be wrong: with the hooks, with what they read, with a model that leaks or is restless."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.errors import CaptureWarning
from moedesk.core.verification import Check, CheckName, Verdict, Verification
from moedesk.probe.exactness import layer_trial
from moedesk.probe.exactness import verify as self_test
from moedesk.probe.exactness.kept import Kept
from moedesk.probe.exactness.verify import verify
from moedesk.probe.finding.routing import ExpertsCall
from moedesk.probe.record import record
from moedesk.probe.tracer import Tracer
from tests.support.families import build


def failures(found: Verification) -> dict[str, Check]:
    """The failed checks of model and layers, by name; of several layers, the first one's."""
    checks = [*found.checks, *(check for layer in found.layers for check in layer.checks)]
    return {check.name: check for check in reversed(checks) if check.verdict is Verdict.FAILED}


@pytest.fixture
def model() -> nn.Module:
    return build("mixtral")


def capture_wrongly(monkeypatch: pytest.MonkeyPatch, change: Callable[[LayerRoutes], LayerRoutes]) -> None:
    """Let what is captured of every layer be something else, whatever is at fault."""
    right = Kept.append

    def wrong(kept: Any, batch: RouteBatch) -> None:
        right(kept, replace(batch, layers=tuple(change(routes) for routes in batch.layers)))

    monkeypatch.setattr(Kept, "append", wrong)


def test_hooks_that_change_what_the_model_returns(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    class Changing(Tracer):
        def __init__(self, module: Any, *rest: Any) -> None:
            super().__init__(module, *rest)
            block = module.model.layers[0].mlp
            self._handle = block.register_forward_hook(lambda m, a, output: output * (1 + 1e-6))

        def stop(self, *rest: Any) -> bool:
            self._handle.remove()
            return super().stop(*rest)

    monkeypatch.setattr(self_test, "Tracer", Changing)
    found = verify(model)
    wrong = failures(found)[CheckName.OUTPUTS]
    assert found.verdict is Verdict.FAILED
    assert wrong.text.startswith("with hooks, in pass 0: logits differs in ")
    assert "FAILED · outputs" in found.summary


def test_a_weight_that_is_captured_wrongly(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    capture_wrongly(monkeypatch, lambda routes: replace(routes, weights=routes.weights * np.float32(1.001)))
    found = failures(verify(model))
    assert set(found) == {CheckName.CAPTURED, CheckName.REPLAY, CheckName.BLOCK}
    assert found[CheckName.REPLAY].error == pytest.approx(1e-3, rel=0.1)
    assert "was captured (64 rows differ)" in found[CheckName.CAPTURED].text


def test_weights_that_are_read_wrongly_everywhere(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then only the experts themselves can tell."""
    right = layer_trial.read_routing

    def wrong(args: Any, kwargs: Any) -> ExpertsCall | None:
        call = right(args, kwargs)
        return None if call is None else ExpertsCall(call.hidden, call.choice, call.weights * np.float32(1.0001))

    monkeypatch.setattr(layer_trial, "read_routing", wrong)
    capture_wrongly(monkeypatch, lambda routes: replace(routes, weights=routes.weights * np.float32(1.0001)))
    found = failures(verify(model))
    assert CheckName.CAPTURED not in found
    assert found[CheckName.REPLAY].error == pytest.approx(1e-4, rel=0.5)
    assert found[CheckName.REPLAY].error > found[CheckName.REPLAY].tolerance
    assert "first in token row 0" in found[CheckName.REPLAY].text


def test_ids_that_are_shifted(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(routes: LayerRoutes) -> LayerRoutes:
        return replace(routes, experts=(routes.experts + 1) % 8, counts=np.roll(routes.counts, 1))

    capture_wrongly(monkeypatch, shifted)
    found = failures(verify(model))
    assert {CheckName.CAPTURED, CheckName.COUNTS, CheckName.REPLAY} <= set(found)
    assert "token row 0: experts" in found[CheckName.CAPTURED].text


def test_an_expert_that_leaks_to_tokens_that_did_not_choose_it(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = model.model.layers[0].mlp.experts
    right = experts.forward

    def leaking(hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        return right(hidden, top_k_index, top_k_weights) + top_k_weights.where(top_k_index == 3, 0).sum() * hidden

    experts.forward = leaking
    monkeypatch.setattr(layer_trial, "chosen_experts", lambda ids, experts: [3])
    found = verify(model)
    assert found.layers[0].verdict is Verdict.FAILED
    switched = found.layers[0].check(CheckName.SWITCHED_OFF)
    assert "token rows that did not choose it" in switched.text
    assert found.layers[1].verdict is Verdict.VERIFIED


def make_deaf(experts: nn.Module) -> None:
    """Let experts not use the weights they are given."""
    right = experts.forward

    def deaf(hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        return right(hidden, top_k_index, torch.full_like(top_k_weights, 0.5))

    experts.forward = deaf


def test_weights_that_are_not_what_the_experts_apply(model: nn.Module) -> None:
    make_deaf(model.model.layers[1].mlp.experts)
    found = verify(model)
    assert found.layers[1].verdict is Verdict.FAILED
    assert "changed nothing in" in found.layers[1].check(CheckName.SWITCHED_OFF).text
    assert found.layers[0].verdict is Verdict.VERIFIED


def test_a_model_that_differs_from_itself(model: nn.Module) -> None:
    class Restless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = torch.zeros(())

        def forward(self, hidden: Tensor) -> Tensor:
            self.calls += 1
            return hidden * (1 + 1e-3 * self.calls)

    model.model.norm = nn.Sequential(model.model.norm, Restless())
    found = verify(model)
    outputs = next(check for check in found.checks if check.name == CheckName.OUTPUTS)
    assert outputs.verdict is Verdict.NOT_CHECKED
    assert outputs.text.startswith("the model differs from itself without hooks: logits differs")
    assert found.verdict is Verdict.NOT_CHECKED
    assert found.verified_layers == 2
    assert "not checked: outputs" in found.summary


def test_dropout_is_off_and_said(model: nn.Module) -> None:
    for layer in model.model.layers:
        layer.mlp = nn.Sequential(layer.mlp, nn.Dropout(0.5))
    model.train()
    found = verify(model)
    assert found.verdict is Verdict.VERIFIED
    assert found.notes == ("the model is in training mode; it was tested in evaluation mode",)
    assert all(module.training for module in model.modules())


def test_dropout_that_evaluation_mode_does_not_stop(model: nn.Module) -> None:
    experts = model.model.layers[0].mlp.experts
    right = experts.forward

    def dropping(hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        return nn.functional.dropout(right(hidden, top_k_index, top_k_weights), 0.5, training=True)

    experts.forward = dropping
    found = verify(model)
    assert found.layers[0].check(CheckName.REPLAY).verdict is Verdict.NOT_CHECKED
    assert "another output the second time" in found.layers[0].check(CheckName.REPLAY).text
    assert found.layers[0].verdict is Verdict.NOT_CHECKED
    assert found.layers[1].verdict is Verdict.VERIFIED


def test_a_buffer_that_a_forward_changes_is_put_back_and_said(model: nn.Module) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, hidden: Tensor) -> Tensor:
            self.seen += 1
            self.extra = 3
            return hidden

    counting = Counting()
    buffer = counting.seen
    model.model.norm = nn.Sequential(model.model.norm, counting)
    found = verify(model)
    assert counting.seen is buffer
    assert counting.seen.item() == 0
    assert not hasattr(counting, "extra")
    said = next(check for check in found.checks if check.name == CheckName.UNTOUCHED)
    assert said.verdict is Verdict.NOT_CHECKED
    assert "model.norm.1: buffer seen was changed; put back" in said.text


def test_a_recording_says_that_its_test_failed(model: nn.Module, tmp_path: Any) -> None:
    make_deaf(model.model.layers[1].mlp.experts)
    with pytest.warns(CaptureWarning, match="FAILED in 1 of 2 layers · model.layers.1.mlp: expert switched off"):
        recording = record(model, tmp_path / "a.h5", verify=True).__enter__()
    recording.__exit__(None, None, None)
    assert recording.model.verification.verdict is Verdict.FAILED
