"""What ``record``'s options keep and leave out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import moedesk
from moedesk.core.columns import PassFlag
from moedesk.core.errors import CaptureWarning, MoedeskError
from tests.support.families import some_ids
from tests.support.gathered import gather


def run(model: nn.Module, passes: int = 4) -> None:
    for seed in range(passes):
        model(some_ids(seed=seed))


def test_counts_only_gives_the_same_counts_and_nothing_else(olmoe: nn.Module) -> None:
    everything, full = gather(olmoe)
    only, counted = gather(olmoe, counts_only=True)
    with torch.no_grad():
        with everything:
            run(olmoe)
        with only:
            run(olmoe)
    for one, two in zip(full.batches, counted.batches, strict=True):
        assert int(two.header["flags"]) == PassFlag.COUNTS_ONLY
        assert [len(rows) for rows in two.tokens.values()] == [0]
        assert two.header["n_seen"] == one.header["n_seen"] == 18
        for expected, routes in zip(one.layers, two.layers, strict=True):
            np.testing.assert_array_equal(routes.counts, expected.counts)
            assert all(getattr(routes, name) is None for name in ("experts", "weights", "entropy", "margin", "logits"))


def test_every_third_pass_is_kept_and_the_others_are_counted(olmoe: nn.Module) -> None:
    recording, gathered = gather(olmoe, every=3)
    with torch.no_grad(), recording:
        run(olmoe, 7)
    flags = [int(batch.header["flags"]) for batch in gathered.batches]
    counted = int(PassFlag.COUNTS_ONLY)
    assert flags == [0, counted, counted, 0, counted, counted, 0]
    assert [batch.layers[0].counts.sum() for batch in gathered.batches] == [36] * 7


@pytest.mark.parametrize(
    ("layers", "paths"),
    [
        ([1], ["model.layers.1.mlp"]),
        ([-1], ["model.layers.1.mlp"]),
        (["model.layers.0.mlp"], ["model.layers.0.mlp"]),
        (["model.layers.0.mlp.experts", 1], ["model.layers.0.mlp", "model.layers.1.mlp"]),
        (lambda path: ".1." in path, ["model.layers.1.mlp"]),
    ],
)
def test_layers_by_place_path_or_function(olmoe: nn.Module, layers: Any, paths: list[str]) -> None:
    recording, gathered = gather(olmoe, layers=layers)
    with torch.no_grad(), recording:
        run(olmoe, 2)
    assert [layer.path for layer in gathered.model.layers] == paths
    assert [layer.place for layer in gathered.model.layers] == list(range(len(paths)))
    assert any("of the model's 2 MoE layers" in note for note in gathered.notes) == (len(paths) < 2)


@pytest.mark.parametrize("layers", [[2], ["model.layers.7.mlp"], lambda path: False])
def test_a_layer_that_is_not_there_is_refused_in_one_line(olmoe: nn.Module, tmp_path: Path, layers: Any) -> None:
    recording = moedesk.record(olmoe, tmp_path / "x.h5", layers=layers)
    with pytest.raises(MoedeskError, match=r"model\.layers\.0\.mlp … model\.layers\.1\.mlp") as caught, recording:
        pass
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_logits_are_kept_on_request_only(olmoe: nn.Module) -> None:
    without, plain = gather(olmoe)
    with torch.no_grad(), without:
        run(olmoe, 1)
    assert plain.routes(0).logits is None


def test_every_must_be_positive(olmoe: nn.Module) -> None:
    with pytest.raises(MoedeskError, match="every=0"):
        moedesk.record(olmoe, "x.h5", every=0)


def test_a_recording_opens_as_a_capture(olmoe: nn.Module, tmp_path: Path) -> None:
    expected, gathered = gather(olmoe, logits=True)
    with torch.no_grad():
        with expected:
            run(olmoe)
        with moedesk.record(olmoe, tmp_path / "run.h5", logits=True) as recording:
            run(olmoe)
    assert recording.passes == 4
    assert recording.path == tmp_path / "run.h5"
    with moedesk.open(recording.path) as capture:
        assert capture.complete
        assert [layer.path for layer in capture.model.layers] == ["model.layers.0.mlp", "model.layers.1.mlp"]
        assert len(capture.passes) == 4
        for layer in range(2):
            np.testing.assert_array_equal(capture.experts(layer), gathered.column("experts", layer))
            np.testing.assert_array_equal(capture.weights(layer), gathered.column("weights", layer))
            np.testing.assert_array_equal(capture.logits(layer), gathered.column("logits", layer))
            np.testing.assert_array_equal(capture.counts(layer), gathered.counts(layer))


def test_nothing_ran(olmoe: nn.Module, tmp_path: Path) -> None:
    with (
        pytest.warns(CaptureWarning, match="nothing was recorded"),
        moedesk.record(olmoe, tmp_path / "run.h5"),
    ):
        pass
    with moedesk.open(tmp_path / "run.h5") as capture:
        assert len(capture.passes) == 0
        assert any("nothing was recorded" in note for note in capture.notes)
