"""Overrides of models that run compiled: while one acts they run as they are written, and compiled again once all are gone."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import moedesk
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.registry import overrides_of
from tests.support.families import build, some_ids

ABLATE = Override(OverrideKind.ABLATE, (0,), (3,))
EXCLUDE = Override(OverrideKind.EXCLUDE, (), (1,))


class Graphs:
    """A compiler that runs graphs as they are, and counts how many it made, and how often they ran."""

    made = runs = 0

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        self.made += 1

        def run(*args: Any) -> Any:
            self.runs += 1
            return graph.forward(*args)

        return run


@pytest.fixture(autouse=True)
def no_compiled_code() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(model: Any, way: str, graphs: Graphs) -> Callable[..., Any]:
    """What runs the model, all of it or its block compiled in one of the ways there are."""
    block = model.model.layers[0].mlp
    if way == "wrapped":
        return torch.compile(model, backend=graphs)  # type: ignore[no-any-return]
    if way == "its forward":
        block.forward = torch.compile(block.forward, backend=graphs)
    else:
        block.compile(backend=graphs)
    return model  # type: ignore[no-any-return]


@torch.no_grad()
def logits(run: Callable[..., Any]) -> Tensor:
    return run(some_ids()).logits


@pytest.fixture(scope="module")
def expected() -> list[Tensor]:
    """Of the model that was never compiled: without overrides, with one, with two."""
    model = build("olmoe", num_hidden_layers=1)
    overrides = overrides_of(model)
    found = [logits(model)]
    for override in (ABLATE, EXCLUDE):
        overrides.add(override)
        found.append(logits(model))
    overrides.close()
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
    return found


@pytest.mark.parametrize("way", ["wrapped", "in place", "its forward"])
def test_compiled_code_steps_back_while_an_override_acts(way: str, expected: list[Tensor]) -> None:
    model, graphs = build("olmoe", num_hidden_layers=1), Graphs()
    run, overrides = compiled(model, way, graphs), overrides_of(model)
    forward = vars(model.model.layers[0].mlp).get("forward")
    assert overrides.info.layers, "the study, whose hooks have code compiled anew"
    assert torch.equal(logits(run), expected[0])
    made, runs = graphs.made, graphs.runs
    entries = [overrides.add(override) for override in (ABLATE, EXCLUDE)]
    assert torch.equal(logits(run), expected[2])
    overrides.switch(entries[1].id, False)
    assert torch.equal(logits(run), expected[1])
    assert graphs.runs == runs
    assert "what is compiled runs as it is written" in repr(overrides)
    with overrides.suspended():
        assert torch.equal(logits(run), expected[0])
        assert graphs.runs == 2 * runs
    overrides.clear()
    assert not overrides.notes
    assert torch.equal(logits(run), expected[0])
    assert graphs.runs == 3 * runs
    assert graphs.made == made, "what was compiled is used again"
    assert vars(model.model.layers[0].mlp).get("forward") is forward


def test_compiled_while_an_override_acts(expected: list[Tensor]) -> None:
    model, graphs = build("olmoe", num_hidden_layers=1), Graphs()
    overrides = overrides_of(model)
    entry = overrides.add(ABLATE)
    run = compiled(model, "in place", graphs)
    assert torch.equal(logits(run), expected[1])
    overrides.remove(entry.id)
    assert torch.equal(logits(run), expected[0])
    overrides.undo()
    assert torch.equal(logits(run), expected[1])
    overrides.close()
    assert torch.equal(logits(run), expected[0])


def test_recorded_while_an_override_comes_and_goes(expected: list[Tensor], tmp_path: Path) -> None:
    model, graphs = build("olmoe", num_hidden_layers=1), Graphs()
    run, overrides = compiled(model, "in place", graphs), overrides_of(model)
    with moedesk.record(model, tmp_path / "run.h5"):
        found = [logits(run)]
        overrides.add(ABLATE)
        found += [logits(run), logits(run)]
        overrides.close()
        found.append(logits(run))
    for output, number in zip(found, (0, 1, 1, 0), strict=True):
        assert torch.equal(output, expected[number])
    with moedesk.open(tmp_path / "run.h5") as capture:
        flags = torch.tensor(capture.flags(0)).view(4, -1)
        weights, experts = (torch.tensor(part).view(4, 18, 2) for part in (capture.weights(0), capture.experts(0)))
    assert torch.equal(experts, experts[:1].expand(4, -1, -1))
    assert torch.equal(weights[[1, 2]], weights[[0, 3]] * (experts[0] != 3))
    assert torch.equal(flags.bool(), (experts == 3).any(-1) & torch.tensor([[False], [True], [True], [False]]))


def test_a_model_that_is_gone_leaves_nothing_uncompiled() -> None:
    other, graphs = nn.Linear(3, 3), Graphs()
    run = torch.compile(other, backend=graphs)
    model = build("olmoe", num_hidden_layers=1)
    overrides_of(model).add(ABLATE)
    run(torch.zeros(1, 3))
    assert graphs.runs == 0
    del model
    gc.collect()
    run(torch.zeros(1, 3))
    assert graphs.runs == 1
