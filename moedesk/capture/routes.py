"""Token streams and route tables while recording: rows of a batch to columns."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from moedesk.capture.column import Column, Lanes, Piece
from moedesk.capture.pyramid import CountSums
from moedesk.capture.schema import count_columns, in_large_chunks, norm_columns, route_columns, stream_columns
from moedesk.core.batch import COLUMNS, RouteStack
from moedesk.core.columns import SPAN, as_bytes
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

    def append(self, tokens: np.ndarray, number: int, stacks: Sequence[RouteStack]) -> None:
        """Append the rows of one pass."""
        span = np.array([(self.tokens.rows, len(tokens))], SPAN)
        if len(tokens):
            rows = as_bytes(tokens).copy().view(tokens.dtype)
            rows["pass"] = number
            for table in self.tables:
                table.append(stacks, len(rows))
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
        self._lanes = lru_cache(256)(self._find_lanes)
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
        here = [(lane, layers[place]) for lane, place in enumerate(self.places) if place in layers]
        for name, column in self.norms.items():
            column.extend(
                [([lane], np.asarray(getattr(norms, name), np.float32)[None, None]) for lane, norms in here], 1
            )

    def append(self, stacks: Sequence[RouteStack], rows: int) -> None:
        """Append the rows of one pass; a layer that did not run, or kept no ids, stays absent."""
        pieces: dict[str, list[Piece]] = {name: [] for name in self.routes}
        for stack in stacks:
            places = self._lanes(stack.places) if stack.experts is not None else None
            if places is None:
                continue
            lanes, chosen = places
            for name, values in zip(COLUMNS, stack.columns, strict=True):
                if values is None and name == "flags":  # a column that is missing would be absent
                    values = np.broadcast_to(np.uint8(0), (len(stack.places), rows))
                if values is not None and name in pieces:
                    pieces[name].append((lanes, values[chosen]))
        with np.errstate(over="ignore", invalid="ignore"):  # float16 may not hold a value
            for name, column in self.routes.items():
                column.extend(pieces[name], rows)

    def counts_of(self, stacks: Sequence[RouteStack]) -> list[tuple[Lanes, np.ndarray]]:
        """Return the counts of one pass, (lanes, E) for some lanes each."""
        found = [(self._lanes(stack.places), stack.counts) for stack in stacks]
        return [(places[0], counts[places[1]]) for places, counts in found if places is not None]

    def _find_lanes(self, places: tuple[int, ...]) -> tuple[Lanes, Lanes] | None:
        """Return which lanes some layers have here, and which of the layers those are; None if none has one."""
        here = [(self.places.index(place), i) for i, place in enumerate(places) if place in self.places]
        return (_run([lane for lane, _ in here]), _run([i for _, i in here])) if here else None


def _run(numbers: list[int]) -> Lanes:
    """The same as a slice, which costs no copy, if they follow one another."""
    first = numbers[0]
    return slice(first, first + len(numbers)) if numbers == list(range(first, first + len(numbers))) else numbers


def group_layers(layers: Sequence[LayerInfo]) -> list[list[LayerInfo]]:
    """Group layers that share a table."""
    groups: dict[tuple[str, int, int], list[LayerInfo]] = {}
    for layer in layers:
        groups.setdefault((layer.stream, layer.experts, layer.top_k), []).append(layer)
    return list(groups.values())
