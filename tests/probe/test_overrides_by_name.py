"""Selections that run by name, and calls of one row: the same as under a mode that sees every operation, and in a batch."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.by_name import ByName
from moedesk.probe.overriding.changes import _late, _late_on_host
from moedesk.probe.overriding.registry import overrides_of
from tests.support.families import build, some_ids
from tests.support.gathered import gather
from tests.support.overridden import on

NAMED = ("olmoe", "gpt_oss", "granitemoe", "minimax_m2", "deepseek_v2 grouped", "deepseek_v3", "afmoe")
"""Families whose routers are written in different ways; the last one's has a module for the logits, so it needs the mode."""
ROWS = torch.arange(3, 27)[None]
KINDS = {
    "exclude": Override(OverrideKind.EXCLUDE, (), (1,)),
    "force": Override(OverrideKind.FORCE, (), (5,)),
    "bias": Override(OverrideKind.BIAS, (), (2,), 0.7),
    "temperature": Override(OverrideKind.TEMPERATURE, value=3.0),
    "ablate": Override(OverrideKind.ABLATE, (), (1,)),
    "scale": Override(OverrideKind.SCALE, (), (1,), 0.3),
    "swap": Override(OverrideKind.SWAP, (), (1, 5)),
}


@cache
def model_of(name: str) -> Any:
    return build(name)


@torch.no_grad()
def seen(model: Any, ids: Tensor, *given: Override) -> tuple[Tensor, list[tuple[np.ndarray, ...]], list[int]]:
    """The output, each layer's ids, weights and marks, and how many rows each override says that it changed."""
    with on(model, *given) as overrides:
        recording, gathered = gather(model)
        with recording:
            output = model(input_ids=ids).logits
        layers = [gathered.routes(layer.place) for layer in overrides.info.layers]
        acted = [overrides.acted(entry) for entry in overrides.entries]
    marks = [(one.flags & RouteFlag.OVERRIDDEN) != 0 for one in layers]
    return output, [(one.experts, one.weights, mark) for one, mark in zip(layers, marks, strict=True)], acted


@pytest.mark.parametrize("rows", [1, 24])
@pytest.mark.parametrize("name", NAMED)
def test_by_name_it_is_what_it_is_when_every_operation_is_seen(name: str, rows: int) -> None:
    model = model_of(name)
    study = overrides_of(model).layers.study
    assert all((way.by_name is not None) == (name != "afmoe") for way in study.ways.values())
    ways = dict(study.ways)
    for kind in ("exclude", "force", "bias", "temperature"):
        try:
            named = seen(model, ROWS[:, :rows], KINDS[kind])
            study.ways.update({place: replace(way, by_name=None, told=False) for place, way in ways.items()})
            watched = seen(model, ROWS[:, :rows], KINDS[kind])
        finally:
            study.ways.update(ways)
        assert torch.equal(named[0], watched[0])
        assert named[2] == watched[2]
        for one, other in zip(named[1], watched[1], strict=True):
            assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize("name", ["olmoe", "longcat_flash", "deepseek_v3", "granitemoe"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_row_is_chosen_as_in_a_batch(name: str, kind: str) -> None:
    """The first token of a causal model knows nothing of the others; layers behind the first get rounded otherwise."""
    model = model_of(name)
    found = set()
    for start in range(6):
        ids = ROWS[:, start : start + 1]
        _, one, acted = seen(model, ids, KINDS[kind])
        _, several, _ = seen(model, torch.cat([ids, ROWS], 1), KINDS[kind])
        for (experts, weights, mark), (others, scales, marks) in zip(one[:1], several[:1], strict=True):
            slots, same = np.argsort(experts[0]), np.argsort(others[0])  # some routers leave the order of slots open
            assert np.array_equal(experts[0][slots], others[0][same])
            np.testing.assert_allclose(weights[0][slots], scales[0][same], rtol=1e-5)
            assert mark[0] == marks[0]
            found.add(bool(mark[0]))
        assert acted == [sum(int(mark[0]) for _, _, mark in one)]
    assert found  # of some kinds every row is changed


def test_forced_experts_win_against_scores_that_are_infinite() -> None:
    """The logits themselves are ranked; an infinite one is an ordinary score, in a batch and alone."""
    model = build("granitemoe")
    router = overrides_of(model).layers.bindings[0].router
    assert router is not None
    gate: Any = next(module for module in router.modules() if getattr(module, "weight", None) is not None)
    endless = functional.linear

    def linear(given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        output = endless(given, weight, bias)
        if weight is gate.weight:
            output[..., 2:4] = torch.inf
        return output

    for count in (1, 24):
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            patch.setattr(functional, "linear", linear)
            overrides_of(model).layers._study = None
            _, plain, _ = seen(model, ROWS[:, :count])
            assert {2, 3} == set(plain[0][0].flatten().tolist())
            _, forced, _ = seen(model, ROWS[:, :count], Override(OverrideKind.FORCE, (0,), (5,)))
            assert (forced[0][0] == 5).any(1).all()
            _, idle, acted = seen(model, ROWS[:, :count], Override(OverrideKind.FORCE, (0,), (3,)))
            assert np.array_equal(idle[0][0], plain[0][0])
            assert acted == [0] or np.isnan(idle[0][1]).any()


def test_slots_that_come_late_are_the_same_on_the_host() -> None:
    generator = torch.Generator().manual_seed(1)
    for experts, room in ((4, 3), (16, 1), (300, 2)):
        ids = torch.randint(-2, experts, (50, 3), generator=generator)
        late, again = _late_on_host(ids, room), _late(ids, room, experts)
        assert again.any() == (late is not None)
        assert late is None or torch.equal(late, again)
    assert _late_on_host(ids, 10_000) is None


def test_a_function_is_found_under_its_name_and_nothing_else_is_changed() -> None:
    taken: list[str] = []

    def take(name: str, function: Any, args: Any, kwargs: Any) -> Any:
        taken.append(name)
        return function(*args, **kwargs)

    scores = torch.randn(3, 8)
    plain = _chooses(None, scores)
    found = ByName(_chooses, frozenset({"topk", "softmax"})).run(None, take, (scores,), {})
    assert torch.equal(plain, found)
    assert taken == ["softmax", "topk"]
    assert torch.topk.__module__ != __name__
    _chooses(None, scores)
    assert len(taken) == 2


def _chooses(self: None, scores: Tensor) -> Tensor:
    return torch.topk(torch.nn.functional.softmax(scores, -1), 2).indices


def test_forwards_before_one_backward_are_computed_again_as_they_were() -> None:
    """With gradient checkpointing, overrides by column find the call that a recomputed layer belongs to."""
    given = Override(OverrideKind.BIAS, (), (3,), 2.0, columns=(2, 7))
    batches = [some_ids(2, 9), some_ids(1, 18)]  # as many rows, in other columns
    gradients: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        model: Any = build("olmoe").train()
        if checkpointing:
            model.activation_checkpointing_enable()
        with on(model, given):
            losses = [model(ids, labels=ids, use_cache=False).loss for ids in batches]
            torch.stack(losses).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
