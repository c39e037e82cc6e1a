"""Which adapters there are: the user's, those of plug-ins, the built-in ones; asked in this order."""

import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapter import Adapter
from moedesk.probe.notice import notice

GROUP = "moedesk.adapters"
"""Entry point group of plug-ins; an entry is an ``Adapter``, or a sequence of them."""

_declared: list[Adapter] = []


def declare(adapter: Adapter) -> None:
    """Add an adapter of the user's, before all others; it takes the place of one for the same targets."""
    _declared[:] = [adapter, *(other for other in _declared if other.targets != adapter.targets)]


def forget(adapter: Adapter) -> None:
    """Take away an adapter that was declared."""
    _declared[:] = [other for other in _declared if other is not adapter]


def declared() -> tuple[Adapter, ...]:
    """Return the user's adapters, the latest first."""
    return tuple(_declared)


@cache
def plugged_in() -> tuple[Adapter, ...]:
    """Return the adapters of plug-ins; one that can't be loaded is left out with a warning."""
    found: list[Adapter] = []
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
            given = [loaded] if isinstance(loaded, Adapter) else list(loaded)
            if not all(isinstance(adapter, Adapter) for adapter in given):
                raise TypeError("it holds something that is no moedesk.Adapter")
            found += given
        except Exception as error:
            notice(f"the adapter plug-in {entry.name!r} ({entry.value}) is left out: {type(error).__name__}: {error}")
    return tuple(found)


@cache
def built_in() -> tuple[Adapter, ...]:
    """Return the adapters in ``moedesk.probe.adapters.families``: what each of its modules calls ``ADAPTERS``."""
    package = import_module("moedesk.probe.adapters.families")
    modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(adapter for name in modules for adapter in import_module(f"{package.__name__}.{name}").ADAPTERS)


def claim(modules: Mapping[str, nn.Module]) -> dict[str, Adapter]:
    """Return the modules of a tree that an adapter is for, by path; none inside another.

    Parameters
    ----------
    modules : mapping
        ``dict(model.named_modules())``.

    Raises
    ------
    MoedeskError
        If an adapter of the user's names a module that one of its blocks lacks. One of a plug-in or a built-in one is then
        not for that block.
    """
    mine = declared()
    claimed: dict[str, Adapter] = {}
    for path, module in modules.items():  # parents come first
        if any(path.startswith(taken + ".") or not taken for taken in claimed):
            continue
        adapter = _first((*mine, *plugged_in(), *built_in()), path, module, mine)
        if adapter is not None:
            claimed[path] = adapter
    return claimed


def _first(adapters: Sequence[Adapter], path: str, module: nn.Module, strict: Sequence[Adapter]) -> Adapter | None:
    for adapter in adapters:
        if not adapter.matches(path, module):
            continue
        try:
            adapter.check(module)
        except MoedeskError:
            if adapter in strict:
                raise
            continue
        return adapter
    return None
