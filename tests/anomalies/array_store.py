"""A capture as arrays in memory, that may be cut and changed: what faults are injected into."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from moedesk.core.columns import SPAN
from moedesk.core.store import LayerLike, Store
from tests.support.memory_store import LayerColumns, MemoryStore


@dataclass
class ArrayStore(MemoryStore):
    """One stream of tokens. ``exact`` are (passes, E) counts of each layer, as a capture keeps them beside the ids."""

    exact: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, store: Store, name: str) -> Self:
        """Read all of a capture; other streams than the main one are not taken."""
        stream = store.model.streams[0]
        tokens = store.read_tokens()
        spans = np.zeros(store.n_passes, SPAN)
        for number in range(store.n_passes):
            first, last = store.token_span(number, number + 1)
            spans[number] = first, last - first
        columns = [
            LayerColumns(
                store.experts(layer),
                store.weights(layer),
                store.entropy(layer),
                store.margin(layer),
                store.flags(layer),
                store.logits(layer),
            )
            for layer in store.model.layers
        ]
        exact = [store.counts(layer, "pass") for layer in store.model.layers]
        return cls(store.model, store.read_passes(), {stream: tokens}, {stream: spans}, columns, name=name, exact=exact)

    @property
    def tokens(self) -> np.ndarray:
        """(T,) tokens of the only stream."""
        return self.streams[self._main]

    def counts(self, layer: LayerLike, by: str = "capture") -> np.ndarray:
        """As the capture keeps them, which a fault may have made wrong."""
        exact = self.exact[self.model.layer(layer).place]
        return exact.copy() if by == "pass" else exact.sum(0)

    def of_passes(self, passes: Sequence[int], name: str) -> Self:
        """Return these passes only, in this order, numbered anew."""
        spans = self.spans[self._main][list(passes)]
        rows = np.concatenate([np.arange(first, first + count) for first, count in spans])
        tokens, headers = self.tokens[rows], self.passes[list(passes)]
        new = np.zeros(len(spans), SPAN)
        new["count"] = spans["count"]
        new["first"] = np.cumsum(spans["count"]) - spans["count"]
        tokens["pass"] = np.repeat(np.arange(len(spans)), spans["count"])
        headers["id"], headers["first_token"] = np.arange(len(spans)), new["first"]
        columns = [
            LayerColumns(*(None if one is None else one[rows] for one in vars(layer).values())) for layer in self.layers
        ]
        return replace(
            self,
            passes=headers,
            streams={self._main: tokens},
            spans={self._main: new},
            layers=columns,
            exact=[counts[list(passes)] for counts in self.exact],
            name=name,
        )

    def with_layer(self, place: int, *, recount: bool = True, **columns: Any) -> Self:
        """Return it with other columns in one layer, and the counts that follow from its ids."""
        layers = list(self.layers)
        layers[place] = replace(layers[place], **columns)
        exact = list(self.exact)
        if recount:
            exact[place] = self.counted(layers[place].experts, exact[place].shape[1], ~self.tokens["is_padding"])
        return replace(self, layers=layers, exact=exact)

    def counted(self, ids: np.ndarray, experts: int, rows: np.ndarray) -> np.ndarray:
        """(passes, E) slots of some rows."""
        slots = np.repeat(self.tokens["pass"], ids.shape[1]).reshape(ids.shape)
        wanted = (ids >= 0) & rows[:, None]
        flat = np.bincount(slots[wanted].astype(np.int64) * experts + ids[wanted], minlength=self.n_passes * experts)
        return flat.reshape(self.n_passes, experts).astype(np.int64)
