"""Token streams and route tables while recording: rows of a batch to columns."""

from collections.abc import Mapping, Sequence

import numpy as np

from moedesk.capture.column import Column
from moedesk.capture.pyramid import CountSums
from moedesk.capture.schema import count_columns, in_large_chunks, norm_columns, route_columns, stream_columns
from moedesk.core.batch import LayerRoutes
from moedesk.core.columns import SPAN
from moedesk.core.model import LayerInfo
from moedesk.core.training import LayerNorms


class Stream:
    """Tokens and spans of one stream, and the tables whose rows go with its tokens.

    Attributes
    ----------
    whole : int
        Token rows up to the end of the last whole pass.
    """

    def __init__(self, name: str, passes: int) -> None:
        tokens, spans = stream_columns(name)
        self.name = name
        self.tokens = Column(tokens)
        self.spans = Column(spans, passes)
        self.tables: list[RouteTable] = []
        self.whole = 0

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the file lays out."""
        return self.tokens, self.spans

    def append(self, tokens: np.ndarray, number: int, layers: Mapping[int, LayerRoutes]) -> None:
        """Append the rows of one pass."""
        span = np.array([(self.tokens.rows, len(tokens))], SPAN)
        if len(tokens):
            rows = tokens.copy()
            rows["pass"] = number
            for table in self.tables:
                table.append(layers, len(rows))
            self.tokens.append(rows)
        self.spans.append(span)


class RouteTable:
    """Layers of one stream with the same number of experts and slots, known at the same time."""

    def __init__(
        self, number: int, layers: Sequence[LayerInfo], row: int, half: bool, logits: bool, compress: bool
    ) -> None:
        self.number = number
        self.layers = tuple(layers)
        self.places = [layer.place for layer in layers]
        self.experts, self.top_k = layers[0].experts, layers[0].top_k
        specs = route_columns(str(number), len(layers), self.experts, self.top_k, half, logits)
        specs = specs if compress else in_large_chunks(specs)
        self.routes = {spec.path.rsplit("/", 1)[1]: Column(spec, row) for spec in specs}
        self.counts: tuple[Column, ...] = ()
        self.norms: dict[str, Column] = {}
        self.sums: CountSums | None = None

    def lay_out_counts(self, rows: Sequence[int]) -> None:
        """Make the columns of counts, starting at the blocks already closed."""
        specs = count_columns(str(self.number), len(self.layers), self.experts)
        self.counts = tuple(Column(spec, n) for spec, n in zip(specs, rows, strict=True))

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the file lays out."""
        return (*self.routes.values(), *self.counts, *self.norms.values())

    def lay_out_norms(self, row: int) -> tuple[Column, ...]:
        """Make the columns of what is measured in training, starting at a training step."""
        specs = norm_columns(str(self.number), len(self.layers), self.experts)
        self.norms = {spec.path.rsplit("/", 1)[1]: Column(spec, row) for spec in specs}
        return tuple(self.norms.values())

    def append_norms(self, layers: Mapping[int, LayerNorms]) -> None:
        """Append one training step; of a layer that is not there, nothing is known."""
        here = [layers.get(place) for place in self.places]
        for name, column in self.norms.items():
            lanes = [None if norms is None else np.asarray(getattr(norms, name), np.float32)[None] for norms in here]
            column.extend(lanes, 1)

    def append(self, layers: Mapping[int, LayerRoutes], rows: int) -> None:
        """Append the rows of one pass; a layer that did not run, or kept no ids, stays absent."""
        here = [layers.get(place) for place in self.places]
        kept = [layer if layer is not None and layer.experts is not None else None for layer in here]
        with np.errstate(over="ignore", invalid="ignore"):  # float16 may not hold a value
            for name, column in self.routes.items():
                lanes = [None if layer is None else getattr(layer, name) for layer in kept]
                if name == "flags":
                    zeros = np.zeros(rows, np.uint8)
                    lanes = [
                        zeros if layer is not None and lane is None else lane
                        for layer, lane in zip(kept, lanes, strict=True)
                    ]
                column.extend(lanes, rows)

    def lanes(self, layers: Mapping[int, LayerRoutes]) -> dict[int, np.ndarray]:
        """Return the counts of one pass by lane."""
        return {lane: layers[place].counts for lane, place in enumerate(self.places) if place in layers}


def group_layers(layers: Sequence[LayerInfo]) -> list[list[LayerInfo]]:
    """Group layers that share a table."""
    groups: dict[tuple[str, int, int], list[LayerInfo]] = {}
    for layer in layers:
        groups.setdefault((layer.stream, layer.experts, layer.top_k), []).append(layer)
    return list(groups.values())
