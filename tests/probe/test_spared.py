"""A courier that is behind: entropy and margin are given up before a whole pass is, and that is said everywhere."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.analysis.audit import audit
from moedesk.capture.open import open_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.columns import PassFlag, RouteFlag
from moedesk.probe.attach import attach
from moedesk.probe.taking import courier
from tests.benchmarks.bench_courier import Model
from tests.support.families import build, some_ids
from tests.support.hand_written import BLOCKS, Small
from tests.support.hand_written import some_ids as hand_written_ids
from tests.support.sinks import Blocked

pytestmark = pytest.mark.usefixtures("nothing_stays_attached")

NOTE = "some passes lack entropy and margin"


def run(model: nn.Module, passes: int, ids: Callable[..., torch.Tensor] = some_ids) -> None:
    with torch.no_grad():
        for seed in range(passes):
            model(ids(seed=seed))


@pytest.fixture
def olmoe() -> Any:
    return build("olmoe")


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "SPARE_BYTES", 60_000)
    monkeypatch.setattr(courier, "CLOSE_SECONDS", 60.0)


def test_ids_and_weights_of_every_pass_arrive(olmoe: nn.Module) -> None:
    whole, blocked = Blocked(), Blocked()
    whole.free.set()
    with_all = attach(olmoe, sink=whole)
    run(olmoe, 1)
    with_all.detach()
    attachment = attach(olmoe, sink=blocked)
    run(olmoe, 40)
    counters = attachment.counters
    assert (counters.passes, counters.shed, counters.dropped, counters.dropped_tokens) == (40, 0, 0, 0)
    assert 0 < counters.spared < 40
    blocked.free.set()
    attachment.detach()
    spared = [bool(int(batch.header["flags"]) & PassFlag.SPARED) for batch in blocked.batches]
    assert spared == [False] * (40 - counters.spared) + [True] * counters.spared
    for batch, lacks in zip(blocked.batches, spared, strict=True):
        for routes in batch.layers:
            assert np.isnan(routes.entropy).all() == np.isnan(routes.margin).all() == lacks
            assert not np.isnan(routes.weights).any()
            assert not (routes.flags & RouteFlag.NONFINITE).any(), "nothing is wrong with the router"
    for first, again in zip(whole.batches[0].layers, blocked.batches[0].layers, strict=True):
        np.testing.assert_array_equal(first.experts, again.experts)
    assert [note for note in blocked.notes if NOTE in note] == [blocked.notes[0]], "said once"
    assert blocked.sums["spared"] == counters.spared


def test_a_long_pass_is_spared_as_a_whole(olmoe: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = Blocked()
    attachment = attach(olmoe, sink=blocked)
    run(olmoe, 2)
    assert blocked.entered.wait(10)
    monkeypatch.setattr("moedesk.probe.taking.tap.FEW", 0)  # the pass counts as a long one,
    monkeypatch.setattr("moedesk.probe.taking.tap.HELD_BYTES", 1)  # of which each layer is handed on alone
    monkeypatch.setattr(courier, "SPARE_BYTES", attachment.counters.queued_bytes + 1)
    run(olmoe, 1)
    assert attachment.counters.spared == 1
    blocked.free.set()
    attachment.detach()
    assert [int(batch.header["flags"]) for batch in blocked.batches] == [0, 0, PassFlag.SPARED]
    assert all(np.isnan(routes.entropy).all() for routes in blocked.batches[2].layers), "its first layer too"


def test_what_is_handed_on_in_parts_is_counted_once(olmoe: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a long pass alone would be behind: its logits are gone when it is over."""
    monkeypatch.setattr("moedesk.probe.taking.tap.FEW", 0)
    queued = []
    for held in (4 << 20, 1):
        blocked = Blocked()
        attachment = attach(olmoe, sink=blocked)
        run(olmoe, 1)
        assert blocked.entered.wait(10)
        before = attachment.counters.queued_bytes
        monkeypatch.setattr("moedesk.probe.taking.tap.HELD_BYTES", held)
        run(olmoe, 1)
        queued.append(attachment.counters.queued_bytes - before)
        blocked.free.set()
        attachment.detach()
    row = 2 * 8 + 2 * 4 + 8  # ids as they came, weights, entropy and margin
    assert queued[1] - queued[0] == 2 * 18 * row


def test_logits_that_were_wanted_are_given_up_as_well(olmoe: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "SPARE_BYTES", 0)
    blocked = Blocked()
    blocked.free.set()
    attachment = attach(olmoe, sink=blocked, logits=True)
    run(olmoe, 3)
    attachment.detach()
    assert all(routes.logits is None and routes.experts is not None for routes in blocked.batches[2].layers)
    assert attachment.counters.spared == 3


KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[..., torch.Tensor]]] = {
    "an adapter": (lambda: build("dbrx"), some_ids),
    "watched": (lambda: Small(BLOCKS["LoopOverExperts"]), hand_written_ids),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_layers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, ids = KINDS[kind]
    model, blocked = make(), Blocked()
    blocked.free.set()
    attachment = attach(model, sink=blocked)
    run(model, 2, ids)
    barrier = threading.Event()
    attachment.tracer.courier._put(courier._Job(barrier.set))
    assert barrier.wait(10)
    monkeypatch.setattr(courier, "SPARE_BYTES", 0)
    run(model, 2, ids)
    attachment.detach()
    assert attachment.counters.spared == 2
    layers = [[routes.layer for routes in batch.layers] for batch in blocked.batches]
    assert layers == [layers[0]] * 4
    for turn, batch in enumerate(blocked.batches):
        for routes in batch.layers:
            assert np.isnan(routes.entropy).all() == (turn >= 2)
            assert not np.isnan(routes.weights).any()


def test_where_no_logits_are_known_nothing_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "SPARE_BYTES", 0)
    blocked = Blocked()
    blocked.free.set()
    attachment = attach(Model(2, 9, 16, with_logits=False), sink=blocked)
    run(attachment.module, 2)
    attachment.detach()
    assert attachment.counters.spared == 0
    assert not any(int(batch.header["flags"]) & PassFlag.SPARED for batch in blocked.batches)


def test_in_a_capture_they_are_unknown_and_marked(
    olmoe: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attachment = attach(olmoe, sink=CaptureWriter(tmp_path / "run.h5"))
    run(olmoe, 2)
    monkeypatch.setattr(courier, "SPARE_BYTES", 0)
    run(olmoe, 1)
    attachment.detach()
    with open_capture(tmp_path / "run.h5") as capture:
        assert (capture.passes["flags"] & PassFlag.SPARED != 0).tolist() == [False, False, True]
        i, j = capture.token_span(2, 3)
        for layer in range(2):
            assert np.isfinite(capture.entropy(layer, 0, i)).all()
            assert np.isnan(capture.entropy(layer, i, j)).all()
            assert np.isnan(capture.margin(layer, i, j)).all()
            assert np.isfinite(capture.weights(layer, i, j)).all()
            assert not capture.flags(layer, i, j).any()
        assert any(NOTE in note for note in capture.notes)
        assert "non-finite" not in [finding.id for finding in audit(capture).findings]
