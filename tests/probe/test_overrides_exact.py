"""Overrides against brute force: the model's own code with other parameters, other implementations, gradients, recomputation."""

from typing import Any

import pytest
import torch
from torch import Tensor

import moedesk
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of
from tests.support import hand_written
from tests.support.families import build, some_ids
from tests.support.hand_written import Small
from tests.support.hand_written import some_ids as small_ids
from tests.support.overridden import logits, on

FAR = 1e4


@pytest.mark.parametrize("name", ["deepseek_v3", "minimax_m2", "afmoe", "glm4_moe", "deepseek_v4"])
def test_excluding_is_a_bias_of_minus_infinity(name: str) -> None:
    """Where a bias corrects the choice, the model's own untouched code leaves an expert out with a bias of -inf."""
    model, expert = build(name), 3
    kept = next(path for path, _ in [*model.named_buffers(), *model.named_parameters()] if path.endswith("bias")
                and ("correction" in path or "expert_bias" in path))  # fmt: skip
    place = next(b.layer.place for b in overrides_of(model).layers.bindings if kept.startswith(b.layer.path + "."))
    holder, attribute = model.get_submodule(kept.rpartition(".")[0]), kept.rpartition(".")[2]
    getattr(holder, attribute).data[expert] = 3.0  # alone, it wins
    with on(model, Override(OverrideKind.EXCLUDE, (place,), (expert,))):
        found = logits(model)
    getattr(holder, attribute).data[expert] = -torch.inf
    assert torch.equal(found, logits(model))


@pytest.mark.parametrize("name", ["gpt_oss", "openai_privacy_filter"])
def test_a_bias_on_the_logit_is_the_routers_own_bias(name: str) -> None:
    model = build(name)
    with on(model, Override(OverrideKind.BIAS, (0,), (5,), 1.25)):
        found = logits(model)
    router = overrides_of(model).layers.bindings[0].router
    router.bias.data[5] += 1.25
    torch.testing.assert_close(found, logits(model), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["olmoe", "mixtral", "deepseek_v2 grouped", "jamba", "mistral4", "cohere2_moe"])
def test_a_temperature_is_a_router_with_smaller_weights(name: str) -> None:
    """Halving is exact, so the bits are the same."""
    model = build(name)
    with on(model, Override(OverrideKind.TEMPERATURE, value=2.0)):
        found = logits(model)
    for binding in overrides_of(model).layers.bindings:
        binding.router.weight.data /= 2
    assert torch.equal(found, logits(model))


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_every_implementation_of_experts_does_the_same(implementation: str) -> None:
    """Ablating is an expert whose output is zero; forcing and swapping are other ids."""
    model: Any = build("olmoe")
    model.set_experts_implementation(implementation)
    plain = logits(model)
    with on(model, Override(OverrideKind.ABLATE, (1,), (4,))):
        ablated = logits(model)
    with on(model, Override(OverrideKind.SWAP, (1,), (4, 6))):
        swapped = logits(model)
    experts = model.model.layers[1].mlp.experts
    for parameter in experts.parameters():
        parameter.data[[4, 6]] = parameter.data[[6, 4]]
    torch.testing.assert_close(swapped, logits(model), rtol=1e-5, atol=1e-6)
    for parameter in experts.parameters():
        parameter.data[[4, 6]] = parameter.data[[6, 4]]
    assert torch.equal(logits(model), plain)
    experts.down_proj.data[4] = 0
    torch.testing.assert_close(ablated, logits(model), rtol=1e-5, atol=1e-6)
    assert not torch.equal(ablated, plain)


