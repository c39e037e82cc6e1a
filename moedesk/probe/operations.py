"""The operations that a block carries out between the calls of its modules: watched closely once, then taken by their place."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from moedesk.probe.ranking import RankingObserver

LONGEST = 4096
"""Operations that are watched of one call; the routing comes before a block's experts run, so the first few dozen."""


@dataclass(frozen=True)
class Place:
    """Where a tensor came from: the output of an operation.

    Attributes
    ----------
    step : int
        Place of the operation among those that return tensors.
    part : int
        Place of the tensor in what the operation returned.
    """

    step: int
    part: int


@dataclass(frozen=True, eq=False)
class Step:
    """A tensor that an operation returned, copied then and there, since later operations may write into it.

    Attributes
    ----------
    place : Place
    value : Tensor
    """

    place: Place
    value: Tensor


class OperationObserver(RankingObserver):
    """Keeps what could be routing: tensors with as many rows as the block has tokens.

    Parameters
    ----------
    rows : int
        Tokens.
    widest : int
        Columns up to which floats are kept: the number of experts.

    Attributes
    ----------
    names : list of str
        Of all operations that return tensors, in order.
    steps : list of Step
    picks : list of Step
        Tensors (…, E, C) or (…, C, E), as they are: what each expert picked, maybe.
    hidden : list of Tensor
        Latest outputs of the shape of token rows, as they were.
    """

    def __init__(self, rows: int, widest: int, width: int) -> None:
        super().__init__()
        self.names: list[str] = []
        self.steps: list[Step] = []
        self.picks: list[Step] = []
        self.hidden: list[Tensor] = []
        self._rows, self._widest, self._width = rows, widest, width

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = super().__torch_function__(func, types, args, kwargs)
        if self._over or len(self.names) >= LONGEST:
            return output
        parts = list(parts_of(func, output))
        if parts:
            for part, value in parts:
                self._keep(Place(len(self.names), part), value.detach())
            self.names.append(name_of(func))
        return output

    def _keep(self, place: Place, value: Tensor) -> None:
        numel = value.numel()
        if not numel or value.is_meta or value.is_complex() or value.dtype is torch.bool:
            return
        if numel == self._rows * self._width and value.shape[-1] == self._width and value.is_floating_point():
            self.hidden = [*self.hidden[-3:], value]
        if value.ndim in (2, 3) and self._widest in value.shape[-2:] and numel <= self._rows * self._widest:
            self.picks.append(Step(place, value.clone()))
        if numel % self._rows:
            return
        per_row = numel // self._rows
        if per_row <= self._widest and (value.ndim == 1 or value.shape[-1] == per_row or per_row == 1):
            self.steps.append(Step(place, value.reshape(self._rows, per_row).clone()))
        elif self._has_capacity(value):
            self.steps.append(Step(place, value.reshape(self._rows, self._widest, -1).clone()))

    def _has_capacity(self, value: Tensor) -> bool:
        """Whether a tensor is (…, E, capacity) or (…, E·capacity) floats: a weight for each slot of each expert."""
        if not value.is_floating_point() or value.ndim < 2:
            return False
        if value.numel() == self._rows * value.shape[-1]:
            return value.shape[-1] % self._widest == 0
        return value.shape[-2] == self._widest and value.numel() == self._rows * self._widest * value.shape[-1]


class Taker(TorchFunctionMode):
    """Takes copies of the tensors at given places, as long as the operations are the ones that were watched.

    Parameters
    ----------
    names : sequence of str
        The operations up to the last place.
    places : sequence of Place

    Attributes
    ----------
    taken : dict
        Copies, by place.
    strayed : bool
        Whether another operation came.
    """

    def __init__(self, names: Sequence[str], places: Sequence[Place]) -> None:
        super().__init__()
        self.taken: dict[Place, Tensor] = {}
        self.strayed = False
        self._names = names
        self._wanted: dict[int, list[Place]] = {}
        for place in places:
            self._wanted.setdefault(place.step, []).append(place)
        self._step = 0
        self._over = self._entered = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._over or not returns_tensors(func, output):
            return output
        if name_of(func) != self._names[self._step]:
            self.strayed = self._over = True
            return output
        for place in self._wanted.get(self._step, ()):
            self.taken[place] = (output if isinstance(output, Tensor) else output[place.part]).detach().clone()
        self._step += 1
        self._over = self._step == len(self._names)
        return output

    def start(self) -> None:
        """Begin to take."""
        self._entered = True
        self.__enter__()

    def stop(self) -> bool:
        """End it; return False if another mode was entered since and has to be left first, or in another thread."""
        self._over = True
        if self._entered and _get_current_function_mode() is self:
            self.__exit__(None, None, None)
            self._entered = False
        return not self._entered


def name_of(func: Callable[..., Any]) -> str:
    """Return what an operation is called."""
    return getattr(func, "__name__", "")


def returns_tensors(func: Callable[..., Any], output: Any) -> bool:
    """Whether an operation counts: attributes such as ``.shape`` don't."""
    if isinstance(output, Tensor):
        return name_of(func) != "__get__"
    return isinstance(output, tuple | list) and len(output) > 0 and isinstance(output[0], Tensor)


def parts_of(func: Callable[..., Any], output: Any) -> Iterator[tuple[int, Tensor]]:
    """Yield the tensors that an operation returned, with their places."""
    if not returns_tensors(func, output):
        return
    for part, value in enumerate([output] if isinstance(output, Tensor) else output):
        if isinstance(value, Tensor):
            yield part, value
