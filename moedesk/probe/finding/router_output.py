"""Ids, weights and logits in what a router returned, told apart by their shapes, whatever their order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moedesk.probe.adapters.adapter import Routing
from moedesk.probe.adapters.dense_routing import slots_of
from moedesk.probe.finding.probabilities import are_probabilities


@dataclass(frozen=True)
class OutputForm:
    """Places of ids, weights and logits (-1: none) among the tensors that a router returns.

    Attributes
    ----------
    ids, weights, logits, length : int
        ``length`` is the number of tensors in all.
    """

    ids: int
    weights: int
    logits: int
    length: int

    def read(self, module: Any, args: Any, kwargs: Any, output: Any) -> Routing:
        """Return the routing in an output of this form; an adapter's ``read``."""
        found = list(tensors_of(output))
        if len(found) != self.length:
            raise ValueError(f"the router returned {len(found)} tensors, before it was {self.length}")
        return Routing(found[self.ids], found[self.weights], found[self.logits] if self.logits >= 0 else None)


@dataclass(frozen=True)
class CapacityForm:
    """Place of (tokens, E, capacity) combine weights among the tensors that a router returns (GShard, Switch, DeepSpeed).

    An expert that a token is sent to has one weight that is not zero; a token that found no room has none.

    Attributes
    ----------
    combine, length : int
        ``length`` is the number of tensors in all.
    slots : int
        Experts a token is sent to, at most.
    """

    combine: int
    length: int
    slots: int

    def read(self, module: Any, args: Any, kwargs: Any, output: Any) -> Routing:
        """Return the routing in an output of this form; an adapter's ``read``."""
        found = list(tensors_of(output))
        if len(found) != self.length or found[self.combine].ndim < 3:
            raise ValueError("the router returned other tensors than before")
        combine = found[self.combine].detach()
        return slots_of(combine.sum(-1).reshape(-1, combine.shape[-2]), self.slots)


def tensors_of(output: Any) -> Iterator[Tensor]:
    """Yield the tensors in a module's output: itself, or those of a tuple, a list or a mapping, nested ones too."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors_of(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from tensors_of(value)


def find_form(output: Any, experts: int | None) -> OutputForm | None:
    """Return where the routing is in a router's output, or None if it holds no ids with weights of the same shape.

    Parameters
    ----------
    output : anything
    experts : int or None
        Number of experts, if it is known; ids are below it, and logits as wide.
    """
    found = list(tensors_of(output))
    for i, ids in enumerate(found):
        if not _are_ids(ids, experts):
            continue
        same = [j for j, other in enumerate(found) if other.is_floating_point() and other.shape == ids.shape]
        if same:
            return OutputForm(i, same[0], _find_logits(found, ids, same[0], experts), len(found))
    return None


def find_capacity(output: Any, experts: int | None, slots: int | None) -> CapacityForm | None:
    """Return where combine weights are in a router's output, or None: floats beside a mask of the same shape (…, E, capacity).

    Parameters
    ----------
    output : anything
    experts, slots : int or None
        Number of experts, and of experts a token, if they are known.
    """
    found = list(tensors_of(output))
    for place, combine in enumerate(found):
        if not combine.is_floating_point() or combine.ndim < 3 or experts not in (None, combine.shape[-2]):
            continue
        if any(other.dtype is torch.bool and other.shape == combine.shape for other in found):
            most = int((combine != 0).any(-1).sum(-1).max())
            return CapacityForm(place, len(found), slots or max(1, most))
    return None


def _are_ids(tensor: Tensor, experts: int | None) -> bool:
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool or tensor.ndim not in (2, 3):
        return False
    if not tensor.numel():
        return False
    return int(tensor.min()) >= -1 and (experts is None or int(tensor.max()) < experts)


def _find_logits(found: Sequence[Tensor], ids: Tensor, weights: int, experts: int | None) -> int:
    """The place of logits; of probabilities, if there are no logits beside them."""
    rows, largest = ids.numel() // ids.shape[-1], int(ids.max())
    wide = [
        j
        for j, other in enumerate(found)
        if j != weights
        and other.is_floating_point()
        and other.ndim >= 2
        and other.numel() == rows * other.shape[-1]
        and other.shape[-1] > largest
        and other.shape[-1] >= ids.shape[-1]
        and (experts is None or other.shape[-1] == experts)
    ]
    plain = [j for j in wide if not are_probabilities(found[j].detach().reshape(rows, -1))]
    return (plain or wide or [-1])[0]
