"""The routing that an experts module is called with: read from the call itself, so it is what the model applied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class ExpertsCall:
    """The arguments of one call of an experts module.

    Attributes
    ----------
    hidden : (N, H) float tensor
        Token rows.
    choice : (N, k) int tensor, or (N, k, E) mask
        Expert ids in slot order, or a one-hot mask whose row is empty where the token was dropped (Switch Transformers).
    weights : (N, k) float tensor
        Gate weights.
    """

    hidden: Tensor
    choice: Tensor
    weights: Tensor

    @property
    def one_hot(self) -> bool:
        """Whether ``choice`` is a mask."""
        return self.choice.ndim == 3

    @property
    def top_k(self) -> int:
        """Slots per token."""
        return int(self.choice.shape[1])

    def ids(self) -> Tensor:
        """Return a new (N, k) int64 tensor of expert ids, -1 where a slot was dropped."""
        if not self.one_hot:
            return self.choice.detach().to(torch.int64, copy=True)
        taken = self.choice.detach() != 0
        return torch.where(taken.any(-1), taken.to(torch.int8).argmax(-1), -1)


def read_routing(args: Sequence[Any], kwargs: Mapping[str, Any]) -> ExpertsCall | None:
    """Return the routing in a call's arguments, or None if it is not an experts module's call.

    Names and order differ between families, shapes don't: token rows, ids and weights of the same shape, or a one-hot mask.
    """
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if len(tensors) < 3:
        return None
    hidden, *others = tensors
    if hidden.ndim not in (2, 3) or not hidden.is_floating_point() or hidden.is_meta or not hidden.numel():
        return None
    hidden = hidden.detach().reshape(-1, hidden.shape[-1])  # dbrx hands over (batch, length, H)
    for choice in others:
        if choice.is_floating_point() or choice.is_complex() or choice.shape[:1] != hidden.shape[:1]:
            continue
        if choice.ndim != 3 and (choice.ndim != 2 or choice.dtype == torch.bool):
            continue
        for weights in others:
            if weights.is_floating_point() and weights.shape == choice.shape[:2]:
                return ExpertsCall(hidden, choice, weights)
    return None


class CallForm:
    """What one call of an experts module looked like: the next ones are read by its places, as long as they look the same.

    That takes a fifth of the time of looking at every argument.

    Parameters
    ----------
    length : int
        Number of arguments by position.
    names : tuple of str
        Of the others.
    places : (int or str, int or str)
        Of choice and weights.
    choice, weights : tensor
        Their dtypes and top-k are part of the form.
    """

    __slots__ = ("_choice", "_floats", "_ids", "_length", "_names", "_top_k", "_weights")

    def __init__(
        self, length: int, names: tuple[str, ...], places: tuple[Any, Any], choice: Tensor, weights: Tensor
    ) -> None:
        self._length = length
        self._names = names
        self._choice, self._weights = places
        self._ids, self._floats = choice.dtype, weights.dtype
        self._top_k = choice.shape[1]

    @property
    def positions(self) -> tuple[int, int] | None:
        """Places of choice and weights, if both are given by position and nothing by name."""
        if self._names or type(self._choice) is not int or type(self._weights) is not int:
            return None
        return self._choice, self._weights

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: Mapping[str, Any], routing: ExpertsCall) -> Self | None:
        """Return the form of a call in which ``routing`` was read; None for a mask, which has to be worked out each time."""
        if routing.one_hot:
            return None
        given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        places = {id(value): place for place, value in given}
        both = places[id(routing.choice)], places[id(routing.weights)]
        return cls(len(args), tuple(kwargs), both, routing.choice, routing.weights)

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor] | None:
        """Return choice and weights of a call of this form, None for any other."""
        if len(args) != self._length or ((kwargs or self._names) and tuple(kwargs) != self._names):
            return None
        choice = args[self._choice] if type(self._choice) is int else kwargs[self._choice]
        weights = args[self._weights] if type(self._weights) is int else kwargs[self._weights]
        if (
            isinstance(choice, Tensor)
            and isinstance(weights, Tensor)
            and choice.dtype is self._ids
            and weights.dtype is self._floats
            and (shape := choice.shape) == weights.shape
            and len(shape) == 2
            and shape[1] == self._top_k
            and shape[0]
        ):
            return choice, weights
        return None
