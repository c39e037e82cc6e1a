"""Overrides of the score of DBRX, whose router gives logits and whose block chooses: against its own code with other logits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override, OverrideKind
from tests.support.families import build, some_ids
from tests.support.gathered import gather
from tests.support.overridden import logits, on

EXCLUDE, FORCE, BIAS, TEMPERATURE = (
    OverrideKind.EXCLUDE, OverrideKind.FORCE, OverrideKind.BIAS, OverrideKind.TEMPERATURE,
)  # fmt: skip


@pytest.fixture(scope="module")
def dbrx() -> Any:
    return build("dbrx")


def rows(place: slice) -> Tensor:
    """The rows of some columns of the two sequences."""
    here = torch.zeros(2, 9, 1, dtype=torch.bool)
    here[:, place] = True
    return here.view(-1, 1)


CASES: list[tuple[Override, Callable[[Tensor], Tensor]]] = [
    (Override(EXCLUDE, (1,), (2, 5)), lambda logits: logits.index_fill(-1, torch.tensor([2, 5]), -torch.inf)),
    (Override(BIAS, (1,), (4,), 1.25), lambda logits: logits + 1.25 * (torch.arange(8) == 4)),
    (Override(TEMPERATURE, (1,), value=3.0), lambda logits: logits / 3.0),
    (
        Override(TEMPERATURE, (1,), value=3.0, columns=(2, 6)),
        lambda logits: torch.where(rows(slice(2, 6)), logits / 3.0, logits),
    ),
]


@pytest.mark.parametrize(("override", "edit"), CASES, ids=[override.title for override, _ in CASES])
def test_other_logits_are_a_router_that_gives_them(
    dbrx: Any, override: Override, edit: Callable[[Tensor], Tensor]
) -> None:
    block = dbrx.transformer.blocks[1].ffn
    called: list[str] = []
    counting = [
        module.register_forward_hook(lambda module, args, output, name=name: called.append(name))
        for name, module in block.named_modules()
        if not name.startswith("experts.")
    ]
    recording, plain = gather(dbrx)
    with recording:
        without = logits(dbrx)
    assert sorted(called) == ["", "experts", "router", "router.layer"]
    with on(dbrx, override) as overrides:
        called.clear()
        recording, gathered = gather(dbrx, logits=True)
        with recording:
            found = logits(dbrx)
        acted = overrides.acted(overrides.entries[0])
    assert sorted(called) == ["", "experts", "router", "router.layer"], "nothing ran twice"
    handle = block.router.register_forward_hook(lambda module, args, output: edit(output))
    expected = logits(dbrx)
    for one in (handle, *counting):
        one.remove()
    assert torch.equal(found, expected)
    assert not torch.equal(found, without)
    routes, before = gathered.routes(1), plain.routes(1)
    differ = (routes.experts != before.experts).any(1) | (routes.weights != before.weights).any(1)
    np.testing.assert_array_equal((routes.flags & RouteFlag.OVERRIDDEN) != 0, differ)
    assert acted == differ.sum() > 0
    assert torch.equal(logits(dbrx), without)


def test_forced_experts_take_the_place_of_the_worst(dbrx: Any, tmp_path: Path) -> None:
    """Ids by hand; their weights are shares of the softmax over all, divided by their sum; replayed alone they give the bits."""
    recording, gathered = gather(dbrx, logits=True)
    with recording:
        plain = logits(dbrx)
    given = torch.tensor(gathered.routes(0).logits)
    ranked = given.index_fill(-1, torch.tensor([6]), torch.inf)
    ids = ranked.topk(2).indices
    with on(dbrx, Override(FORCE, (0,), (6,))) as overrides, moedesk.record(dbrx, tmp_path / "run.h5"):
        found = logits(dbrx)
        assert overrides.acted(overrides.entries[0]) == (gathered.routes(0).experts != 6).all(1).sum()
    with moedesk.open(tmp_path / "run.h5") as capture:
        experts, weights = (torch.tensor(part) for part in (capture.experts(0).astype(int), capture.weights(0)))
    assert torch.equal(experts.sort(-1).values, ids.sort(-1).values)
    shares = given.softmax(-1).gather(-1, experts)
    torch.testing.assert_close(weights, shares / shares.sum(-1, keepdim=True))
    assert not torch.equal(found, plain)
    with on(dbrx, Override(OverrideKind.REPLAY, (0,), capture=str(tmp_path / "run.h5"))):
        assert torch.equal(logits(dbrx), found)


def test_gradients_are_those_of_a_router_with_smaller_weights(dbrx: Any) -> None:
    router, found = dbrx.transformer.blocks[0].ffn.router.layer, []
    for given in ((Override(TEMPERATURE, (0,), value=2.0),), ()):
        dbrx.zero_grad()
        if not given:
            router.weight.data /= 2
        with on(dbrx, *given):
            output = dbrx(some_ids()).logits
            output.square().sum().backward()
        found.append((output.detach(), router.weight.grad.clone()))
    router.weight.data *= 2
    dbrx.zero_grad()
    (output, gradient), (expected, of_halved) = found
    assert torch.equal(output, expected)
    assert torch.equal(gradient, of_halved / 2)
    assert gradient.abs().sum() > 0


def test_with_overrides_of_the_routing_as_well(dbrx: Any) -> None:
    """First the score, then what it chose: an excluded expert has no slot to scale, the others have."""
    with on(dbrx, Override(EXCLUDE, (0,), (3,)), Override(OverrideKind.SCALE, (0,), (1, 3), 0.5)) as overrides:
        recording, gathered = gather(dbrx)
        with recording:
            logits(dbrx)
        excluded, scaled = (overrides.acted(entry) for entry in overrides.entries)
    with on(dbrx, Override(EXCLUDE, (0,), (3,))):
        recording, alone = gather(dbrx)
        with recording:
            logits(dbrx)
    routes, before = gathered.routes(0), alone.routes(0)
    np.testing.assert_array_equal(routes.experts, before.experts)
    np.testing.assert_array_equal(routes.weights, np.where(before.experts == 1, before.weights / 2, before.weights))
    assert scaled == (before.experts == 1).any(1).sum()
    first = (before.flags & RouteFlag.OVERRIDDEN) != 0
    assert excluded == first.sum()
    np.testing.assert_array_equal((routes.flags & RouteFlag.OVERRIDDEN) != 0, first | (before.experts == 1).any(1))
