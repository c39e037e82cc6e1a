"""``moedesk.override``: the calls of ``moe`` that override, for any model in any script."""

from typing import Any

from torch import nn

from moedesk.probe.console.moe_overrides import OverrideCalls
from moedesk.probe.overriding.overrides import Overrides
from moedesk.probe.overriding.registry import overrides_of


class ModelOverrides(OverrideCalls):
    """The overrides of one model: ``ablate``, ``exclude``, ``force``, …, ``undo``, ``overrides``, as ``moe`` has them."""

    def __init__(self, model: nn.Module, tokenizer: Any = None) -> None:
        self._model = model
        self._given_tokenizer = tokenizer

    @property
    def tokenizer(self) -> Any:
        """The one that was given, or None."""
        return self._given_tokenizer

    def __repr__(self) -> str:
        return repr(self.overrides)

    def _overrides_of(self, model: nn.Module | None) -> Overrides:
        return overrides_of(self._model if model is None else model)


def override(model: nn.Module, tokenizer: Any = None) -> ModelOverrides:
    """Return what overrides the routing of a model; docs/overrides.md is its page.

    Examples
    --------
    >>> with moedesk.override(model).ablate(12, 37):
    ...     model(**inputs)
    """
    return ModelOverrides(model, tokenizer)
