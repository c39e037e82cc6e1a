"""Passes that come stacked are written as they are, whichever layers lie together and in which order."""

from pathlib import Path

import numpy as np
import pytest

from moedesk.capture import schema
from moedesk.capture.open import open_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.batch import RouteBatch, RouteStack, StackedLayers
from moedesk.core.columns import PASS, TOKEN, RouteFlag
from tests.support.routing import random_model

LAYERS, EXPERTS, K, ROWS = 5, 16, 2, 37
GROUPS = [[[0, 1, 2, 3, 4]], [[3, 1], [4]], [[2]], [[4, 0], [1, 3, 2]], []]
"""Layers that lie together, for each pass; the others did not run."""


@pytest.mark.parametrize("compress", [False, True])
def test_any_layers_together(compress: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "ROUTE_ROWS", 10)  # so that chunks end within passes
    rng = np.random.default_rng(0)
    rows = len(GROUPS) * ROWS
    experts = np.full((LAYERS, rows, K), -1, np.int8)
    weights = np.full((LAYERS, rows, K), np.nan, np.float32)
    flags = np.full((LAYERS, rows), RouteFlag.ABSENT, np.uint8)
    counts = np.zeros((LAYERS, EXPERTS), np.int64)
    with CaptureWriter(tmp_path / "a.h5", compress=compress) as writer:
        writer.describe(random_model(2, EXPERTS, K))
        writer.describe(random_model(LAYERS, EXPERTS, K))  # layers that turned up later have a table of their own
        for number, groups in enumerate(GROUPS):
            span = slice(number * ROWS, (number + 1) * ROWS)
            stacks = []
            for group in groups:
                ids = rng.integers(0, EXPERTS, (len(group), ROWS, K)).astype(np.int8)
                given = rng.random((len(group), ROWS, K), np.float32)
                sums = np.stack([np.bincount(layer.ravel(), minlength=EXPERTS) for layer in ids])
                stacks.append(RouteStack(tuple(group), sums, ids, given))
                for place, *values in zip(group, ids, given, sums, strict=True):
                    experts[place, span], weights[place, span], flags[place, span] = values[0], values[1], 0
                    counts[place] += values[2]
            batch = RouteBatch(np.zeros((), PASS), {"main": np.zeros(ROWS, TOKEN)}, StackedLayers(stacks))
            assert [layer.layer for layer in batch.layers] == sorted(place for group in groups for place in group)
            writer.append(batch)
    assert writer.stopped is None
    with open_capture(tmp_path / "a.h5") as capture:
        for place in range(LAYERS):
            np.testing.assert_array_equal(capture.experts(place), experts[place])
            np.testing.assert_array_equal(capture.weights(place), weights[place])
            np.testing.assert_array_equal(capture.flags(place), flags[place])
            np.testing.assert_array_equal(capture.counts(place), counts[place])
            assert np.isnan(capture.entropy(place)).all()
            assert np.isnan(capture.margin(place)).all()
