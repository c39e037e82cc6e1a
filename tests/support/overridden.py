"""Overrides that are on a model for a while."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from moedesk.core.override import Override
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of
from tests.support.families import some_ids


@torch.no_grad()
def logits(model: Any, ids: Tensor | None = None) -> Tensor:
    """The logits of ids, a few that are always the same if none are given."""
    return model(some_ids() if ids is None else ids).logits


def on(model: Any, *given: Override) -> AbstractContextManager[Overrides]:
    """Put overrides on a model, and take them all off again."""
    return added(overrides_of(model), *given)


@contextmanager
def added(overrides: Overrides, *given: Override) -> Iterator[Overrides]:
    """Add overrides to a model's list, and take them all off again."""
    try:
        for override in given:
            overrides.add(override)
        yield overrides
    finally:
        overrides.close()
