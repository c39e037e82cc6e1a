"""The app switches recording on and off while a self-test runs: it takes effect at its end, and no hook is lost or left."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.core.verification import Verdict
from moedesk.probe.attach import attach
from moedesk.probe.exactness.verify import verify
from tests.probe.test_trace import state_of
from tests.support.families import some_ids
from tests.support.gathered import Gathered
from tests.support.until import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_stays_attached")


def elsewhere(work: Callable[[], object]) -> None:
    """Do something in another thread, as the link does."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def run(model: nn.Module) -> None:
    with torch.no_grad():
        model(some_ids())


@pytest.mark.parametrize("switched", [[True], [False], [False, True], [True, False], [False, True, False]])
@pytest.mark.parametrize("at_first", [True, False])
def test_it_takes_effect_when_the_test_is_over(olmoe: nn.Module, at_first: bool, switched: list[bool]) -> None:
    before, sink = state_of(olmoe), Gathered()
    attachment = attach(olmoe, sink=sink)
    run(olmoe)
    attachment.set_recording(at_first)
    left = list(switched)

    def progress(text: str, share: float) -> None:
        if left and share > 0.05:
            elsewhere(lambda: attachment.set_recording(left.pop(0)))

    assert verify(olmoe, progress=progress).verdict is Verdict.VERIFIED
    assert not left
    assert attachment.recording == switched[-1]
    assert (state_of(olmoe) == before) != switched[-1]
    run(olmoe)
    attachment.detach()
    assert state_of(olmoe) == before
    assert [len(batch.layers) for batch in sink.batches] == [2] * (1 + switched[-1])


def test_detached_while_the_test_runs(olmoe: nn.Module) -> None:
    before, sink = state_of(olmoe), Gathered()
    attachment = attach(olmoe, sink=sink)
    run(olmoe)

    def progress(text: str, share: float) -> None:
        elsewhere(lambda: attachment.set_recording(True))
        elsewhere(attachment.detach)

    assert verify(olmoe, progress=progress).verdict is Verdict.VERIFIED
    assert state_of(olmoe) == before


def test_attaching_and_testing_again_are_refused_meanwhile(olmoe: nn.Module) -> None:
    before, said = state_of(olmoe), []

    def refused(work: Callable[[], Any]) -> None:
        try:
            work()
        except MoedeskError as error:
            said.append(str(error))

    def progress(text: str, share: float) -> None:
        if share == 0:
            refused(lambda: attach(olmoe, sink=Gathered()))
            refused(lambda: verify(olmoe))

    assert verify(olmoe, progress=progress).verdict is Verdict.VERIFIED
    assert said == [
        "OlmoeForCausalLM is being tested; attach it when that is over",
        "OlmoeForCausalLM is being tested already; wait for the end of that",
    ]
    assert state_of(olmoe) == before
