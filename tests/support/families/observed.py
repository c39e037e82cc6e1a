"""A tiny family run with hooks of the tests' own, and recorded by moedesk: two accounts of the same forwards."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from tests.support.families.family import Family, some_ids
from tests.support.families.seen import Seen
from tests.support.gathered import Gathered, gather


def read_call(path: str, module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Seen:
    """A call of (token rows, ids, weights), the latter two in either order, by any name; ids may be a one-hot mask."""
    call = inspect.signature(module.forward).bind(*args, **kwargs)
    _, first, second = list(call.arguments)[:3]
    places = (second, first) if call.arguments[first].is_floating_point() else (first, second)
    choice, given = (call.arguments[name] for name in places)

    def run(ids: Tensor, weights: Tensor) -> Tensor:
        if choice.ndim == 3:
            ids = one_hot(ids.clamp(min=0), choice.shape[-1]) * (ids >= 0).unsqueeze(-1)
        changed = dict(zip(places, (ids.to(choice.dtype), weights.to(given.dtype)), strict=True))
        other = inspect.BoundArguments(call.signature, {**call.arguments, **changed})
        with torch.no_grad():
            return module(*other.args, **other.kwargs).reshape(len(ids), -1)

    ids, weights = choice.detach().clone(), given.detach().clone()
    if ids.ndim == 3:
        ids = torch.where(ids.sum(-1) > 0, ids.argmax(-1), -1)
        weights = weights * (ids >= 0)
    return Seen(path, module, ids, weights, output.detach().reshape(len(ids), -1).clone(), run)


@contextmanager
def watching(model: nn.Module) -> Iterator[list[Seen]]:
    """The calls of every module that is called ``experts`` and holds stacked parameters or modules, in their order."""
    seen: list[Seen] = []
    handles = [
        module.register_forward_hook(
            lambda module, args, kwargs, output, path=path: seen.append(read_call(path, module, args, kwargs, output)),
            with_kwargs=True,
        )
        for path, module in model.named_modules()
        if path.rpartition(".")[2] == "experts"
    ]
    yield seen
    for handle in handles:
        handle.remove()


@contextmanager
def doubled(module: nn.Module) -> Iterator[None]:
    """Let a module return twice what it returns."""
    handle = module.register_forward_hook(lambda module, args, output: 2 * output)
    yield
    handle.remove()


@dataclass(frozen=True)
class Observed:
    """What a family did.

    Attributes
    ----------
    seen : list of Seen
        By the tests' hooks, in the order of the calls.
    output : Tensor
        Without moedesk.
    outputs : list of Tensor
        Of the recorded passes: the same ids twice, and once with another last token in the first sequence.
    own_logits : tuple of (N, E) tensors or None
        What the model itself returns as its router logits.
    gathered : Gathered
    """

    family: Family
    model: nn.Module
    ids: Tensor
    arguments: dict[str, Any]
    seen: list[Seen]
    output: Tensor
    outputs: list[Tensor]
    own_logits: tuple[Tensor, ...] | None
    gathered: Gathered

    def rows(self, path: str) -> np.ndarray:
        """Which rows an experts module saw."""
        if self.family.rows is None:
            return np.ones(len(next(seen.ids for seen in self.seen if seen.path == path)), bool)
        return self.family.rows(path, self.arguments).numpy()

    def block_output(self, path: str) -> Tensor:
        """The first tensor that a module returns."""
        kept: list[Tensor] = []
        handle = self.model.get_submodule(path).register_forward_hook(
            lambda module, args, output: kept.append(first_tensor(output).detach().clone())
        )
        with torch.no_grad():
            self.model(**self.arguments)
        handle.remove()
        return kept[0]


def observe(family: Family) -> Observed:
    """Build a family, run it with the tests' own hooks, then let moedesk record it."""
    model, ids = family.build(), some_ids()
    arguments = family.arguments(ids)
    other = ids.clone()
    other[0, -1] = 3 + (ids[0, -1] + 40) % 90
    with torch.no_grad():
        with (family.watching or watching)(model) as seen:
            output = first_tensor(model(**arguments))
        own = model(**arguments, output_router_logits=True) if family.tells_logits else None
        recording, gathered = gather(model, logits=True)
        with recording:
            given = (arguments, arguments, family.arguments(other))
            outputs = [first_tensor(model(**each)) for each in given]
    logits = getattr(own, "router_logits", None)
    own_logits = tuple(each.reshape(-1, each.shape[-1]) for each in family.own(logits)) if logits else None
    return Observed(family, model, ids, arguments, seen, output, outputs, own_logits, gathered)


def first_tensor(output: Any) -> Tensor:
    """The output, or the first tensor in it."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, dict) else output
    return next(first_tensor(value) for value in values if isinstance(value, Tensor | tuple | list))


def flat(array: Any) -> np.ndarray:
    """Float values as NumPy sees them."""
    return array.float().numpy() if isinstance(array, Tensor) else np.asarray(array)