def test_capacity_keeps_the_first_slots_of_each_expert(tmp_path: Any) -> None:
    model = build("olmoe")
    with on(model, Override(OverrideKind.CAPACITY, (0,), value=0.5)), moedesk.record(model, tmp_path / "run.h5"):
        logits(model)
    with moedesk.record(model, tmp_path / "plain.h5"):
        logits(model)
    limited, plain = moedesk.open(tmp_path / "run.h5"), moedesk.open(tmp_path / "plain.h5")
    room, given = -(-18 * 2 * 0.5 // 8), dict.fromkeys(range(8), 0)
    for row, slots in enumerate(plain.experts(0)):
        for slot, expert in enumerate(slots.tolist()):
            given[expert] += 1
            kept = given[expert] <= room
            assert limited.experts(0)[row, slot] == (expert if kept else -1)
            assert limited.weights(0)[row, slot] == (plain.weights(0)[row, slot] if kept else 0)
    assert limited.counts(0).max() == room
    assert [acted.override.value for acted in limited.overrides] == [0.5]
    limited.close()
    plain.close()


def test_replayed_ids_keep_their_slots_where_the_model_does_not_sort_them(tmp_path: Any) -> None:
    model = build("minimax_m2")
    with on(model, Override(OverrideKind.SWAP, (), (1, 4))), moedesk.record(model, tmp_path / "run.h5"):
        logits(model)
    with moedesk.open(tmp_path / "run.h5") as capture:
        expected = torch.tensor(capture.experts(0))
    replay = Override(OverrideKind.REPLAY, (0,), capture=str(tmp_path / "run.h5"))
    with on(model, replay), moedesk.record(model, tmp_path / "again.h5"):
        logits(model)
    with moedesk.open(tmp_path / "again.h5") as capture:
        assert torch.equal(torch.tensor(capture.experts(0)), expected)


def test_margins_with_an_excluded_expert_are_those_of_the_others_or_unknown(tmp_path: Any) -> None:
    """By shares the excluded expert has none, so the next one counts; where a bias is added, logits don't tell."""
    for name, known in (("olmoe", True), ("minimax_m2", False)):
        model = build(name)
        exclude = Override(OverrideKind.EXCLUDE, (0,), (3,))
        with on(model, exclude), moedesk.record(model, tmp_path / f"{name}.h5", logits=True):
            logits(model)
        with moedesk.open(tmp_path / f"{name}.h5") as capture:
            margins, values = torch.tensor(capture.margin(0)), torch.tensor(capture.logits(0))
        assert bool(margins.isnan().all()) != known
        assert bool(margins.isnan().any()) != known
        assert (values[:, 3] == -torch.inf).all()
        if known:
            best = values.softmax(-1).topk(3).values
            torch.testing.assert_close(margins, best[:, 1] - best[:, 2])


def test_gradients_flow_and_recomputation_sees_the_same_overrides() -> None:
    given = (
        Override(OverrideKind.SCALE, (0,), (3,), 0.5, columns=(2, 7)),
        Override(OverrideKind.BIAS, (1,), (2,), 1.0, columns=(0, 4), phases=("train",)),
    )
    gradients: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        model: Any = build("olmoe").train()
        if checkpointing:
            model.activation_checkpointing_enable()
        with on(model, *given) as overrides:
            model(some_ids(), labels=some_ids(), use_cache=False).loss.backward()
            assert all(overrides.acted(entry) > 0 for entry in overrides.entries)
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, again = gradients
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert plain["model.layers.0.mlp.gate.weight"].abs().sum() > 0
    untouched: Any = build("olmoe").train()
    untouched(some_ids(), labels=some_ids(), use_cache=False).loss.backward()
    assert not torch.equal(untouched.model.layers[1].mlp.gate.weight.grad, plain["model.layers.1.mlp.gate.weight"])


def test_of_two_numbers_of_slots_the_later_one_holds_in_copied_code_too() -> None:
    model, plain = build("olmoe"), logits(build("olmoe"))
    three, four = (Override(OverrideKind.TOP_K, layers, value=value) for layers, value in (((), 3.0), ((1,), 4.0)))
    with on(model, three, four) as overrides:
        found = logits(model)
        code = overrides.as_python()
    names: dict[str, Any] = {"model": model}
    exec(code, names)
    assert torch.equal(logits(model), found)
    for take_back in names["undo"]:
        take_back()
    assert torch.equal(logits(model), plain)
    assert not torch.equal(found, plain)


def test_in_a_script_without_the_app() -> None:
    model = build("olmoe")
    plain = logits(model)
    with moedesk.override(model).exclude(1, [0, 3]) as handle:
        assert not torch.equal(logits(model), plain)
        assert handle.acted > 0
    assert torch.equal(logits(model), plain)


def test_what_can_not_act_is_refused_and_leaves_the_model_alone() -> None:
    model = Small(hand_written.ExpertChoice).eval()
    overrides = Overrides(model, type(overrides_of(model).layers)(model, inputs={"idx": small_ids()}))
    for override, words in (
        (Override(OverrideKind.SWAP, (0,), (1, 2)), "what its experts return can be changed"),
        (Override(OverrideKind.TEMPERATURE, (0,), value=2.0), "no score of a token's own"),
    ):
        with pytest.raises(MoedeskError, match=words) as caught:
            overrides.add(override)
        assert "\n" not in str(caught.value)
    assert not any(module._forward_pre_hooks or "forward" in vars(module) for module in model.modules())
    assert not overrides.entries
