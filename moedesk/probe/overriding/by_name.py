"""Runs a method's own code with some functions of torch handed to somebody else: the cheap way to see what it calculates.

A ``TorchFunctionMode`` sees every operation, and costs each of them as much Python as all the rest of a router's call. Most
routers name the few functions that matter (``F.linear``, ``torch.topk``): a copy of their forward, the same code with other
globals, finds others under these names.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch.nn import functional

Take = Callable[[str, Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]
"""Takes the name of a function, the function itself and its arguments; returns what the code is to get of it."""

Instead = Callable[..., Any]
"""Takes a function of torch and the arguments of a call of it; returns what the code is to get."""


class ByName:
    """The code of a function, in which calls of some functions of torch go to whom each run says.

    Parameters
    ----------
    function : FunctionType
        Of a module's class.
    names : collection of str
        Of the functions, wherever in ``torch``, ``torch.nn`` and ``torch.nn.functional`` the code finds them.

    Attributes
    ----------
    function : FunctionType
    """

    def __init__(self, function: FunctionType, names: Collection[str]) -> None:
        self._running = threading.local()  # two threads may run one module
        self.function, self._globals = function, {**function.__globals__}
        self._copy = redirected(function, {name: self._handed_on(name) for name in names})

    @property
    def current(self) -> bool:
        """Whether the function's globals are still the ones that were copied."""
        own = self.function.__globals__
        return all(own.get(name) is value for name, value in self._globals.items())

    def run(self, module: object, take: Take, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what a module's method returns when these functions go to ``take``."""
        running = self._running
        running.take = take
        try:
            return self._copy(module, *args, **kwargs)
        finally:
            running.take = None

    def _handed_on(self, name: str) -> Instead:
        running = self._running

        def handed_on(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return running.take(name, function, args, kwargs)

        return handed_on


def redirected(function: FunctionType, others: Mapping[str, Instead]) -> FunctionType:
    """Return a copy of a function in which calls of some functions of torch go elsewhere.

    Parameters
    ----------
    function : FunctionType
    others : mapping
        By the name of a function what is called in its place, with the function itself before its arguments.
    """
    names = function.__code__.co_names
    own = function.__globals__
    lookalikes = {name: _like(value, others, names) for name, value in own.items() if _has_functions(value)}
    copy = FunctionType(
        function.__code__, {**own, **lookalikes}, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _like(module: ModuleType, others: Mapping[str, Instead], names: Collection[str]) -> "_Lookalike":
    found = vars(module)
    known: dict[str, Any] = {
        name: found[name] for name in names if name in found
    }  # found without a call of __getattr__
    known.update({name: partial(other, found[name]) for name, other in others.items() if name in found})
    for name, value in found.items():
        if _has_functions(value) and value is not torch:
            known[name] = _like(value, others, names)
    return _Lookalike(module, known)


class _Lookalike:
    """A module with others in the place of some of its names; all else is the module's own."""

    def __init__(self, module: ModuleType, others: Mapping[str, Any]) -> None:
        self._module = module
        vars(self).update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _has_functions(value: object) -> bool:
    return value is torch or value is torch.nn or value is functional


_made: dict[tuple[FunctionType, frozenset[str]], ByName] = {}


def by_name(function: FunctionType, names: frozenset[str]) -> ByName:
    """Return the one ``ByName`` of a function and some names: layers that are alike share it."""
    found = _made.get((function, names))
    if found is None or not found.current:
        found = _made[function, names] = ByName(function, names)
    return found


def function_of(method: object) -> FunctionType | None:
    """Return the plain function behind a module's method; None if it is anything else."""
    function = method.__func__ if isinstance(method, MethodType) else None
    return function if isinstance(function, FunctionType) else None
