"""A tensor split over the parts of the residual stream, along a path that is linear once norms are taken for given."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moedesk.core.errors import MoedeskError
from moedesk.probe.exactness.replay import accumulated_eps
from moedesk.probe.explaining.stream_path import CURVES, NORMS, Followed, StreamPath
from moedesk.probe.explaining.tape import Numbered, tensors_in


@dataclass(frozen=True)
class Split:
    """What some elements of a tensor are made of.

    Attributes
    ----------
    explained : (X,) float64
        The elements, as the model computed them.
    contributions : (C, X) float64
        Of each leaf of the path.
    biases : (X,) float64
        Of all that is added and made of parameters alone.
    rough, gross : (X,) float64
        What roundings are measured by, see ``tolerance``: √Σᵢ(Σ_c |term|)² and Σᵢ Σ_c |term|, of the terms that an element i of
        component c adds.
    dtype : torch.dtype
        The coarsest of the parts.
    terms : int
        Elements of a part.
    elsewhere : bool
        Whether what parts added at other tokens contributes too.
    """

    explained: np.ndarray
    contributions: np.ndarray
    biases: np.ndarray
    rough: np.ndarray
    gross: np.ndarray
    dtype: torch.dtype
    terms: int
    elsewhere: bool

    @property
    def tolerance(self) -> np.ndarray:
        """(X,) the most of a remainder that rounding explains.

        ``4·ε·√(C + 8)·rough + 2·√n·ε_acc·gross + ε·|explained|``. Each of C additions to the stream, and up to eight operations
        of norm and router and their gradients, rounds every element by ε/2 of its partial sum at most, which is not above
        Σ_c |term|; independent roundings add up like the root of their squares, and 4 such are not exceeded but once in many
        thousands. The second term is that of the router's product over n elements, see ``replay.tolerance_of``; the third
        rounds its result.
        """
        eps = torch.finfo(self.dtype).eps
        accumulated = accumulated_eps(self.dtype)
        roundings = 4 * eps * sqrt(len(self.contributions) + 8) * self.rough
        return roundings + 2 * sqrt(self.terms) * accumulated * self.gross + eps * np.abs(self.explained)


class Reached(Exception):  # noqa: N818 - no error: the rest of the forward isn't needed
    """The tensor is there."""


class PathRun(Numbered):
    """Carries a forward out with a graph along a path only, cut at its leaves, norms taken for given. Values stay the same.

    Parameters
    ----------
    path : StreamPath
    uncut : collection of int
        Places of leaves that keep the graph that they come with, if they do.

    Attributes
    ----------
    end : Tensor or None
        The tensor at the end of the path; the forward is left there by ``Reached``.
    leaves : dict of int to Tensor
        The leaves that ran, by their place in the path.
    constants : list of Tensor
        Biases.
    """

    def __init__(self, path: StreamPath, uncut: Collection[int] = ()) -> None:
        super().__init__()
        self._path, self._uncut = path, frozenset(uncut)
        self._leaves: dict[int, list[tuple[int, int]]] = {}
        for place, leaf in enumerate(path.leaves):
            self._leaves.setdefault(leaf.node.number, []).append((leaf.node.place, place))
        self._names = {number: followed.name for number, followed in path.operations.items()}
        self._names |= {leaf.node.number: leaf.node.name for leaf in path.leaves}
        self.end: Tensor | None = None
        self.leaves: dict[int, Tensor] = {}
        self.constants: list[Tensor] = []

    def operation(
        self, number: int, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Carry an operation out: with a graph if it is on the path."""
        followed = self._path.operations.get(number)
        if name != self._names.get(number, name):
            raise MoedeskError(f"another operation runs in the place of {self._names[number]} this time: {name}")
        if followed is None:
            output = self.beside(name, func, args, kwargs)
            return self._cut(args, output, self._leaves[number]) if number in self._leaves else output
        with torch.enable_grad():
            args, kwargs = self._prepared(followed, args, kwargs)
            output = linear_in_first(name, func, args, kwargs)
        if number == self._path.end.number:
            self.end = list(tensors_in(output))[self._path.end.place]
            raise Reached
        return output

    def beside(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Carry out an operation that is not on the path."""
        return func(*args, **kwargs)

    def _cut(self, args: Any, output: Any, wanted: list[tuple[int, int]]) -> Any:
        """The output with leaves in place of the tensors that are some."""
        made = args[0] if output is None else output
        for place, leaf in wanted:
            tensor = list(tensors_in(made))[place]
            uncut = leaf in self._uncut and tensor.requires_grad
            value = self.leaves[leaf] = tensor if uncut else tensor.detach().clone().requires_grad_()
            with torch.enable_grad():
                if not any(tensor is given for given in tensors_in(args)):
                    output = _replaced(output, {place: value.clone()})
                elif not uncut:  # written to, and used under its other names too
                    tensor.copy_(value)
        return output

    def _prepared(
        self, followed: Followed, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments: biases as leaves, and what isn't followed without a graph."""
        new = {}
        for place, tensor in enumerate(tensors_in((args, kwargs))):
            if place in followed.constants:
                new[place] = tensor.detach().clone().requires_grad_()
                self.constants.append(new[place])
            elif place not in followed.arguments and tensor.requires_grad:
                new[place] = tensor.detach()
        prepared: tuple[tuple[Any, ...], dict[str, Any]] = _replaced((args, kwargs), new)
        return prepared


def split(run: PathRun, path: StreamPath, elements: Sequence[int], row: int) -> Split:
    """Return what elements of a row of a run's end are made of.

    Parameters
    ----------
    run : PathRun
        Left at its end.
    path : StreamPath
    elements : (X,) sequence of int
        Places along the last axis.
    row : int
    """
    end = run.end
    assert end is not None
    leaves = [run.leaves[place] for place in range(len(path.leaves))]
    columns = [_column(end, row, element, leaves, run.constants) for element in elements]
    values = end.detach().reshape(-1, end.shape[-1])[row].cpu().double().numpy()
    return Split(
        explained=values[list(elements)],
        contributions=np.array([column.contributions for column in columns]).reshape(-1, len(leaves)).T,
        biases=np.array([column.biases for column in columns]),
        rough=np.array([column.rough for column in columns]),
        gross=np.array([column.gross for column in columns]),
        dtype=max((leaf.dtype for leaf in leaves), key=lambda dtype: torch.finfo(dtype).eps),
        terms=max(leaf.shape[-1] for leaf in leaves),
        elsewhere=any(column.elsewhere for column in columns),
    )


@dataclass(frozen=True)
class _Column:
    contributions: list[float]
    biases: float
    rough: float
    gross: float
    elsewhere: bool


def _column(end: Tensor, row: int, element: int, leaves: Sequence[Tensor], constants: Sequence[Tensor]) -> _Column:
    """One element of a row: gradient × value of each leaf."""
    wanted = torch.zeros_like(end)
    wanted.reshape(-1, end.shape[-1])[row, element] = 1
    inputs = [*leaves, *constants]
    slopes = torch.autograd.grad(end, inputs, wanted, retain_graph=True, allow_unused=True)
    products = [
        torch.zeros(1, dtype=torch.float64) if slope is None else (slope.double() * leaf.detach().double()).cpu()
        for slope, leaf in zip(slopes, inputs, strict=True)
    ]
    contributions = [float(product.sum()) for product in products]
    sizes: dict[torch.Size, Tensor] = {}
    for product in products[: len(leaves)]:
        sizes[product.shape] = sizes.get(product.shape, torch.zeros(())) + product.abs()
    return _Column(
        contributions[: len(leaves)],
        sum(contributions[len(leaves) :]),
        sqrt(sum(float(size.square().sum()) for size in sizes.values())),
        sum(float(size.sum()) for size in sizes.values()),
        any(_in_others(size.flatten(0, -2), row) for shape, size in sizes.items() if len(shape) in (2, 3)),
    )


def _in_others(rows: Tensor, row: int) -> bool:
    """Whether rows of other tokens have a part in it."""
    return bool(rows[:row].any() or rows[row + 1 :].any())


def _replaced(value: Any, new: Mapping[int, Tensor]) -> Any:
    """Arguments or an output with other tensors at some places, in the order of ``tensors_in``."""
    places = count()

    def replaced(item: Any) -> Any:
        if isinstance(item, Tensor):
            return new.get(next(places), item)
        if isinstance(item, Mapping):
            return {name: replaced(each) for name, each in item.items()}
        if isinstance(item, tuple | list):
            items = [replaced(each) for each in item]
            return type(item)(*items) if hasattr(item, "_fields") else type(item)(items)
        return item

    return replaced(value) if new else value


def linear_in_first(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what an operation returns, with the graph of what it is once norms and factors are taken for given."""
    if name in CURVES:
        with torch.no_grad():
            value = func(*args, **kwargs)
            factor = torch.where(args[0] == 0, 0, value / args[0])
        return _with_graph(value, args[0] * factor)
    if name in NORMS:
        with torch.no_grad():
            value = func(*args, **kwargs)
        return _with_graph(value, _NORMS[name](*args, **kwargs))
    return func(*args, **kwargs)


def _with_graph(value: Tensor, graph: Tensor) -> Tensor:
    """The value, bit by bit, with the gradient of another."""
    return value + (graph - graph.detach()).to(value.dtype)


def _rms_norm(x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    axes = tuple(range(-len(shape), 0))
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    scale = torch.rsqrt(wide.square().mean(axes, keepdim=True) + (torch.finfo(x.dtype).eps if eps is None else eps))
    normed = x * scale.to(x.dtype)
    return normed if weight is None else normed * weight.detach()


def _layer_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    axes = tuple(range(-len(shape), 0))
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    scale = torch.rsqrt(wide.var(axes, correction=0, keepdim=True) + eps)
    normed = (x - x.mean(axes, keepdim=True)) * scale.to(x.dtype)
    normed = normed if weight is None else normed * weight.detach()
    return normed if bias is None else normed + bias


def _normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None) -> Tensor:
    return x / x.detach().norm(p, dim, keepdim=True).clamp_min(eps)


_NORMS: dict[str, Callable[..., Tensor]] = {"rms_norm": _rms_norm, "layer_norm": _layer_norm, "normalize": _normalize}
