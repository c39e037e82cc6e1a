"""A store that grows pass by pass, as a live one does; what is not there yet can't be read."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moedesk.core.store import LayerLike
from tests.support.memory_store import MemoryStore, memory_store


@dataclass
class GrowingStore(MemoryStore):
    """Shows the first ``shown`` passes of all it holds.

    Attributes
    ----------
    asked : list of (str, int, int)
        Which blocks and token rows were read.
    """

    shown: int = 0
    asked: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_pass = [MemoryStore.counts(self, layer, "pass") for layer in self.model.layers]

    @property
    def n_passes(self) -> int:
        return self.shown if hasattr(self, "_by_pass") else len(self.passes)

    def grow(self, passes: int) -> None:
        self.shown = min(self.shown + passes, len(self.passes))
        self.revision += 1

    def counts(self, layer: LayerLike, by: str = "capture") -> np.ndarray:
        by_pass = self._by_pass[self.model.layer(layer).place][: self.shown]
        return by_pass if by == "pass" else by_pass.sum(0)

    def load_blocks(self, first: int, last: int, columns: int) -> Any:
        assert last <= self.shown, "these passes are not there yet"
        self.asked.append(("blocks", first, last))
        return super().load_blocks(first, last, columns)

    def token_span(self, first: int, last: int, stream: str | None = None) -> tuple[int, int]:
        assert last <= self.shown, "these passes are not there yet"
        self.asked.append(("rows", first, last))
        return super().token_span(first, last, stream)


def growing_store(passes: int = 20, shown: int | None = None, **options: Any) -> GrowingStore:
    """Build a random store that shows ``shown`` passes, or all."""
    return GrowingStore(**vars(memory_store(passes, **options)), shown=passes if shown is None else shown)
