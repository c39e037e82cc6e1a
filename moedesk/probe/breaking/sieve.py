"""What costs little to see of a layer's call: whether a filter may match in it, before it is read as a capture has it."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from moedesk.core.filter import Filter, Numbers
from moedesk.core.filter.load import load_of
from moedesk.core.filter.term import Term, Words
from moedesk.probe.breaking.layer_watch import Reached
from moedesk.probe.taking.block import numpy_of
from moedesk.probe.taking.reduction import LayerGroup, reduce
from moedesk.probe.taking.small_reduction import entropies, floats, is_small, margins, scores, to_logits


class Sieve:
    """Lets a filter through unless no row of a call can match it; nothing that matches is kept back.

    Each column is brought to the host when a filter first asks for it.

    Parameters
    ----------
    reached : Reached
        Of a call that no override changed: else what is used may not be seen here.
    """

    def __init__(self, reached: Reached) -> None:
        self._reached = reached

    def lets(self, filter: Filter, kept: npt.NDArray[np.bool_]) -> bool:
        """Return whether a row may match.

        Parameters
        ----------
        filter : Filter
        kept : (T,) bool
            Rows whose tokens satisfy it.
        """
        return all(self._may_hold(term, kept) for term in filter.terms)

    def _may_hold(self, term: Term, kept: npt.NDArray[np.bool_]) -> bool:
        if isinstance(term.value, Words):
            return term.key != "is" or term.negated or any(self._may_be(name) for name in term.value.names)
        if not isinstance(term.value, Numbers):
            return True
        if term.key in ("margin", "entropy"):
            column = self._margin if term.key == "margin" else self._entropy
            if column is None:
                return term.negated  # unknown satisfies no number
            return bool((term.value.holds(column) != term.negated).any())
        if term.negated:
            return True
        if term.key == "expert":
            return bool(term.value.holds(self._ids).any())
        if term.key == "weight" and self._weights is not None:
            return bool(term.value.holds(self._weights).any())
        if term.key == "load" and kept.all():  # else padding would have to be told
            return bool(term.value.holds(load_of(np.bincount(self._filled, minlength=self._experts))).any())
        return True

    def _may_be(self, flag: str) -> bool:
        match flag:
            case "nonfinite":
                return not (self._is_finite(self._weights) and self._is_finite(self._logits))
            case "dropped":
                return bool((self._ids < 0).any())
            case "overridden":
                return False
        return True

    @staticmethod
    def _is_finite(column: npt.NDArray[np.float32] | None) -> bool:
        return column is None or bool(np.isfinite(column).all())

    @property
    def _experts(self) -> int:
        return self._reached.binding.layer.experts

    @cached_property
    def certainty(self) -> LayerGroup:
        """Entropy and margin, as a capture has them."""
        (group,) = reduce([self._reached.event], keep_logits=True)
        return group

    @cached_property
    def _values(self) -> npt.NDArray[np.float32] | None:
        """(T, E) logits of a short call on the host, to be worked on here; the others are the device's."""
        reached, rule = self._reached, self._reached.binding.rule
        if self._logits is None or reached.ids.device.type != "cpu" or not is_small(self._logits.size, rule):
            return None
        if rule is None or (self._ids >= self._experts).any():
            return None
        values = self._logits.reshape(len(self._ids), -1)
        return to_logits(values) if reached.binding.probabilities else values

    @cached_property
    def _sureness(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Entropies and shares of the logits."""
        assert self._values is not None
        return entropies(self._values)

    @cached_property
    def _entropy(self) -> npt.NDArray[np.float32] | None:
        if self._values is not None:
            return self._sureness[0]
        column = self.certainty.entropy
        return None if column is None else numpy_of(column)

    @cached_property
    def _margin(self) -> npt.NDArray[np.float32] | None:
        values, binding = self._values, self._reached.binding
        if values is None or binding.rule is None:
            column = self.certainty.margin
            return None if column is None else numpy_of(column)
        bias = None if binding.bias is None else floats(_host(getattr(*binding.bias))).reshape(1, -1)
        shares = self._sureness[1] if binding.rule.transform == "softmax" else values
        return margins(scores(binding.rule, values, bias, shares), self._ids)

    @cached_property
    def _ids(self) -> npt.NDArray[np.signedinteger]:
        return np.asarray(_host(self._reached.ids).numpy())

    @property
    def _filled(self) -> npt.NDArray[np.signedinteger]:
        ids = self._ids
        return ids[(ids >= 0) & (ids < self._experts)]

    @cached_property
    def _weights(self) -> npt.NDArray[np.float32] | None:
        weights = self._reached.weights
        return None if weights is None else floats(_host(weights))

    @cached_property
    def _logits(self) -> npt.NDArray[np.float32] | None:
        logits = self._reached.logits
        return None if logits is None else floats(_host(logits))


def _host(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu()
