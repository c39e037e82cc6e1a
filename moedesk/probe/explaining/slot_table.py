"""The slots of a token as arrays: a row for each layer, a column for each slot."""

from collections.abc import Callable, Mapping, Sequence
from math import nan

import numpy as np
from torch import Tensor

from moedesk.probe.explaining.rerun import Rerun
from moedesk.probe.explaining.slots import Slots
from moedesk.probe.finding.binding import Binding


class SlotTable:
    """Arrays with a row for each chosen layer and a column for each slot.

    Parameters
    ----------
    rerun : Rerun
    chosen : sequence of Binding
        The layers, one a row.
    slots : mapping of int to Slots
        By the layer's place; a layer without them has NaN.

    Attributes
    ----------
    experts : (L, k) int64
        -1 where there is no slot, or it has no expert.
    weights : (L, k) float64
        NaN where there is no slot.
    """

    def __init__(self, rerun: Rerun, chosen: Sequence[Binding], slots: Mapping[int, Slots]) -> None:
        routings = [rerun.routing(binding) for binding in chosen]
        self._places = [binding.layer.place for binding in chosen]
        self._slots = slots
        width = max((len(routing[0]) for routing in routings if routing is not None), default=0)
        self.experts = np.full((len(chosen), width), -1, np.int64)
        self.weights = np.full((len(chosen), width), nan)
        for row, routing in enumerate(routings):
            if routing is not None:
                self.experts[row, : len(routing[0])] = np.where(routing[0] < 0, -1, routing[0])
                self.weights[row, : len(routing[1])] = routing[1]

    def of(self, values: Callable[[int], Tensor]) -> np.ndarray:
        """Return (L, k) float64 of a layer's (k,) values, by its place; NaN where there is no slot."""
        table = np.full(self.experts.shape, nan)
        for row, place in enumerate(self._places):
            if place in self._slots:
                found = values(place).numpy()
                table[row, : len(found)] = found
        return np.where(self.experts >= 0, table, nan)
