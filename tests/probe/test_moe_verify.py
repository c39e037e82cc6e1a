"""``moe.verify()``: tests what is attached without a trace in its stream, and what it finds goes where the routing goes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import moedesk
from moedesk.core.errors import MoedeskError
from moedesk.core.verification import Verdict
from moedesk.probe.attach import attach
from moedesk.probe.console.moe import Moe
from moedesk.probe.record import record
from tests.support.console import own_moe
from tests.support.gathered import Gathered, gather


@pytest.fixture
def moe(sample: tuple[Any, Any]) -> Iterator[Moe]:
    """With the sample model attached."""
    with own_moe() as moe:
        moe.attach(*sample)
        yield moe


def test_nothing_of_the_test_is_in_the_stream(sample: tuple[Any, Any]) -> None:
    model, tokenizer = sample
    ids = tokenizer("The test leaves no trace", return_tensors="pt").input_ids
    with own_moe() as moe, torch.no_grad():
        gathered = Gathered()
        moe.attachment = attach(model, tokenizer, sink=gathered)
        moe._tokenizer = tokenizer
        model(ids)
        found = moe.verify()
        model(ids)
        assert moe.attachment.passes == 2
        assert moe.attachment.recording
        moe.attachment.detach()
    assert found.summary == "verified 6 of 6 layers"
    assert len(gathered.batches) == 2
    np.testing.assert_array_equal(gathered.routes(3, 0).experts, gathered.routes(3, 1).experts)
    assert not gathered.notes
    assert [described.verification for described in gathered.models][:2] == [None, None]
    assert gathered.model.verification == found


def test_nothing_of_the_test_is_in_a_recording(olmoe: Any) -> None:
    recording, gathered = gather(olmoe)
    with torch.no_grad(), recording:
        olmoe(torch.tensor([[5, 6, 7]]))
        with own_moe() as moe:
            found = moe.verify(olmoe)
        olmoe(torch.tensor([[8, 9]]))
    assert found.verdict is Verdict.VERIFIED
    assert [int(batch.header["n_seen"]) for batch in gathered.batches] == [3, 2]


def test_before_the_first_pass_and_in_the_status(moe: Moe, capsys: pytest.CaptureFixture[str]) -> None:
    assert dict(moe.status().rows)["tested"] == "not verified yet: moe.verify()"
    found = moe.verify()
    assert moe.attachment.model.verification == found == moe.verification
    assert dict(moe.status().rows)["tested"] == "verified 6 of 6 layers"
    assert capsys.readouterr().out.startswith("OlmoeForCausalLM: verified 6 of 6 layers · ")
    assert "✓ replay               6 of 6 layers  " in repr(found)
    assert "<table>" in found._repr_html_()
    moe.run("x", 2)
    assert moe.attachment.model.verification == found
    assert len(moe.attachment.model.layers) == 6


def test_what_was_found_before_attaching_counts_for_the_attached_model(sample: tuple[Any, Any], olmoe: Any) -> None:
    with own_moe() as moe:
        found = moe.verify(*sample)
        moe.attach(*sample)
        assert moe.attachment.model.verification == found
        moe.attach(olmoe)
        assert moe.attachment.model.verification is None
        moe.attach(olmoe, verify=True)
        assert moe.attachment.model.verification.summary == "verified 2 of 2 layers"
        assert moe.verification is moe.attachment.model.verification


def test_an_interrupt_leaves_the_attachment_recording(moe: Moe, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("moedesk.probe.exactness.verify.check_logits", interrupted)
        with pytest.raises(KeyboardInterrupt):
            moe.verify()
    assert moe.verification is None
    assert moe.run("x", 2).passes == 2


def test_a_capture_holds_what_was_found(sample: tuple[Any, Any], tmp_path: Any) -> None:
    model, tokenizer = sample
    with torch.no_grad(), record(model, tmp_path / "a.h5", tokenizer, verify=True) as recording:
        model(torch.tensor([[5, 6, 7]]))
    with moedesk.open(tmp_path / "a.h5") as capture:
        assert capture.n_passes == 1
        assert capture.model.verification == recording.model.verification
        assert capture.model.verification.summary == "verified 6 of 6 layers"


def test_without_a_model() -> None:
    with own_moe() as moe, pytest.raises(MoedeskError, match=r'no model to test; type moe\.load\("sample"\)'):
        moe.verify()
