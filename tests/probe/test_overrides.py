"""Overrides on a model: what acts, where, what it leaves alone, and what a capture says of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of
from tests.support.console import own_moe
from tests.support.families import build, some_ids
from tests.support.gathered import gather
from tests.support.overridden import logits

ABLATE = OverrideKind.ABLATE


@pytest.fixture(scope="module")
def olmoe() -> nn.Module:
    return build("olmoe")


@pytest.fixture
def overrides(olmoe: nn.Module) -> Iterator[Overrides]:
    found = overrides_of(olmoe)
    yield found
    found.close()
    assert pristine(olmoe)


def pristine(model: nn.Module) -> bool:
    return not any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) for module in model.modules()
    )


def test_with_none_on_nothing_is_on_the_model(olmoe: nn.Module, overrides: Overrides) -> None:
    plain = logits(olmoe)
    entry = overrides.add(Override(ABLATE, (0,), (3,)))
    assert not pristine(olmoe)
    assert not torch.equal(logits(olmoe), plain)
    overrides.switch(entry.id, False)
    assert pristine(olmoe)
    assert torch.equal(logits(olmoe), plain)


def test_excluding_is_a_router_without_the_expert(olmoe: Any, overrides: Overrides) -> None:
    """By hand: a logit of -inf, through softmax and top-k written out here."""
    gate = olmoe.model.layers[1].mlp.gate
    inputs: list[torch.Tensor] = []
    handle = gate.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    recording, gathered = gather(olmoe, logits=True)
    overrides.add(Override(OverrideKind.EXCLUDE, (1,), (2, 5)))
    with recording:
        logits(olmoe)
    handle.remove()
    scores = inputs[-1].reshape(-1, 32) @ gate.weight.T
    scores[:, [2, 5]] = -torch.inf
    weights, ids = scores.softmax(-1).topk(2)
    routes = gathered.routes(1)
    np.testing.assert_array_equal(routes.experts, ids)
    np.testing.assert_allclose(routes.weights, weights.detach(), rtol=1e-5)
    plain = (inputs[-1].reshape(-1, 32) @ gate.weight.T).softmax(-1).topk(2)
    differ = (plain.indices != ids).any(-1) | ~torch.isclose(plain.values, weights).all(-1)
    np.testing.assert_array_equal((routes.flags & RouteFlag.OVERRIDDEN) != 0, differ)
    assert not gathered.routes(0).flags.any()


def test_ablating_changes_exactly_the_tokens_that_chose_it(olmoe: Any, overrides: Overrides) -> None:
    recording, plain = gather(olmoe)
    kept: list[torch.Tensor] = []
    handle = olmoe.model.layers[0].mlp.register_forward_hook(lambda module, args, output: kept.append(output.clone()))
    with recording:
        logits(olmoe)
    expert = int(np.bincount(plain.routes(0).experts.ravel()).argmax())
    entry = overrides.add(Override(ABLATE, (0,), (expert,)))
    recording, gathered = gather(olmoe)
    with recording:
        logits(olmoe)
    handle.remove()
    chose = (plain.routes(0).experts == expert).any(1)
    assert 0 < chose.sum() < len(chose)
    np.testing.assert_array_equal((kept[0] != kept[1]).any(-1).reshape(-1), chose)
    routes = gathered.routes(0)
    np.testing.assert_array_equal(routes.experts, plain.routes(0).experts)
    np.testing.assert_array_equal((routes.flags & RouteFlag.OVERRIDDEN) != 0, chose)
    assert (routes.weights[routes.experts == expert] == 0).all()
    assert overrides.acted(entry) == chose.sum()


def test_a_capture_says_which_overrides_acted_on_which_passes(olmoe: Any, overrides: Overrides, tmp_path: Any) -> None:
    with moedesk.record(olmoe, tmp_path / "run.h5"):
        logits(olmoe)
        for override in (Override(ABLATE, (0,), (3,)), Override(OverrideKind.EXCLUDE, (1,), (5,))):
            overrides.add(override)
            logits(olmoe)
        overrides.clear()
        logits(olmoe)
    with moedesk.open(tmp_path / "run.h5") as capture:
        ablated, excluded = capture.overrides
        flagged = [(capture.flags(layer) & RouteFlag.OVERRIDDEN != 0) for layer in (0, 1)]
        rows = capture.read_tokens()["pass"]
    assert (ablated.override, ablated.passes) == (Override(ABLATE, (0,), (3,)), ((1, 3),))
    assert (excluded.override, excluded.passes) == (Override(OverrideKind.EXCLUDE, (1,), (5,)), ((2, 3),))
    assert set(rows[flagged[0]]) <= {1, 2}
    assert set(rows[flagged[1]]) == {2}


def test_only_some_columns_and_phases(olmoe: Any, overrides: Overrides) -> None:
    overrides.add(Override(OverrideKind.TEMPERATURE, (0,), value=3.0, columns=(2, 10), phases=("decode",)))
    recording, gathered = gather(olmoe)
    with recording, torch.no_grad():
        first = olmoe(some_ids(2, 9), use_cache=True)
        for _ in range(2):
            olmoe(some_ids(2, 1), past_key_values=first.past_key_values, use_cache=True)
    flags = [(gathered.routes(0, turn).flags & RouteFlag.OVERRIDDEN) != 0 for turn in range(3)]
    assert not flags[0].any()  # prefill
    assert flags[1].all()  # column 9
    assert not flags[2].any()  # column 10


def test_undo_redo_and_a_mistake_change_nothing_else(olmoe: Any, overrides: Overrides) -> None:
    plain = logits(olmoe)
    first = overrides.add(Override(ABLATE, (), (3,)))
    with pytest.raises(MoedeskError, match="no expert 8"):
        overrides.add(Override(ABLATE, (), (8,)))
    changed = logits(olmoe)
    overrides.add(Override(ABLATE, (), (1,)))
    overrides.undo()
    assert torch.equal(logits(olmoe), changed)
    overrides.undo()
    assert pristine(olmoe)
    assert torch.equal(logits(olmoe), plain)
    overrides.redo()
    assert torch.equal(logits(olmoe), changed)
    assert [entry.id for entry in overrides.entries] == [first.id]
    with pytest.raises(MoedeskError, match="no override 77"):
        overrides.remove(77)


def test_a_file_brings_the_list_back(olmoe: Any, overrides: Overrides, tmp_path: Any) -> None:
    overrides.add(Override(ABLATE, (1,), (3,), name="quiet"))
    overrides.add(Override(OverrideKind.BIAS, (), (2,), 1.5), on=False)
    changed = logits(olmoe)
    overrides.save(tmp_path / "list.json")
    kept = [(entry.override, entry.on) for entry in overrides.entries]
    overrides.clear()
    overrides.load(tmp_path / "list.json")
    assert [(entry.override, entry.on) for entry in overrides.entries] == kept
    assert torch.equal(logits(olmoe), changed)


def test_moe_overrides_what_is_loaded_given_and_attached(olmoe: Any, overrides: Overrides) -> None:
    with own_moe() as moe:
        with pytest.raises(MoedeskError, match="no model to override"):
            moe.ablate(0, 3)
        plain = logits(olmoe)
        with moe.ablate(0, [3, 5], model=olmoe, name="two") as handle:
            changed = logits(olmoe)
        assert repr(handle) == "ablate experts 3, 5 in layer 0; moe.undo() takes it back"
        assert not torch.equal(changed, plain)
        assert torch.equal(logits(olmoe), plain)
        moe.attach(olmoe)
        handle = moe.exclude("model.layers.1.mlp", 2)
        assert handle.override.layers == (1,)
        assert not torch.equal(logits(olmoe), plain)
        assert handle.acted > 0
        moe.undo()
        assert torch.equal(logits(olmoe), plain)
        with pytest.raises(MoedeskError, match="no MoE layer 9"):
            moe.exclude(9, 2)
        with pytest.raises(MoedeskError, match=r"no colums=; an override takes columns="):
            moe.exclude(1, 2, colums=(3, 4))


def test_another_k_is_the_models_own_with_that_k(olmoe: Any, overrides: Overrides) -> None:
    plain, expected = logits(olmoe), logits(build("olmoe", num_experts_per_tok=5))
    overrides.add(Override(OverrideKind.TOP_K, (), (), 5.0))
    assert torch.equal(logits(olmoe), expected)
    recording, gathered = gather(olmoe)
    with recording:
        logits(olmoe)
        with pytest.raises(MoedeskError, match="k can't change while the model is recorded"):
            overrides.clear()
    assert gathered.model.layers[0].top_k == gathered.routes(0).experts.shape[1] == 5
    assert ((gathered.routes(0).flags & RouteFlag.OVERRIDDEN) != 0).all()
    overrides.clear()
    assert torch.equal(logits(olmoe), plain)
    assert {layer.mlp.gate.top_k for layer in olmoe.model.layers} == {2}


def test_attached_models_begin_anew_with_another_k(olmoe: Any, overrides: Overrides) -> None:
    with own_moe() as moe:
        moe.attach(olmoe)
        first = moe.attachment
        logits(olmoe)
        with moe.set_k(None, 4):
            logits(olmoe)
            assert moe.attachment is not first
            assert moe.info.layers[0].top_k == 4
        logits(olmoe)
        assert moe.info.layers[0].top_k == 2


def record(model: Any, path: Any, *runs: torch.Tensor) -> list[torch.Tensor]:
    with moedesk.record(model, path):
        return [logits(model, ids) for ids in runs]


@pytest.mark.parametrize("weights", [True, False])
def test_a_replayed_capture_gives_the_same_bits(olmoe: Any, overrides: Overrides, tmp_path: Any, weights: bool) -> None:
    """Recorded while something else decided, replayed without that."""
    runs = [some_ids(), some_ids(1, 5, seed=8), some_ids(seed=9)]
    kind = Override(OverrideKind.BIAS, (), (1,), 4.0) if weights else Override(OverrideKind.FORCE, (), (1,))
    overrides.add(kind)
    expected = record(olmoe, tmp_path / "run.h5", *runs)
    overrides.clear()
    plain = [logits(olmoe, ids) for ids in runs]
    entry = overrides.add(Override(OverrideKind.REPLAY, capture=str(tmp_path / "run.h5"), weights=weights))
    for ids, output, without in zip(runs, expected, plain, strict=True):
        assert torch.equal(logits(olmoe, ids), output)
        assert not torch.equal(output, without)
    assert overrides.acted(entry) > 0
    other = some_ids(seed=11)
    overrides.switch(entry.id, False)
    untouched = logits(olmoe, other)
    overrides.switch(entry.id, True)
    assert torch.equal(logits(olmoe, other), untouched)
    assert overrides.notes == ("replay of run.h5: 1 pass was none of the capture's, and ran untouched",)


def test_a_generation_is_replayed_step_by_step(olmoe: Any, overrides: Overrides, tmp_path: Any) -> None:
    prompt = some_ids(1, 6)
    overrides.add(Override(OverrideKind.TEMPERATURE, value=0.3))
    with moedesk.record(olmoe, tmp_path / "run.h5"):
        expected = olmoe.generate(
            prompt, max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    overrides.clear()
    overrides.add(Override(OverrideKind.REPLAY, capture=str(tmp_path / "run.h5"), weights=True))
    again = olmoe.generate(prompt, max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True)
    assert torch.equal(again.sequences, expected.sequences)
    assert all(torch.equal(one, other) for one, other in zip(again.logits, expected.logits, strict=True))
    assert not overrides.notes


def test_a_capture_of_another_model_is_refused(olmoe: Any, overrides: Overrides, tmp_path: Any) -> None:
    record(build("mixtral"), tmp_path / "mixtral.h5", some_ids())
    record(build("olmoe", num_experts=16), tmp_path / "wide.h5", some_ids())
    record(build("olmoe", vocab_size=103), tmp_path / "words.h5", some_ids())
    replay = OverrideKind.REPLAY
    for name, words in (
        ("mixtral", "of another model: its layer 0 is model.layers.0.mlp .MixtralSparseMoeBlock"),
        ("wide", "of another model: its layer 0 is model.layers.0.mlp .* with 16 experts"),
        ("words", "its vocabulary has 103 tokens, this one's 101"),
        ("none", "none.h5"),
    ):
        with pytest.raises(MoedeskError, match=words) as caught:
            overrides.add(Override(replay, capture=str(tmp_path / f"{name}.h5")))
        assert "\n" not in str(caught.value)
    assert not overrides.entries
    assert pristine(olmoe)
