"""Counts of any window, and blocks of any width, against sums over the passes' own counts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import moedesk
from moedesk.capture import counts, pyramid
from moedesk.capture.reader import Capture
from moedesk.capture.writer import CaptureWriter
from tests.support.routing import Plain, random_batch, random_model

PASSES = 700


def record(path: Path, finish: bool) -> tuple[Plain, CaptureWriter]:
    """Many small passes, some with counts only, some large, with layers that come late."""
    rng = np.random.default_rng(5)
    plain = Plain(random_model(2, 16, 2))
    writer = CaptureWriter(path)
    writer.describe(plain.model)
    for number in range(PASSES):
        if number == 300:
            writer.describe(plain.grow(1, 5, 1, "vision"))
        alone = bool(rng.random() < (0.02 if number < 500 else 0.4))
        rows = int(rng.integers(0, 4)) if rng.random() < 0.98 else 60
        batch = random_batch(
            (21, number), plain.model, rows, counts_only=alone, absent=(0,) if number % 50 == 3 else ()
        )
        writer.append(plain.add(batch))
    if finish:
        writer.close()
    else:
        writer.flush()
    return plain, writer


@pytest.fixture(params=["closed", "running"])
def recorded(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Plain, Capture]]:
    """Small blocks, so that these passes fill three levels; closed, or with a block still open."""
    monkeypatch.setattr(pyramid, "BLOCK_TOKENS", 12)
    monkeypatch.setattr(pyramid, "BLOCK_PASSES", 5)
    plain, writer = record(tmp_path / "a.h5", request.param == "closed")
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.complete == (request.param == "closed")
        assert len(capture.contents.column("blocks/2")) >= 2
        yield plain, capture
    writer.close()


def test_every_window(recorded: tuple[Plain, Capture]) -> None:
    plain, capture = recorded
    sums = [
        np.concatenate([[np.zeros(layer.experts, int)], plain.counts(layer.place).cumsum(axis=0)])
        for layer in plain.model.layers
    ]
    rng = np.random.default_rng(6)
    windows = [(0, PASSES), (0, 0), (PASSES, PASSES), (299, 301), *((i, i + 1) for i in range(0, PASSES, 83))]
    windows += [tuple(sorted(rng.integers(0, PASSES + 1, 2).tolist())) for _ in range(40)]
    for first, last in windows:
        found = capture.window_counts(first, last)
        for place, expected in enumerate(sums):
            np.testing.assert_array_equal(
                found[place], expected[last] - expected[first], f"{first}…{last} layer {place}"
            )
    np.testing.assert_array_equal(capture.window_counts()[0], sums[0][-1])


@pytest.mark.parametrize("budget", [20_000_000, 3_000, 0])
def test_blocks_of_any_width(recorded: tuple[Plain, Capture], monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    """Edges grow, cover the window, reach out by less than a block; each block's counts are those of its passes."""
    plain, capture = recorded
    monkeypatch.setattr(counts, "BUDGET", budget)
    per_pass = np.concatenate([plain.counts(place) for place in range(3)], axis=1)
    sums = np.concatenate([[np.zeros(per_pass.shape[1], int)], per_pass.cumsum(axis=0)])
    rng = np.random.default_rng(7)
    windows = [(0, PASSES), (10, 11), (0, 1), (PASSES - 1, PASSES), (PASSES - 90, PASSES)]
    windows += [tuple(sorted(rng.choice(PASSES + 1, 2, replace=False).tolist())) for _ in range(6)]
    for first, last in windows:
        for columns in (1, 7, 2000):
            blocks = capture.load_blocks(first, last, columns)
            edges = blocks.edges
            assert (np.diff(edges) > 0).all()
            assert edges[0] <= first
            assert edges[1] > first
            assert edges[-1] >= last
            assert edges[-2] < last
            assert len(edges) - 1 <= columns + 1
            np.testing.assert_array_equal(blocks.offsets, [0, 16, 32, 37])
            assert blocks.counts.dtype == np.uint32
            np.testing.assert_array_equal(blocks.counts, sums[edges[1:]] - sums[edges[:-1]])
            if budget > 1_000_000:
                assert (edges[0], edges[-1]) == (first, last)
                assert len(edges) - 1 == min(last - first, -(-(last - first) // -(-(last - first) // columns)))


def test_an_empty_window(recorded: tuple[Plain, Capture]) -> None:
    _, capture = recorded
    blocks = capture.load_blocks(5, 5, 10)
    assert blocks.counts.shape == (0, 37)
    assert blocks.edges.tolist() == [5]


def test_one_pass_is_cheap_to_count_where_it_has_a_block(tmp_path: Path) -> None:
    """A pass of 1,024 tokens or more closes its own block: its counts need no ids."""
    model = random_model(1)
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(model)
        for number in range(3):
            writer.append(random_batch((22, number), model, 1500))
    with moedesk.open(tmp_path / "a.h5") as capture:
        blocks = capture.contents.read_all("blocks/0")
        assert blocks["first"].tolist() == [0, 1, 2]
        assert blocks["count"].tolist() == [1, 1, 1]


def test_counts_by_something_else(tmp_path: Path) -> None:
    model = random_model(1)
    with CaptureWriter(tmp_path / "a.h5") as writer:
        writer.describe(model)
    with moedesk.open(tmp_path / "a.h5") as capture, pytest.raises(ValueError, match="by 'capture' or by 'pass'"):
        capture.counts(0, by="token")  # type: ignore[call-overload]
