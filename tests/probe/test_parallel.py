"""Two processes that run one model together, against the same model in one: ids, weights, tokens, files, gradients."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import moedesk
from moedesk.core.errors import MoedeskError
from moedesk.probe.record import record
from moedesk.probe.taking.parallel import own_path
from tests.support.families import build
from tests.support.ranks import PASSES, WAYS, ids_of
from tests.support.received import Received

LIMIT = 240
"""Seconds; two processes that import torch take 10 where nothing else runs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both processes wrote."""
    path = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.ranks", str(path)]
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=LIMIT)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    return path


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build("olmoe")


SHARED = ("experts", "exchanged", "tensors")
"""Both processes run the same tokens."""
OWN = ("data and experts", "data", "data copies")
"""Each runs its own."""


@pytest.mark.parametrize(
    ("way", "rank"), [*((way, 0) for way in SHARED), *((way, rank) for way in OWN for rank in (0, 1))]
)
def test_routing_is_that_of_the_model_in_one_process(folder: Path, model: nn.Module, way: str, rank: int) -> None:
    with moedesk.open(folder / (f"{way}.rank1.h5" if rank else f"{way}.h5")) as capture:
        layers = capture.model.layers
        assert [layer.experts for layer in layers] == [8, 8]
        paths = [f"{'module.' if way == 'data copies' else ''}model.layers.{place}.mlp" for place in range(2)]
        assert [layer.path for layer in layers] == paths
        assert capture.passes["rank"].tolist() == [rank] * PASSES
        for turn in range(PASSES):
            ids = ids_of(way, rank, turn)
            with torch.no_grad(), Received(model) as received:
                logits = model(ids, output_router_logits=True).router_logits
            rows = 18 * turn, 18 * turn + 18
            np.testing.assert_array_equal(capture.tokens["token_id"][slice(*rows)], ids.flatten())
            for place, (chosen, weights) in enumerate(received.calls):
                np.testing.assert_array_equal(capture.experts(place, *rows), chosen)
                np.testing.assert_allclose(capture.weights(place, *rows), weights, rtol=1e-5)
                np.testing.assert_allclose(capture.logits(place, *rows), logits[place], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", SHARED)
def test_the_same_tokens_are_recorded_once(folder: Path, way: str) -> None:
    assert not (folder / f"{way}.rank1.h5").exists()
    assert (folder / f"{way} 0.txt").read_text().startswith(f"file {way}.h5 repeats False passes {PASSES}")
    assert (folder / f"{way} 1.txt").read_text().startswith(f"file {way}.rank1.h5 repeats True passes 0")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_spread_has_no_norms_and_says_so(folder: Path, way: str) -> None:
    with moedesk.open(folder / f"{way} trained.h5") as capture:
        assert len(capture.steps) == 2
        for layer in range(2):
            assert np.isnan(capture.gradients(layer)).all()
        for place in range(2):
            path = f"model.layers.{place}.mlp"
            assert f"{path}: gradients are spread over processes; their norms are left out" in capture.notes
            whole = way == "data"  # in a forward
            assert (f"{path}: its experts are spread over processes; no output norms" in capture.notes) != whole


@pytest.mark.parametrize("way", WAYS)
def test_a_part_of_a_model_is_not_verified(folder: Path, way: str) -> None:
    for rank in range(2):
        assert "is spread over processes" in (folder / f"{way} {rank}.txt").read_text()


def test_copies_of_a_model_have_the_mean_gradient_of_all_their_tokens(folder: Path) -> None:
    model = build("olmoe").train()
    for turn in range(2):
        model.zero_grad()
        for rank in range(2):
            ids = ids_of("data copies", rank, turn)
            (model(ids, labels=ids).loss / 2).backward()
        for place in range(2):
            experts = model.get_submodule(f"model.layers.{place}.mlp.experts")
            squares = sum(p.grad.double().square().flatten(1).sum(1) for p in experts.parameters())
            for name in ("data copies trained.h5", "data copies trained.rank1.h5"):
                with moedesk.open(folder / name) as capture:
                    np.testing.assert_allclose(capture.gradients(place)[turn], squares.sqrt(), rtol=1e-4)


def test_each_process_has_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also before their group is made: under torchrun, the environment says who is who."""
    assert own_path(tmp_path / "run.h5").name == "run.h5"
    monkeypatch.setenv("WORLD_SIZE", "16")
    names = []
    for rank in range(16):
        monkeypatch.setenv("RANK", str(rank))
        names.append(
            record(build("olmoe"), tmp_path / "run.h5").path.name if rank == 1 else own_path(Path("run.h5")).name
        )
        assert own_path(Path(f"run-rank{rank}.h5")).name == f"run-rank{rank}.h5"
        assert own_path(Path(f"run.rank0{rank}.h5")).name == f"run.rank0{rank}.h5"
    assert names[:3] == ["run.h5", "run.rank1.h5", "run.rank2.h5"]
    assert len(set(names)) == 16
    monkeypatch.setenv("RANK", "1")
    assert own_path(Path("run.rank11.h5")).name == "run.rank11.rank1.h5"


def test_a_router_that_hides_the_experts_of_others_is_refused() -> None:
    """As transformers spread experts before its 5.20: ids of a process's own experts, and one for all others."""
    model = build("olmoe")
    model.model.layers[0].mlp.gate._hf_tp_plan = "ep_router"
    with pytest.raises(MoedeskError, match=r"model\.layers\.0\.mlp\.gate .*which of its own experts"):
        record(model, "unused.h5").__enter__()
