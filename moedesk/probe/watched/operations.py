"""The operations that a block carries out between the calls of its modules: watched closely once, then taken by their place."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from moedesk.probe.finding.modes import begin_anew
from moedesk.probe.finding.ranking import RankingObserver

LONGEST = 4096
"""Operations that are watched of one call; the routing comes before a block's experts run, so the first few dozen."""
HELD_BYTES = 1 << 28
"""What is kept of them."""


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
        self._held = 0
        self.failure = ""
        """Why no more was kept."""
        self.when_anew: Callable[[], None] = lambda: None
        """Called when the call begins anew."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = super().__torch_function__(func, types, args, kwargs)
        if self._over or func is begin_anew or len(self.names) >= LONGEST:
            return output
        parts = list(parts_of(func, output))
        if parts:
            for part, value in parts:
                self._try(Place(len(self.names), part), value, name_of(func))
            self.names.append(name_of(func))
        return output

    def forget(self) -> None:
        """Forget what was seen: the call begins anew."""
        super().forget()
        for seen in (self.names, self.steps, self.picks):
            seen.clear()
        self.hidden, self._held = [], 0
        self.when_anew()

    def _try(self, place: Place, value: Tensor, name: str) -> None:
        """Keep a tensor; the block goes on whatever happens here."""
        try:
            if self._held < HELD_BYTES and not self.failure:
                with unseen():
                    self._keep(place, value.detach(), name)
        except Exception as error:
            self.failure = f"{type(error).__name__} in what {name} returned: {error}"

    def _keep(self, place: Place, value: Tensor, name: str) -> None:
        numel = value.numel()
        if not numel or not value.ndim or value.is_meta or value.is_complex() or value.dtype is torch.bool:
            return
        if numel == self._rows * self._width and value.shape[-1] == self._width and value.is_floating_point():
            self.hidden = [*self.hidden[-3:], value]
        if value.ndim in (2, 3) and self._widest in value.shape[-2:] and numel <= self._rows * self._widest:
            self._take(self.picks, place, value)
        if numel % self._rows:
            return
        per_row = numel // self._rows
        if per_row <= self._widest and (value.ndim == 1 or value.shape[-1] == per_row or per_row == 1):
            self._take(self.steps, place, value.reshape(self._rows, per_row))
        elif self._has_capacity(value, name):
            self._take(self.steps, place, value.reshape(self._rows, self._widest, -1))

    def _take(self, steps: list[Step], place: Place, value: Tensor) -> None:
        self._held += value.nbytes
        steps.append(Step(place, value.clone()))

    def _has_capacity(self, value: Tensor, name: str) -> bool:
        """Whether a tensor is (…, E, capacity) floats, or a softmax over (…, E·capacity): a weight for each expert's slots."""
        if not value.is_floating_point() or value.ndim < 2:
            return False
        if value.numel() == self._rows * value.shape[-1]:
            return name == "softmax" and value.shape[-1] % self._widest == 0
        return value.shape[-2] == self._widest and value.numel() == self._rows * self._widest * value.shape[-1]


def unseen() -> AbstractContextManager[None]:
    """Return a context whose operations are none of the model's: whoever else watches the block doesn't see them."""
    hidden: AbstractContextManager[None] = torch._C.DisableTorchFunction()
    return hidden


class Taker(TorchFunctionMode):
    """Takes copies of tensors at known places, as long as the operations are ones that were watched.

    Parameters
    ----------
    ways : sequence of (names, places)
        The operations up to the last place, and the places, of each way that the block is known to take.
    when_over : function, optional
        Called once nothing more will be taken, in the middle of the call.

    Attributes
    ----------
    taken : dict
        Copies, by place.
    came : int
        Which way was taken, the longest that fits; -1 for none.
    ended : bool
        Whether it was stopped.
    """

    def __init__(
        self,
        ways: Sequence[tuple[Sequence[str], Sequence[Place]]],
        when_over: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.taken: dict[Place, Tensor] = {}
        self._ways, self._when_over = ways, when_over
        self._wanted: dict[int, set[Place]] = {}
        for _, places in ways:
            for place in places:
                self._wanted.setdefault(place.step, set()).add(place)
        self._alone = len(ways[0][0]) - 1 if len(ways) == 1 else 0
        self._entered = self.ended = False
        self._begin()

    def _begin(self) -> None:
        self.taken.clear()
        self.came, self._step = -1, 0
        self._alive = list(range(len(self._ways)))
        self._over = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **kwargs) if kwargs else func(*args)
        if (
            func is begin_anew and not self.ended and self._when_over is None
        ):  # who is told at once knows what came first
            self._begin()
        if self._over or not returns_tensors(func, output):
            return output
        step, name = self._step, name_of(func)
        self._step = step + 1
        if step < self._alone and self._ways[0][0][step] == name and step not in self._wanted:
            return output  # the one way that is known, and nothing to take yet
        self._alive = [way for way in self._alive if self._ways[way][0][step] == name]
        if self._alive and step in self._wanted:
            with unseen():
                self._take(self._wanted[step], output)
        for way in tuple(self._alive):
            if len(self._ways[way][0]) == self._step:
                self.came = way
                self._alive.remove(way)
        self._over = not self._alive
        if self._over and self._when_over is not None:
            self._when_over()
        return output

    def _take(self, places: set[Place], output: Any) -> None:
        parts = (output,) if isinstance(output, Tensor) else output
        for place in places:
            if place.part < len(parts):
                self.taken[place] = parts[place.part].detach().clone()

    @property
    def over(self) -> bool:
        """Whether nothing more will be taken."""
        return self._over

    def start(self) -> None:
        """Begin to take."""
        self._entered = True
        self.__enter__()

    def stop(self) -> bool:
        """End it; return False if another mode was entered since and has to be left first, or in another thread."""
        self._over = self.ended = True
        if self._entered and _get_current_function_mode() is self:
            self.__exit__(None, None, None)
            self._entered = False
        return not self._entered


def name_of(func: Callable[..., Any]) -> str:
    """Return what an operation is called."""
    return getattr(func, "__name__", "")


def returns_tensors(func: Callable[..., Any], output: Any) -> bool:
    """Whether an operation counts: attributes such as ``.shape`` don't."""
    if type(output) is Tensor or isinstance(output, Tensor):
        return name_of(func) != "__get__"
    return isinstance(output, tuple | list) and len(output) > 0 and isinstance(output[0], Tensor)


def parts_of(func: Callable[..., Any], output: Any) -> Iterator[tuple[int, Tensor]]:
    """Yield the tensors that an operation returned, with their places."""
    if not returns_tensors(func, output):
        return
    for part, value in enumerate([output] if isinstance(output, Tensor) else output):
        if isinstance(value, Tensor):
            yield part, value
