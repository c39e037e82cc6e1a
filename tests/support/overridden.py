"""Overrides that are on a model for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moedesk.core.override import Override
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of


@contextmanager
def on(model: Any, *given: Override) -> Iterator[Overrides]:
    """Put overrides on a model, and take them all off again."""
    overrides = overrides_of(model)
    try:
        for override in given:
            overrides.add(override)
        yield overrides
    finally:
        overrides.close()
