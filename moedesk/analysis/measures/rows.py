"""Some token rows of one layer, as the measures read them: padding and tokens that the layer did not see are left out."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from moedesk.core.columns import RouteFlag
from moedesk.core.model import LayerInfo
from moedesk.core.store import Store


@dataclass
class Rows:
    """Token rows i…j of a layer's stream, those of ``wanted`` that count. A column is read when it is first asked for.

    Attributes
    ----------
    store : Store
    layer : LayerInfo
    i, j : int
    all_tokens : (j − i,) array, dtype ``columns.TOKEN``
        Tokens of these rows.
    next_layer : LayerInfo or None
        The next layer of the same stream.
    wanted : (j − i,) bool array or None
        Rows to keep; None for all.
    """

    store: Store
    layer: LayerInfo
    i: int
    j: int
    all_tokens: npt.NDArray[Any] = field(repr=False)
    next_layer: LayerInfo | None = None
    wanted: npt.NDArray[np.bool_] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return int(np.count_nonzero(self.kept))

    @cached_property
    def _flags(self) -> npt.NDArray[np.uint8]:
        return self.store.flags(self.layer, self.i, self.j)

    @cached_property
    def kept(self) -> npt.NDArray[np.bool_]:
        """(j − i,) which rows count."""
        kept = ~self.all_tokens["is_padding"] & ((self._flags & RouteFlag.ABSENT) == 0)
        return kept if self.wanted is None else kept & self.wanted

    @cached_property
    def tokens(self) -> npt.NDArray[Any]:
        """(n,) tokens, dtype ``columns.TOKEN``."""
        return self.all_tokens[self.kept]

    @cached_property
    def flags(self) -> npt.NDArray[np.uint8]:
        """(n,) ``columns.RouteFlag`` bits."""
        return self._flags[self.kept]

    @cached_property
    def experts(self) -> npt.NDArray[np.signedinteger]:
        """(n, k) expert ids, -1 where a slot was dropped."""
        return self.store.experts(self.layer, self.i, self.j)[self.kept]

    @cached_property
    def weights(self) -> npt.NDArray[np.float32]:
        """(n, k) gate weights as applied."""
        return self.store.weights(self.layer, self.i, self.j)[self.kept]

    @cached_property
    def entropy(self) -> npt.NDArray[np.float32]:
        """(n,) entropy of softmax(logits) in nats; NaN if unknown."""
        return self.store.entropy(self.layer, self.i, self.j)[self.kept]

    @cached_property
    def margin(self) -> npt.NDArray[np.float32]:
        """(n,) margin in the score that the router ranks by; NaN if unknown."""
        return self.store.margin(self.layer, self.i, self.j)[self.kept]

    @cached_property
    def logits(self) -> npt.NDArray[np.float32] | None:
        """(n, E) router logits, or None if they weren't recorded; rows without are NaN."""
        logits = self.store.logits(self.layer, self.i, self.j)
        return None if logits is None else logits[self.kept]

    @cached_property
    def first_choice(self) -> npt.NDArray[np.int64]:
        """(n,) the expert of the largest weight, the first of equal ones; -1 where every slot was dropped."""
        return first_choice(self.experts, self.weights)

    @cached_property
    def next_first_choice(self) -> npt.NDArray[np.int64] | None:
        """(n,) first choice of the same tokens at the next layer, -1 where it did not see them; None without such a layer."""
        if self.next_layer is None:
            return None
        span = self.next_layer, self.i, self.j
        return first_choice(self.store.experts(*span)[self.kept], self.store.weights(*span)[self.kept])


def first_choice(experts: npt.NDArray[np.signedinteger], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return (n,) the expert of the largest weight of (n, k) slots; -1 where every slot was dropped."""
    if not len(experts):
        return np.zeros(0, np.int64)
    ranked = np.where(experts >= 0, np.nan_to_num(weights, nan=-np.inf), -np.inf)
    best = ranked.argmax(1)
    # A dropped slot may come first where all weights are NaN.
    best = np.where(np.isneginf(ranked).all(1), (experts >= 0).argmax(1), best)
    return np.take_along_axis(experts, best[:, None], 1)[:, 0].astype(np.int64)
