"""Models whose parts lie in several places: offloaded by accelerate, or on several devices."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.console.run import run
from moedesk.probe.exactness.verify import verify
from moedesk.probe.finding.binding import Binding
from moedesk.probe.taking.event import Event, Stack
from moedesk.probe.taking.held import Source, copied
from moedesk.probe.taking.tap import Piece, Transfer
from tests.support.families import build, some_ids
from tests.support.gathered import gather
from tests.support.received import Received


def offloaded_to_host(model: nn.Module, folder: Path) -> None:
    pytest.importorskip("accelerate").cpu_offload(model, torch.device("cpu"))


def offloaded_to_disk(model: nn.Module, folder: Path) -> None:
    pytest.importorskip("accelerate").disk_offload(model, str(folder), torch.device("cpu"))


def mapped(model: nn.Module, folder: Path) -> None:
    """One layer stays, the other lies on the disk."""
    places = {"model.layers.1": "disk"} | dict.fromkeys(
        ["model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.norm", "lm_head"], "cpu"
    )
    pytest.importorskip("accelerate").dispatch_model(model, places, torch.device("cpu"), offload_dir=str(folder))


@pytest.mark.parametrize("offload", [offloaded_to_host, offloaded_to_disk, mapped])
def test_an_offloaded_model_is_captured(offload: Callable[[nn.Module, Path], None], tmp_path: Path) -> None:
    model, ids = build("olmoe"), some_ids()
    with torch.no_grad(), Received(model) as received:
        plain = model(ids).logits
    offload(model, tmp_path)
    assert any(parameter.is_meta for parameter in model.parameters())
    recording, gathered = gather(model, logits=True)
    with torch.no_grad(), recording:
        outputs = [model(ids).logits for _ in range(2)]
    assert all(torch.equal(plain, output) for output in outputs)
    for batch in gathered.batches:
        for routes, (chosen, weights) in zip(batch.layers, received.calls, strict=True):
            np.testing.assert_array_equal(routes.experts, chosen)
            np.testing.assert_array_equal(routes.weights, weights)
            assert np.isfinite(routes.margin).all()
    assert not gathered.notes
    with pytest.raises(MoedeskError, match="offloaded"):
        verify(model)


def test_text_goes_to_where_an_offloaded_embedding_runs(sample: tuple[nn.Module, Any], tmp_path: Path) -> None:
    model, tokenizer = sample
    expected = run(model, tokenizer, ["def f("], 3).text
    accelerate = pytest.importorskip("accelerate")
    accelerate.cpu_offload(model, torch.device("cpu"))
    try:
        assert run(model, tokenizer, ["def f("], 3).text == expected
    finally:
        accelerate.hooks.remove_hook_from_module(model, recurse=True)


@pytest.fixture
def bindings() -> tuple[Binding, ...]:
    """Two layers that are alike."""
    recording, _ = gather(model := build("olmoe"))
    with torch.no_grad(), recording:
        model(some_ids())
        assert recording._tracer is not None
        return recording._tracer.bindings


def test_layers_on_different_devices_are_held_apart(bindings: tuple[Binding, ...]) -> None:
    """The first layer on the host, the second elsewhere: nothing changed, and neither is copied to the other."""
    places = ("cpu", "meta")
    holds: list[Any] = []
    for binding, place in zip(bindings, places, strict=True):
        ids, weights = torch.zeros(3, 2, dtype=torch.int64, device=place), torch.rand(3, 2, device=place)
        holds.append((Source(binding), ids, ids._version, weights, weights._version, None))
    stacks, changed = copied(holds)
    assert not changed
    assert [stack.ids.device.type for stack in stacks] == ["cpu", "meta"]
    assert [stack.bindings for stack in stacks] == [(binding,) for binding in bindings]


def test_a_pass_that_begins_on_the_host_is_reduced_before_it_is_sent(bindings: tuple[Binding, ...]) -> None:
    """What is on a device starts its way to the host with the pass, not when the courier looks at it."""
    taken: list[str] = []

    def take(tensor: torch.Tensor) -> torch.Tensor:
        taken.append(tensor.device.type)
        return tensor

    transfer: Transfer = SimpleNamespace(take=take)  # type: ignore[assignment]
    events: list[Event | Stack] = [
        Event(binding, torch.zeros(3, 2, dtype=torch.int8, device=place))
        for binding, place in zip(bindings, ("cpu", "meta"), strict=True)
    ]
    Piece(events, False, 0).send(transfer)
    assert taken == ["cpu", "meta"]
    taken.clear()
    Piece(events[:1], False, 0).send(transfer)
    assert not taken, "what is on the host is left to the courier"
