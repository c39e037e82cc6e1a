"""A store that grows while it is read."""

from dataclasses import replace

import numpy as np

from moedesk.core.model import ModelInfo
from moedesk.core.store import LayerLike, LoadBlocks
from tests.support.memory_store import MemoryStore


class PublishedStore:
    """Shows the first passes and layers of a ``MemoryStore``; ``publish`` shows more, as a live capture does at a tick."""

    def __init__(self, whole: MemoryStore, passes: int = 0, layers: int | None = None) -> None:
        self.whole = whole
        self.name = "live"
        self.revision = 0
        self.complete = False
        self.notes: tuple[str, ...] = ()
        self.labels = whole.labels
        self.attributions = whole.attributions
        self.overrides = whole.overrides
        self.n_passes = 0
        self.reads: list[tuple[str, int, int]] = []  # what was read: column, first row, end
        self._counts = [whole.counts(layer, "pass") for layer in whole.model.layers]
        self.model = ModelInfo("", "")
        self.describe(len(whole.model.layers) if layers is None else layers)
        self.publish(passes)

    def describe(self, layers: int) -> None:
        """Say that the model has so many layers."""
        model = self.whole.model
        shown = tuple(module for module in model.modules if module.layer < layers)
        self.model = replace(model, layers=model.layers[:layers], modules=shown)

    def publish(self, passes: int) -> bool:
        """Show the first ``passes`` passes; say whether they are more."""
        grown = passes > self.n_passes
        self.n_passes = max(passes, self.n_passes)
        self.revision += 1
        return grown

    def _end(self, stream: str | None) -> int:
        return self.whole.token_span(0, self.n_passes, stream)[1]

    def n_tokens(self, stream: str | None = None) -> int:
        return self._end(stream)

    def read_passes(self, i: int = 0, j: int | None = None) -> np.ndarray:
        return self.whole.passes[: self.n_passes][i:j].copy()

    def read_tokens(self, i: int = 0, j: int | None = None, stream: str | None = None) -> np.ndarray:
        return self._part(self.whole.streams[stream or self.whole.model.streams[0]], "tokens", i, j, stream)

    def token_span(self, first: int, last: int, stream: str | None = None) -> tuple[int, int]:
        return self.whole.token_span(first, min(last, self.n_passes), stream)

    def token_text(self, ids: np.typing.ArrayLike) -> list[str]:
        return self.whole.token_text(ids)

    def text(self, i: int, j: int, stream: str | None = None) -> str:
        return self.whole.text(i, min(j, self._end(stream)), stream)

    def _part(self, column: np.ndarray, name: str, i: int, j: int | None, stream: str | None) -> np.ndarray:
        end = self._end(stream)
        self.reads.append((name, i, end if j is None else j))
        return column[:end][i:j].copy()

    def _column(self, name: str, layer: LayerLike, i: int, j: int | None) -> np.ndarray:
        info = self.model.layer(layer)
        return self._part(getattr(self.whole.layers[info.place], name), name, i, j, info.stream)

    def experts(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._column("experts", layer, i, j)

    def weights(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._column("weights", layer, i, j)

    def entropy(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._column("entropy", layer, i, j)

    def margin(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._column("margin", layer, i, j)

    def flags(self, layer: LayerLike, i: int = 0, j: int | None = None) -> np.ndarray:
        return self._column("flags", layer, i, j)

    def logits(self, layer: LayerLike, i: int = 0, j: int | None = None) -> None:
        return None

    def counts(self, layer: LayerLike, by: str = "capture") -> np.ndarray:
        counts = self._counts[self.model.layer(layer).place][: self.n_passes]
        return counts.copy() if by == "pass" else counts.sum(0)

    def window_counts(self, first: int = 0, last: int | None = None) -> list[np.ndarray]:
        return [self.counts(layer, "pass")[first:last].sum(0) for layer in self.model.layers]

    def load_blocks(self, first: int, last: int, columns: int) -> LoadBlocks:
        self.reads.append(("blocks", first, last))
        last = min(last, self.n_passes)
        edges = np.append(np.arange(first, last, max(1, -(-(last - first) // max(columns, 1)))), last)
        layers = [np.add.reduceat(self.counts(layer, "pass"), edges[:-1], axis=0) for layer in self.model.layers]
        offsets = np.cumsum([0, *(layer.experts for layer in self.model.layers)]).astype(np.int64)
        if last < self.n_passes:  # reduceat's last group goes on to the end of the array
            tail = [self.counts(layer, "pass")[edges[-2] : last].sum(0) for layer in self.model.layers]
            for counts, row in zip(layers, tail, strict=True):
                counts[-1] = row
        return LoadBlocks(edges.astype(np.int64), np.concatenate(layers, 1).astype(np.uint32), offsets)
