"""What sampling keeps: the same tokens at all layers and in all runs, even over the run, within the bytes; counts are of all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import moedesk
from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import PASS, TOKEN, PassFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.probe.taking.sampling import SampledSink, Sampling, chances, row_bytes
from tests.support.families import some_ids
from tests.support.gathered import Gathered

COLUMNS = ("experts", "weights", "entropy", "margin", "flags")


def record(model: nn.Module, path: Path, passes: int = 12, **options: Any) -> Path:
    with torch.no_grad(), moedesk.record(model, path, **options):
        for seed in range(passes):
            model(some_ids(batch=3, length=17, seed=seed))
    return path


def rows_of(capture: Any, layer: int) -> dict[tuple[int, int], tuple[Any, ...]]:
    """What was kept of each token, by sequence and position."""
    tokens = capture.read_tokens()
    columns = [getattr(capture, name)(layer).tolist() for name in COLUMNS]
    keys = zip(tokens["sequence"].tolist(), tokens["position"].tolist(), strict=True)
    return {key: values for key, *values in zip(keys, tokens["token_id"].tolist(), *columns, strict=True)}


def same_counts(one: Any, other: Any) -> bool:
    return all(
        (one.counts(layer) == other.counts(layer)).all() and one.counts(layer).sum() > 0
        for layer in range(len(one.model.layers))
    )


def test_a_share_of_the_tokens(olmoe: nn.Module, tmp_path: Path) -> None:
    with (
        moedesk.open(record(olmoe, tmp_path / "all.h5")) as whole,
        moedesk.open(record(olmoe, tmp_path / "some.h5", tokens=0.3)) as some,
        moedesk.open(record(olmoe, tmp_path / "again.h5", tokens=0.3)) as again,
    ):
        drawn = chances(whole.read_tokens())
        number = int((drawn < 0.3).sum())
        assert 0.2 < number / len(drawn) < 0.4
        for layer in range(2):
            every, kept = rows_of(whole, layer), rows_of(some, layer)
            assert len(kept) == number
            assert kept.items() <= every.items()
            assert kept == rows_of(again, layer)
        assert same_counts(whole, some)
        assert (whole.counts(1, by="pass") == some.counts(1, by="pass")).all()
        assert (some.passes["flags"] & PassFlag.SAMPLED).all()
        assert (some.passes["n_seen"] == whole.passes["n_seen"]).all()
        assert any("0.3 of the tokens" in note for note in some.notes)


def test_a_larger_share_holds_the_smaller_one(olmoe: nn.Module, tmp_path: Path) -> None:
    with (
        moedesk.open(record(olmoe, tmp_path / "a.h5", tokens=0.2)) as few,
        moedesk.open(record(olmoe, tmp_path / "b.h5", tokens=0.6)) as many,
    ):
        assert rows_of(few, 0).items() < rows_of(many, 0).items()


def test_a_reservoir_is_an_even_sample_of_the_whole_run(olmoe: nn.Module, tmp_path: Path) -> None:
    with (
        moedesk.open(record(olmoe, tmp_path / "all.h5", 60)) as whole,
        moedesk.open(record(olmoe, tmp_path / "some.h5", 60, reservoir=100)) as some,
    ):
        tokens = whole.read_tokens()
        smallest = np.argsort(chances(tokens))[:100]
        expected = {(int(tokens["sequence"][i]), int(tokens["position"][i])) for i in smallest}
        for layer in range(2):
            kept = rows_of(some, layer)
            assert kept.keys() == expected
            assert kept.items() <= rows_of(whole, layer).items()
        assert same_counts(whole, some)
        late = (some.passes["flags"] & PassFlag.LATE) != 0
        assert (some.passes["flags"][~late] & PassFlag.COUNTS_ONLY).all()
        assert np.count_nonzero(~late) == whole.n_passes
        assert set(some.passes["t0_ns"][late]) <= set(some.passes["t0_ns"][~late])
        assert not some.counts(0, by="pass")[late].any()


def test_a_reservoir_larger_than_the_run_keeps_all(olmoe: nn.Module, tmp_path: Path) -> None:
    with (
        moedesk.open(record(olmoe, tmp_path / "all.h5")) as whole,
        moedesk.open(record(olmoe, tmp_path / "some.h5", reservoir=10_000)) as some,
    ):
        assert rows_of(whole, 1) == rows_of(some, 1)


def batch(second: float, rows: int = 10) -> RouteBatch:
    header = np.zeros((), PASS)
    header["t0_ns"] = header["t1_ns"] = int(second * 1e9)
    tokens = np.zeros(rows, TOKEN)
    tokens["position"] = np.arange(rows)
    tokens["sequence"] = int(second * 1000)
    routes = LayerRoutes(0, np.array([rows, 0]), np.zeros((rows, 1), np.int8), np.ones((rows, 1), np.float32))
    return RouteBatch(header, {"main": tokens}, (routes,))


def test_a_byte_rate_by_the_clock_of_the_passes() -> None:
    size = row_bytes(batch(0))
    assert size == 10 * (TOKEN.itemsize + 1 + 4)
    gathered = Gathered()
    sink = SampledSink(gathered, Sampling(byte_rate=2 * size))
    sink.describe(ModelInfo("m", "M", (LayerInfo("l", "B", 2, 1),)))
    # Two at once; what 0.3 s are worth lets one through, and it owes; 0.6 s pay for it and one more; a pause is worth a second.
    for second in (0, 0, 0, 0.3, 0.9, 0.9, 0.9, 60, 60, 60, 60):
        sink.append(batch(second))
    sink.close()
    kept = [not batch.header["flags"] & PassFlag.COUNTS_ONLY for batch in gathered.batches]
    assert kept == [True, True, False, True, True, False, False, True, True, False, False]
    assert all(batch.layers[0].counts.tolist() == [10, 0] for batch in gathered.batches)
    assert any("5 passes were only counted" in note for note in gathered.notes)


@pytest.mark.parametrize(
    "options", [{"tokens": 1.5}, {"tokens": -1}, {"reservoir": -1}, {"byte_rate": -5}, {"every": 0}]
)
def test_options_that_make_no_sense(olmoe: nn.Module, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(MoedeskError, match="makes no sense"):
        moedesk.record(olmoe, tmp_path / "x.h5", **options)


def test_chances_are_even_and_independent() -> None:
    tokens = np.zeros(200_000, TOKEN)
    tokens["sequence"], tokens["position"] = np.arange(200_000) // 400, np.arange(200_000) % 400
    drawn = chances(tokens)
    histogram = np.bincount((drawn * 50).astype(int), minlength=50)
    assert abs(histogram - 4000).max() < 5 * np.sqrt(4000)
    by_position = drawn.reshape(500, 400)
    assert abs(np.corrcoef(by_position[:, 0], by_position[:, 1])[0, 1]) < 0.2
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.02
