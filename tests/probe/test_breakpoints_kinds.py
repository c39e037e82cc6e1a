"""Breakpoints in layers of every kind: where they stop, against a capture of the same run, and what a stop can change there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.probe.adapters.registry import declared, forget
from tests.probe.test_adapter import Odd
from tests.probe.test_calls_in_parts import Parts
from tests.support.families import FAMILIES, build
from tests.support.families import some_ids as family_ids
from tests.support.hand_written import BLOCKS, Small, some_ids
from tests.support.stopping import PlayedApp, attached_to, found_in, hooks_on

KINDS = [
    "olmoe", "deepseek_v3", "dbrx", "gpt_oss", "longcat_flash", "switch_transformers", "nllb_moe", "llama4", "jetmoe", "zaya",
    "doge", "vitpose_backbone", "ernie4_5_vl_moe pictures", "diffusion_gemma",
]  # fmt: skip


def check(model: nn.Module, arguments: dict[str, Any], path: Path, capsys: Any, changeable: bool = True) -> None:
    """Stops, hits, and a change at the first stop, of one pass."""
    app = PlayedApp()
    stopped: list[Any] = []

    def halve(breakpoints: Any, stop: Any) -> None:
        if len(stopped) == 1:
            exec("weights *= 0.5", app.namespace)
        stopped.append(stop)

    with torch.no_grad(), attached_to(app, model, None, path):
        model(**arguments)
        bare = hooks_on(model)
        placed = app.break_on("weight>0.25")
        plain = model(**arguments)
        app.at_stop = halve
        hits, places = placed.hits, list(app.places)
        placed.breakpoint.check()
        changed = model(**arguments)
        app.breakpoints.clear()
        assert hooks_on(model) == bare
        again = model(**arguments)
    expected = {place for place in found_in(path, "weight>0.25") if place[0] == 1}
    assert hits == len(expected) > 0
    firsts: dict[tuple[int, int], int] = {}
    for number, layer, row in sorted(expected):
        firsts.setdefault((number, layer), row)
    assert sorted(places) == [(number, layer, row) for (number, layer), row in sorted(firsts.items())]
    if len(stopped) < 2:
        return
    stop, store = stopped[1], moedesk.open(path)
    row = store.token_span(2, 3, stop["stream"])[0] + stop["token"]["row"]
    weights = store.weights(stop["layer"], row, row + 1)[0]
    said = capsys.readouterr().out
    assert torch.equal(first(plain), first(again))
    if changeable:
        np.testing.assert_allclose(weights, np.multiply(stop["weights"], 0.5), rtol=4e-3)
        assert store.flags(stop["layer"], row, row + 1)[0] & RouteFlag.OVERRIDDEN
        assert "can be looked at" not in said
    else:
        np.testing.assert_array_equal(weights, np.float32(stop["weights"]))
        assert f"the routing of {stop['path']} can be looked at, not changed" in said
        assert torch.equal(first(plain), first(changed))


def first(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output
    return first(next(iter(output.values() if hasattr(output, "values") else output)))


@pytest.mark.parametrize("name", KINDS)
def test_families(name: str, tmp_path: Path, capsys: Any) -> None:
    family = FAMILIES[name]
    model = build(name)
    check(model, family.arguments(family_ids()), tmp_path / "run.h5", capsys)


@pytest.mark.parametrize("name", BLOCKS)
def test_hand_written_blocks(name: str, tmp_path: Path, capsys: Any) -> None:
    check(Small(BLOCKS[name]).eval(), {"idx": some_ids()}, tmp_path / "run.h5", capsys)


def test_an_adapter_without_write(tmp_path: Path, capsys: Any) -> None:
    try:
        moedesk.adapter("OddMoE", router="gate")
        torch.manual_seed(1)
        check(Odd(), {"idx": torch.randint(0, 50, (2, 7))}, tmp_path / "run.h5", capsys, changeable=False)
    finally:
        for adapter in declared():
            forget(adapter)


def test_a_layer_that_does_its_tokens_in_parts(tmp_path: Path) -> None:
    model: Any = build("olmoe")
    for layer, parts in zip(model.model.layers, ([5, 8], [3, 3, 7]), strict=True):
        layer.mlp = Parts(layer.mlp, parts)
    app, path, ids = PlayedApp(), tmp_path / "run.h5", family_ids(1, 13)
    with torch.no_grad(), attached_to(app, model, None, path):
        model(ids)
        app.break_on("position:4..9 weight>0.3")
        app.orders = ["step_token"] * 99
        model(ids)
        app.breakpoints.clear()
        app.break_on("layer:0 position:6")
        app.orders = ["step_layer"]
        model(ids)
    expected = found_in(path, "position:4..9 weight>0.3")
    assert set(app.places[:-2]) == {place for place in expected if place[0] == 1}
    assert app.places[-2:] == [(2, 0, 6), (2, 1, 6)]
