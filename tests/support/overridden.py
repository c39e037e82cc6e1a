"""Overrides that are on a model for a while."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from moedesk.core.override import Override
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of


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
