"""What the operations behind a changed tensor would give without that change, calculated beside them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from moedesk.probe.watched.operations import name_of, unseen

_NOISE = frozenset(
    {"rand_like", "randn_like", "randint_like", "uniform_", "normal_", "exponential_", "random_", "cauchy_",
     "geometric_", "log_normal_"}
)  # fmt: skip
"""Operations that draw numbers whatever the values of their arguments: drawn once, used twice."""

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Shadow:
    """Knows the plain value of each tensor that depends on a changed one.

    Parameters
    ----------
    graph : bool
        Whether plain values have gradients.
    """

    def __init__(self, graph: bool = False) -> None:
        self._graph = graph
        self._plain: dict[int, tuple[Tensor, Tensor]] = {}  # a tensor is kept, else another one may get its id

    @property
    def known(self) -> bool:
        """Whether anything is changed so far."""
        return bool(self._plain)

    def add(self, tensor: Tensor, plain: Tensor) -> None:
        """Say what a tensor would be."""
        self._plain[id(tensor)] = tensor, plain

    def of(self, tensor: Tensor) -> Tensor:
        """Return what a tensor would be: itself, if it depends on nothing that is changed."""
        known = self._plain.get(id(tensor))
        return tensor if known is None else known[1]

    def keep(self, tensor: Tensor) -> None:
        """Have what a tensor would be known, before it is written to."""
        if id(tensor) not in self._plain:
            with unseen():
                self.add(tensor, tensor.clone() if self._graph else tensor.detach().clone())

    def prepare(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], ranks: bool = False) -> Call | None:
        """Return the arguments that an operation would have, before it writes into them; None if they are the same.

        ``ranks``: they are wanted in any case, since the operation itself is changed.
        """
        if not self._plain and not ranks:
            return None
        if not ranks and not any(id(tensor) in self._plain for tensor in _tensors((*args, *kwargs.values()))):
            return None
        for written in _written(name, args, kwargs):
            self.keep(written)
        return tuple(self._mapped(value) for value in args), {key: self._mapped(v) for key, v in kwargs.items()}

    def follow(self, func: Callable[..., Any], call: Call | None, output: Any) -> None:
        """Do an operation with the arguments that it would have, and note what its output would be."""
        if call is None:
            return
        with unseen(), torch.set_grad_enabled(self._graph and torch.is_grad_enabled()):
            name = name_of(func)
            if name in _NOISE:
                if isinstance(output, Tensor):
                    self.add(output, output.detach().clone())
                return
            plain = func(*call[0], **call[1])
        for one, other in zip(_parts(output), _parts(plain), strict=False):
            if isinstance(one, Tensor) and isinstance(other, Tensor):
                self.add(one, other)

    def _mapped(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            plain = self.of(value)
            return plain if self._graph else plain.detach()
        if type(value) in (tuple, list):
            return type(value)(self._mapped(part) for part in value)
        if isinstance(value, slice):
            return slice(self._mapped(value.start), self._mapped(value.stop), self._mapped(value.step))
        return value


def _tensors(values: Sequence[Any]) -> "list[Tensor]":
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif type(value) in (tuple, list):
            found += _tensors(value)
    return found


def _written(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes into."""
    into = [kwargs.get("out")]
    if name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i"):
        into += args[:1]
    return [tensor for tensor in into if isinstance(tensor, Tensor)]


def _parts(output: Any) -> Sequence[Any]:
    return (output,) if isinstance(output, Tensor) else output if isinstance(output, tuple | list) else ()
