"""Models are built once a session; a recording leaves no trace on them, so tests can share them."""

from functools import cache
from typing import Any

import pytest
import transformers
from torch import nn

from moedesk.probe.load import load
from tests.support.families import build

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
