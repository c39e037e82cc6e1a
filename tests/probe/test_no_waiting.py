"""Hooks never wait for the device: after two passes they run on one that has no values, where whoever asks for one fails."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moedesk.probe.attach import Attachment, attach
from moedesk.probe.taking.batch import RecordedPass
from moedesk.probe.taking.courier import Courier
from tests.support.families import build, some_ids
from tests.support.gathered import Gathered

pytestmark = pytest.mark.usefixtures("nothing_stays_attached")

FAMILIES = ("olmoe", "deepseek_v3", "gpt_oss", "qwen2_moe")
"""A softmax; a sigmoid with bias and groups; plain logits; shared experts."""


@pytest.fixture
def delivered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[RecordedPass]]:
    """What is handed to the courier, from the second pass on; a courier could not read it."""
    passes: list[RecordedPass] = []
    deliver = Courier.deliver

    def keep(self: Courier, recorded: RecordedPass) -> None:
        if any(isinstance(call.ids, Tensor) and call.ids.is_meta for call in recorded.calls):
            passes.append(recorded)
        else:
            deliver(self, recorded)

    monkeypatch.setattr(Courier, "deliver", keep)
    return passes


def on_a_device_without_values(name: str, **wanted: Any) -> tuple[nn.Module, Attachment]:
    model = build(name)
    model.set_experts_implementation("batched_mm")  # the others look at values themselves, as
    model.set_attn_implementation("eager")  # does a mask for other attention
    attachment = attach(model, sink=Gathered(), **wanted)
    with torch.no_grad():
        model(some_ids())
        model(some_ids())  # shows the hooks how experts are called
    assert len(attachment.model.layers) == 2
    return model.to("meta"), attachment


@pytest.mark.parametrize("wait", [Tensor.item, Tensor.cpu, Tensor.tolist, Tensor.nonzero, bool])
def test_the_device_fails_whoever_waits_for_it(wait: Any) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.ones(1, device="meta"))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("length", [1, 50], ids=["decode", "prompt"])
@pytest.mark.parametrize("wanted", [{}, {"logits": True}, {"counts_only": True}], ids=["default", "logits", "counts"])
def test_no_hook_waits(name: str, length: int, wanted: dict[str, bool], delivered: list[RecordedPass]) -> None:
    model, attachment = on_a_device_without_values(name, **wanted)
    ids = some_ids(2, length).to("meta")
    with torch.no_grad():
        for _ in range(3):
            model(ids, attention_mask=torch.ones_like(ids), use_cache=False)
    attachment.detach()
    assert len(delivered) == 3
    for recorded in delivered:
        groups = [group for piece in recorded.pieces for group in piece.groups()]
        assert sum(len(group.bindings) for group in groups) == 2
        for group in groups:
            assert group.ids.is_meta
            assert group.ids.shape[1:] == (2 * length, 2)
            assert (group.entropy is not None) == ("counts_only" not in wanted)
