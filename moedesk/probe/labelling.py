"""Labels passes while a model runs."""

from types import TracebackType
from typing import Self

from moedesk.core.label import encode_name
from moedesk.probe.hooks import Hooks


class Labelling:
    """A label that passes get from now on; used in a ``with`` block, until its end.

    Parameters
    ----------
    hooks : Hooks
    name : str or None
        One line of at most 64 bytes; None for no label.

    Raises
    ------
    MoedeskError
        If the name can't be stored.
    """

    def __init__(self, hooks: Hooks, name: str | None) -> None:
        encode_name(name or "")
        self._hooks, self._before = hooks, hooks.label
        hooks.label = name or ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.label = self._before
