"""The self-test passes where the capture is right, says why where it can't tell, and leaves the model as it was."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.core.verification import CheckName, Verdict, Verification
from moedesk.probe.exactness.verify import verify
from moedesk.probe.load import load
from tests.support.families import FAMILIES, build, some_ids


def verdicts(found: Verification, name: CheckName) -> list[Verdict]:
    """Of one check, layer by layer."""
    return [check.verdict for layer in found.layers if (check := layer.check(name)) is not None]


@pytest.mark.parametrize("name", ["sample", "sample-sick"])
def test_the_samples_are_verified(name: str) -> None:
    found = verify(*load(name))
    assert found.summary == "verified 6 of 6 layers"
    assert found.verdict is Verdict.VERIFIED
    assert verdicts(found, CheckName.LOGITS) == verdicts(found, CheckName.BLOCK) == [Verdict.VERIFIED] * 6
    assert "English" in found.conditions


CANNOT = {
    "jetmoe": "captured: JetMoeMoA is not called as a whole, so it can't be run again",
}
"""Why layers of a family are not verified; ``jetmoe``: those in the attention."""


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_verified(family: Any, name: str) -> None:
    """Each against itself: its experts are run again, one slot at a time, and switched off one by one."""
    inputs = FAMILIES[name].arguments(some_ids()) if FAMILIES[name].inputs else None
    found = verify(family(name), inputs=inputs)
    assert found.verdict is not Verdict.FAILED, found.summary
    if name in CANNOT:
        reasons = {layer.reason for layer in found.layers if layer.verdict is not Verdict.VERIFIED}
        assert reasons == {CANNOT[name]}
        return
    ran = [layer for layer in found.layers if layer.check(CheckName.CAPTURED).verdict is Verdict.VERIFIED]
    assert [layer.verdict for layer in ran] == [Verdict.VERIFIED] * len(FAMILIES[name].layers), found.summary
    assert found.verdict is (Verdict.VERIFIED if len(ran) == len(found.layers) else Verdict.NOT_CHECKED)
    if any(layer.adapter for layer in FAMILIES[name].layers):  # the replay is against the block's output
        return
    linear = [not np.isnan(layer.post_scale) for layer in FAMILIES[name].layers]
    assert [layer.check(CheckName.BLOCK).verdict is Verdict.VERIFIED for layer in ran] == linear


@pytest.mark.parametrize("implementation", ["eager", "batched_mm"])
def test_other_implementations(family: Any, implementation: str) -> None:
    model = family("qwen3_moe")
    before = model.config._experts_implementation
    model.set_experts_implementation(implementation)
    try:
        found = verify(model)
    finally:
        model.set_experts_implementation(before)
    assert found.verdict is Verdict.VERIFIED, found.summary
    assert implementation in found.conditions


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    model = build("deepseek_v3").to(dtype)
    model.set_experts_implementation("eager" if dtype == torch.float64 else "grouped_mm")
    found = verify(model)
    assert found.verdict is Verdict.VERIFIED, found.summary


def hooks_of(model: nn.Module) -> list[dict[str, Any]]:
    """Hooks and plain attributes of every module."""
    skipped = ("_parameters", "_buffers", "_modules")
    return [
        {
            name: list(value.items()) if name.endswith("hooks") else value
            for name, value in vars(module).items()
            if name not in skipped
        }
        for module in model.modules()
    ]


def test_the_model_is_left_as_it_was() -> None:
    model = build("deepseek_v3")
    model.train()
    model.model.layers[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    handle = model.model.register_forward_hook(lambda *_: None)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = [(dict(vars(m)), m.training) for m in model.modules()]
    hooks = hooks_of(model)
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    expected = torch.rand(3).tolist(), random.random(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    found = verify(model)
    assert (torch.rand(3).tolist(), random.random(), np.random.rand()) == expected  # noqa: NPY002
    assert found.verdict is Verdict.VERIFIED, found.summary
    assert any("training mode" in note for note in found.notes)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [m.training for m in model.modules()] == [training for _, training in plain]
    assert [list(vars(m)) for m in model.modules()] == [list(values) for values, _ in plain]
    assert hooks_of(model) == hooks
    assert all(bool((parameter.grad == 1).all()) for parameter in model.parameters())
    assert torch.is_grad_enabled()
    handle.remove()


def test_without_masks_and_with_inputs_of_ones_own(family: Any) -> None:
    found = verify(family("olmoe"), inputs={"input_ids": some_ids()})
    assert found.verdict is Verdict.VERIFIED
    assert "inputs that were given" in found.conditions
    assert "padding" not in found.layers[0].check(CheckName.COUNTS).text


def test_inputs_that_the_model_cannot_run(family: Any) -> None:
    model = family("olmoe")
    hooks = hooks_of(model)
    with pytest.raises(MoedeskError, match="OlmoeForCausalLM can't run these inputs") as caught:
        verify(model, inputs={"input_ids": torch.full((1, 3), 1000)})
    assert "\n" not in str(caught.value)
    assert hooks_of(model) == hooks


def test_chosen_layers(family: Any) -> None:
    found = verify(family("olmoe"), layers=[1])
    assert [layer.path for layer in found.layers] == ["model.layers.1.mlp"]
    assert found.summary == "verified 1 of 1 layers"


def test_an_interrupt_leaves_the_model_clean(family: Any) -> None:
    model = family("olmoe")
    hooks = hooks_of(model)
    seen: list[str] = []

    def interrupt(text: str, share: float) -> None:
        seen.append(text)
        if text == "model.layers.1.mlp":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(model, progress=interrupt)
    assert seen[-1] == "model.layers.1.mlp"
    assert hooks_of(model) == hooks
