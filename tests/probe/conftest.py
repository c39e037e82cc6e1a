"""Models are built once a session; a recording leaves no trace on them, so tests can share them."""

import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import transformers
from torch import nn

from moedesk.probe.attach import attached
from moedesk.probe.load import load
from tests.support.families import build
from tests.support.sinks import Blocked
from tests.support.stopping import hooks_on
from tests.support.until import PATIENCE

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def family() -> Any:
    """Function that gives the tiny model of a family."""
    return cache(build)


@pytest.fixture
def olmoe(family: Any) -> nn.Module:
    return family("olmoe")


@pytest.fixture(scope="session")
def sample() -> tuple[nn.Module, Any]:
    """The shipped model and its tokenizer."""
    return load("sample")


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    """A sink that takes no pass until the test ends, or lets it go."""
    sink, before = Blocked(), set(threading.enumerate())
    yield sink
    sink.free.set()
    for attachment in attached():  # a test that failed; its courier would wait for more
        attachment.detach()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread.name} goes on"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the courier as long as it takes: on a busy machine a second or two may be over before it has its turn."""
    for name in ("taking.courier.CLOSE_SECONDS", "breaking.under_way.ARRIVAL_SECONDS", "console.moe.ARRIVAL_SECONDS"):
        monkeypatch.setattr(f"moedesk.probe.{name}", PATIENCE)


@pytest.fixture
def nothing_stays_attached() -> Iterator[None]:
    """Fail when a test leaves a model attached."""
    yield
    left = attached()
    for attachment in left:
        attachment.detach()
    assert not left


@pytest.fixture
def no_hook_stays(sample: Any) -> Iterator[None]:
    """Fail when a test leaves a hook on the shipped model."""
    before = hooks_on(sample[0])
    yield
    for attachment in attached():
        attachment.detach()
    assert hooks_on(sample[0]) == before
