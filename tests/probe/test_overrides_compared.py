"""Which rows an override of the score changed, where that is worked out behind the call: what two selections show."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding import comparison
from moedesk.probe.overriding.captured import _key, _key_of_call
from moedesk.probe.overriding.registry import overrides_of
from moedesk.probe.taking.calls import Call
from tests.support.families import build
from tests.support.gathered import gather
from tests.support.overridden import on

FAMILIES = ("olmoe", "gpt_oss", "granitemoe", "deepseek_v2 grouped", "deepseek_v3", "laguna", "kimi_linear")
"""Logits alone, ranked as they are, with few by name, in groups, with a bias in groups, with a bias."""
ROWS = torch.arange(3, 27)[None]
KINDS = {
    "exclude": Override(OverrideKind.EXCLUDE, (), (1,)),
    "bias": Override(OverrideKind.BIAS, (), (2,), 0.7),
    "columns": Override(OverrideKind.BIAS, (), (2,), 0.7, columns=(3, 9)),
    "temperature": Override(OverrideKind.TEMPERATURE, value=3.0),
}


@cache
def model_of(name: str) -> Any:
    return build(name)


@torch.no_grad()
def marked(model: Any, rows: int, override: Override) -> tuple[torch.Tensor, np.ndarray, int]:
    """Logits, which rows of each layer are marked as overridden, and how many the override says that it changed."""
    with on(model, override) as overrides:
        recording, gathered = gather(model)
        with recording:
            output = model(input_ids=ROWS[:, :rows]).logits
        layers = [gathered.routes(layer.place) for layer in overrides.info.layers]
        acted = overrides.acted(overrides.entries[0])
    return output, np.stack([(one.flags & RouteFlag.OVERRIDDEN) != 0 for one in layers]), acted


@pytest.mark.parametrize("rows", [1, 24])
@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_what_running_the_selection_twice_shows(name: str, rows: int) -> None:
    model = model_of(name)
    study = overrides_of(model).layers.study
    ways = dict(study.ways)
    assert all(way.compares is not None for way in ways.values())
    for override in KINDS.values():
        later = marked(model, rows, override)
        try:
            study.ways.update({place: replace(way, compares=None) for place, way in ways.items()})
            twice = marked(model, rows, override)
        finally:
            study.ways.update(ways)
        assert torch.equal(later[0], twice[0])
        assert np.array_equal(later[1], twice[1])
        assert later[2] == twice[2] == twice[1].sum()


@torch.no_grad()
def test_calls_that_wait_are_compared_when_somebody_asks_or_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("olmoe")
    monkeypatch.setattr(comparison, "_MOST_WAITING", 5)
    with on(model, KINDS["bias"]) as overrides:
        for _ in range(4):  # of two layers: with the sixth call all are
            model(input_ids=ROWS[:, :1])
        compares = next(iter(overrides.layers.study.ways.values())).compares
        assert compares is not None
        assert len(compares._waiting) < 6
        assert overrides.acted(overrides.entries[0]) == 8
        assert not compares._waiting


@torch.no_grad()
def test_a_bias_that_changed_meanwhile_is_not_taken_for_the_one_that_was_used() -> None:
    """It can't be told then which rows would have been others: all count as changed."""
    model = build("deepseek_v3")
    weak = Override(OverrideKind.BIAS, (), (2,), 1e-30)
    with on(model, weak) as overrides:
        model(input_ids=ROWS)
        assert overrides.acted(overrides.entries[0]) == 0
        model(input_ids=ROWS)
        for way in overrides.layers.study.ways.values():
            way.module.e_score_correction_bias.data.add_(torch.arange(way.experts) % 3)
        assert overrides.acted(overrides.entries[0]) == 2 * ROWS.numel()


@torch.no_grad()
def test_what_the_block_writes_to_its_weights_does_not_count() -> None:
    model = build("olmoe")

    def write(module: Any, args: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        output[1].mul_(0.5)

    with on(model, Override(OverrideKind.BIAS, (), (2,), 1e-30)) as overrides:
        handles = [layer.mlp.gate.register_forward_hook(write) for layer in model.model.layers]
        for rows in (1, 24):
            model(input_ids=ROWS[:, :rows])
        assert overrides.acted(overrides.entries[0]) == 0
        for handle in handles:
            handle.remove()


@torch.no_grad()
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_excluded_expert_of_one_row_never_wins_whatever_its_logit(value: float) -> None:
    model = build("olmoe")
    with on(model, KINDS["exclude"]) as overrides:
        model(input_ids=ROWS[:, :1])
        gate = model.model.layers[0].mlp.gate
        real = torch.nn.functional.linear(torch.ones(1, gate.hidden_dim), gate.weight)
        gate.weight.data[1] = value
        _, weights, ids = gate(torch.ones(1, 1, gate.hidden_dim))
        assert 1 not in ids.tolist()[0]
        real[0, 1] = -torch.inf
        best = torch.topk(real.softmax(-1), gate.top_k)
        assert torch.equal(ids, best.indices)
        torch.testing.assert_close(weights, best.values / best.values.sum() if gate.norm_topk_prob else best.values)
        assert overrides.notes == ()


@torch.no_grad()
def test_an_excluded_expert_of_one_row_is_not_chosen_for_its_bias() -> None:
    model = build("laguna")
    with on(model, KINDS["exclude"]) as overrides:
        ways = overrides.layers.study.ways.values()
        assert all(way.told for way in ways)
        for way in ways:
            way.module.e_score_correction_bias.data[1] = 100
        recording, gathered = gather(model)
        with recording:
            model(input_ids=ROWS[:, :1])
        for layer in overrides.info.layers:
            assert 1 not in gathered.routes(layer.place).experts
            assert gathered.routes(layer.place).flags.item() & RouteFlag.OVERRIDDEN


@torch.no_grad()
@pytest.mark.parametrize("weights", [False, True])
def test_a_token_that_is_given_its_own_routing_counts_as_unchanged(tmp_path: Path, weights: bool) -> None:
    model, path = model_of("olmoe"), str(tmp_path / "run.h5")
    with moedesk.record(model, path):
        model(input_ids=ROWS[:, :1])
    replay = Override(OverrideKind.REPLAY, capture=path, weights=weights)
    _, marks, acted = marked(model, 1, replay)
    assert not marks.any()
    assert acted == 0


def test_the_key_of_one_token_is_that_of_any_number() -> None:
    call = Call("", 1, 1, past=77, ids=torch.tensor([[1234]]), positions=torch.tensor([[77]]))
    assert _key_of_call(call) == _key(np.array([1234]), np.array([77]), np.array([0]))
