"""Overrides where a layer's rows are not the tokens of the pass: patches of pictures, and blocks that see some tokens only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.layers import Layers
from moedesk.probe.overriding.overrides import Overrides
from tests.support.families import FAMILIES, some_ids
from tests.support.families.observed import first_tensor
from tests.support.gathered import gather


class Tried:
    """A family whose inputs are more than token ids."""

    def __init__(self, name: str) -> None:
        self.model, self.family = FAMILIES[name].build(), FAMILIES[name]
        self.known: Any = ()
        self.overrides = Overrides(self.model, Layers(self.model, inputs=self.family.arguments(some_ids())))

    @torch.no_grad()
    def run(self, seed: int = 3) -> Tensor:
        return first_tensor(self.model(**self.family.arguments(some_ids(seed=seed)))).clone()

    def on(self, kind: OverrideKind, *values: Any, **named: Any) -> Any:
        return self.overrides.add(Override(kind, *values, **named))


@pytest.fixture(scope="module", params=["dots3_note pictures", "ernie4_5_vl_moe pictures"])
def pictured(request: Any) -> Tried:
    return Tried(request.param)


@pytest.fixture(autouse=True)
def none_left(request: Any) -> Iterator[None]:
    yield
    for name in {"pictured", "posed"} & set(request.fixturenames):
        request.getfixturevalue(name).overrides.close()


@pytest.fixture(scope="module")
def posed() -> Tried:
    return Tried("vitpose_backbone")


def chosen(tried: Tried, place: int, experts: int) -> np.ndarray:
    """The experts of a layer, those that most rows chose first."""
    recording, gathered = gather(tried.model)
    with recording:
        tried.run()
    ids = gathered.routes(place).experts
    return np.argsort(-np.bincount(ids[ids >= 0], minlength=experts), kind="stable")


@pytest.mark.parametrize("weights", [True, False])
def test_each_layer_is_replayed_of_the_pass_with_the_same_tokens(
    pictured: Tried, tmp_path: Path, weights: bool
) -> None:
    """One layer at a time is changed and recorded, in the second of two passes, and replayed alone."""
    tried = pictured
    for layer in tried.overrides.info.layers:
        if layer.experts == 1:
            continue
        order, path = chosen(tried, layer.place, layer.experts), tmp_path / f"{layer.place}.h5"
        kind, expert = (OverrideKind.SCALE, int(order[0])) if weights else (OverrideKind.FORCE, int(order[-1]))
        plain = tried.run()
        tried.on(kind, (layer.place,), (expert,), 0.5 if weights else None)
        with moedesk.record(tried.model, path):
            tried.run(seed=8)
            expected = tried.run()
        tried.overrides.clear()
        assert not torch.equal(expected, plain)
        entry = tried.on(OverrideKind.REPLAY, (layer.place,), capture=str(path), weights=weights)
        assert torch.equal(tried.run(), expected), layer.path
        assert not tried.overrides.notes
        assert tried.overrides.acted(entry) > 0
        other = tried.run(seed=11)
        assert "1 pass was none of the capture's" in tried.overrides.notes[0]
        tried.overrides.clear()
        assert torch.equal(tried.run(seed=11), other)


def test_a_pass_without_tokens_is_found_by_its_rows(posed: Tried, tmp_path: Path) -> None:
    """Two pictures, one after the other: in the same order they get what each had."""
    plain = [posed.run(seed=seed) for seed in (3, 5)]
    posed.on(OverrideKind.SCALE, (0,), (1,), 0.25)
    with moedesk.record(posed.model, tmp_path / "run.h5"):
        expected = [posed.run(seed=seed) for seed in (3, 5)]
    posed.overrides.clear()
    posed.on(OverrideKind.REPLAY, capture=str(tmp_path / "run.h5"), weights=True)
    for seed, output, without in zip((3, 5), expected, plain, strict=True):
        assert torch.equal(posed.run(seed=seed), output)
        assert not torch.equal(output, without)
    assert "taken by their number of rows, one after the other" in posed.overrides.notes[0]


def test_columns_of_blocks_that_see_some_tokens(tmp_path: Path) -> None:
    """A temperature changes all rows; those in the slots 1 to 4, of text and pictures apart, and no others."""
    tried = Tried("ernie4_5_vl_moe pictures")
    tried.on(OverrideKind.TEMPERATURE, value=3.0, columns=(1, 4))
    recording, gathered = gather(tried.model)
    with recording:
        tried.run()
    tried.overrides.close()
    columns = gathered.tokens()["column"]
    seen = 0
    for layer in tried.overrides.info.layers[:2]:
        flags = gathered.routes(layer.place).flags
        here = (flags & RouteFlag.ABSENT) == 0
        np.testing.assert_array_equal((flags & RouteFlag.OVERRIDDEN) != 0, here & (columns >= 1) & (columns < 4))
        seen += int(here.sum())
    assert seen == len(columns)


def test_a_tower_that_token_ids_do_not_reach_is_tried_alone() -> None:
    """Known from passes with pictures, as an attachment knows it; the small run has token ids only."""
    told, alone = Tried("dots3_note pictures"), Tried("dots3_note pictures")
    alone.overrides = Overrides(alone.model, Layers(alone.model, lambda: told_of(alone)))
    place = len(told.overrides.info.layers) - 1
    assert alone.overrides.info.layers[place].stream == "vision"
    for kind, value in ((OverrideKind.EXCLUDE, None), (OverrideKind.BIAS, 2.0), (OverrideKind.FORCE, None)):
        found = []
        for tried in (told, alone):
            entry = tried.on(kind, (place,), (2,), value)
            found.append(tried.run())
            assert tried.overrides.acted(entry) > 0
            tried.overrides.clear()
        assert torch.equal(*found)
        assert not torch.equal(found[0], told.run())


def told_of(tried: Tried) -> Any:
    """What an attachment would have found in a pass with pictures."""
    if not tried.known:
        tried.known = Layers(tried.model, inputs=tried.family.arguments(some_ids())).bindings
    return tried.known
