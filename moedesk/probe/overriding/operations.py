"""What an MoE layer's selection calculates: which operation gives its logits, and which of them rank experts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

RANKERS = frozenset({"topk", "argmax", "max", "sort", "argsort"})
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)


def name_of(func: Callable[..., Any]) -> str:
    """Return what an operation is called."""
    return getattr(func, "__name__", "")


@dataclass(frozen=True)
class Ranking:
    """A ranking of the experts of every row.

    Attributes
    ----------
    grouped : bool
        Whether it ranks within groups, (…, G, E/G), or all experts, (…, E).
    """

    grouped: bool

    @staticmethod
    def of(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], experts: int) -> "Ranking | None":
        """Return what an operation ranks, None if it ranks no experts."""
        given = args[0] if args else kwargs.get("input")
        if name not in RANKERS or not isinstance(given, Tensor) or not given.is_floating_point() or given.ndim < 2:
            return None
        if name in ("max", "argmax") and not _over_last(args, kwargs, given.ndim):
            return None
        if given.shape[-1] == experts:
            return ALL
        if given.ndim > 2 and given.shape[-1] * given.shape[-2] == experts:
            return GROUPS
        return None


ALL, GROUPS = Ranking(False), Ranking(True)


def _over_last(args: Sequence[Any], kwargs: Mapping[str, Any], axes: int) -> bool:
    """Whether a reduction is over the last axis, and not over all, nor one of two tensors."""
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return isinstance(axis, int) and axis in (-1, axes - 1)


def indices_of(name: str, output: Any) -> Tensor:
    """Return the (…, k) or (…,) indices that a ranking gave."""
    return output if name in ("argmax", "argsort") else output[1]


@dataclass(frozen=True, eq=False)
class Wide:
    """An operation and its result: the ``nth`` of this name and number of columns."""

    name: str
    nth: int
    value: Tensor


@dataclass(frozen=True, eq=False)
class Ranked:
    """A ranking that took place: the ``nth`` of all experts, or of groups."""

    ranking: Ranking
    nth: int
    given: Tensor
    indices: Tensor


class OperationLog(TorchFunctionMode):
    """Keeps what the selection of one call calculates.

    Attributes
    ----------
    wide : list of Wide
    integers : list of Wide
        Results of integers, with a column for every slot perhaps, by number of columns.
    ranked : list of Ranked
    sources : list of (Tensor, Tensor)
        Result and argument of each softmax, so that logits are found behind probabilities.
    """

    def __init__(self, experts: int) -> None:
        super().__init__()
        self._experts = experts
        self._counted: dict[object, int] = {}
        self.wide: list[Wide] = []
        self.integers: list[Wide] = []
        self.ranked: list[Ranked] = []
        self.sources: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self.take(name_of(func), func, args, kwargs or {})

    def take(self, name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what an operation gives, and keep it."""
        ranking = Ranking.of(name, args, kwargs, self._experts)
        given = args[0].detach().clone() if ranking is not None else None
        output = func(*args, **kwargs)
        if ranking is not None and given is not None:
            indices = indices_of(name, output).detach().clone()
            self.ranked.append(Ranked(ranking, self._next(ranking), given, indices))
        elif is_wide(name, output, self._experts):
            self.wide.append(Wide(name, self._next((name, output.shape[-1])), output.detach().clone()))
            if name == "softmax":
                self.sources.append((self.wide[-1].value, args[0].detach().clone()))
        elif is_choice(name, output):
            self.integers.append(Wide(name, self._next((name, output.shape[-1])), output.detach().clone()))
        return output

    def _next(self, key: object) -> int:
        number = self._counted.get(key, 0)
        self._counted[key] = number + 1
        return number


def is_wide(name: str, output: Any, experts: int) -> bool:
    """Whether an operation returned floats with a column for every expert, or a few more."""
    return (
        isinstance(output, Tensor)
        and name != "__get__"
        and output.is_floating_point()
        and output.ndim > 1
        and experts <= output.shape[-1] <= 2 * experts + 8
    )


def is_choice(name: str, output: Any) -> bool:
    """Whether an operation returned integers in rows and columns, as expert ids are."""
    return isinstance(output, Tensor) and name != "__get__" and output.dtype in _INTEGERS and output.ndim > 1


def same_values(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, in whatever dtypes."""
    return one.numel() == other.numel() and torch.equal(one.float().reshape(-1), other.float().reshape(-1))
