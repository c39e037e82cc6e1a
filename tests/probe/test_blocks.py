"""Counts and flags of groups of layers, against counting one by one."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from moedesk.core.columns import RouteFlag, expert_dtype
from moedesk.probe.adapters.adapter import ABSENT
from moedesk.probe.taking import block as blocks
from moedesk.probe.taking.block import Block

LAYERS, ROWS, K = 3, 40, 4


def make(experts: int, lowest: int = 0, **columns: np.ndarray) -> Block:
    rng = np.random.default_rng(experts)
    ids = rng.integers(0, experts, (LAYERS, ROWS, K)).astype(expert_dtype(experts))
    lost = rng.random((LAYERS, ROWS)) < 0.3
    if lowest == ABSENT:
        ids[lost] = ABSENT
    elif lowest < 0:
        ids[lost, 0] = lowest
    layer = SimpleNamespace(experts=experts, selection="token choice")
    return Block(cast(Any, tuple(SimpleNamespace(layer=layer) for _ in range(LAYERS))), ids, **columns)


@pytest.mark.parametrize("many", [1, 1 << 20], ids=["layer by layer", "all at once"])
@pytest.mark.parametrize("experts", [8, 127, 128, 500])
@pytest.mark.parametrize("lowest", [0, -1, ABSENT])
@pytest.mark.parametrize("padded", [False, True])
def test_counts(many: int, experts: int, lowest: int, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MANY", many)
    block = make(experts, lowest)
    padding = np.arange(ROWS) % 5 == 0 if padded else None
    wanted = np.zeros((LAYERS, experts), np.int64)
    for layer, row, slot in np.ndindex(block.ids.shape):
        expert = int(block.ids[layer, row, slot])
        if expert >= 0 and not (padded and row % 5 == 0):
            wanted[layer, expert] += 1
    counts = block.counts(padding)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, wanted)


def test_flags() -> None:
    large = np.full((LAYERS, ROWS, K), np.finfo(np.float32).max, np.float32)  # finite, and their sum is not
    assert make(8, weights=large).flags() is None
    for broken in (np.nan, np.inf, -np.inf):
        weights, entropy = large.copy(), np.zeros((LAYERS, ROWS), np.float32)
        weights[1, 7, 2] = entropy[2, 9] = broken
        wanted = np.zeros((LAYERS, ROWS), np.uint8)
        wanted[1, 7] = wanted[2, 9] = RouteFlag.NONFINITE
        np.testing.assert_array_equal(make(8, weights=weights, entropy=entropy).flags(), wanted)
    for lowest, flag in ((-1, RouteFlag.DROPPED), (ABSENT, RouteFlag.ABSENT)):
        block = make(8, lowest, weights=large)
        np.testing.assert_array_equal(block.flags(), np.where((block.ids < 0).any(-1), flag, 0))
