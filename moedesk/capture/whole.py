"""All whole passes of a capture at one moment, as the columns of a finished file."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from moedesk.capture.routing import Routing
from moedesk.capture.schema import (
    BLOCK,
    LABELS,
    LEVELS,
    OVERRIDE_BYTES,
    OVERRIDE_ENDS,
    OVERRIDE_RANGES,
    PASSES,
    STEPS,
    VOCABULARY_BYTES,
    VOCABULARY_ENDS,
    VOCABULARY_IDS,
    ColumnSpec,
    block_columns,
    count_columns,
    norm_columns,
    route_columns,
    stream_columns,
)
from moedesk.core.columns import LABEL
from moedesk.core.label import Label

OVERRIDES = (OVERRIDE_RANGES, OVERRIDE_ENDS, OVERRIDE_BYTES)


class Whole:
    """The rows that belong to whole passes, with a last block of counts for the passes that no block covers yet.

    Parameters
    ----------
    routing : Routing
    labels : sequence of Label or None
        What stands in place of the labels in the capture; None to keep those.

    Attributes
    ----------
    contents : Contents
    stored : dict of path to int
        For each column the rows that are there, without the last block.
    """

    def __init__(self, routing: Routing, labels: Sequence[Label] | None = None) -> None:
        self.contents = routing.contents
        self._counts = routing.count_reader
        self._labels = (
            None if labels is None else np.concatenate([np.empty(0, LABEL), *(label.row for label in labels)])
        )
        self.stored = self._stored()

    @cached_property
    def specs(self) -> list[ColumnSpec]:
        """Every column but the notes, as it is laid out."""
        specs = [PASSES, VOCABULARY_IDS, VOCABULARY_ENDS, VOCABULARY_BYTES, *block_columns()]
        specs += [spec for spec in (STEPS, LABELS, *OVERRIDES) if self._has(spec)]  # earlier captures have none
        for stream in self.contents.streams:
            specs += stream_columns(stream)
        for table in self.contents.tables:
            number, layers = table.path.rsplit("/", 1)[1], len(table.places)
            half = self.contents.column(f"{table.path}/weights").dtype == np.dtype("<f2")
            logits = self.contents.has(f"{table.path}/logits")
            specs += route_columns(number, layers, table.experts, table.top_k, half, logits)
            specs += count_columns(number, layers, table.experts)
            if self.contents.has(f"{table.path}/norms/gradients"):
                specs += norm_columns(number, layers, table.experts)
        return specs

    def _has(self, spec: ColumnSpec) -> bool:
        return self.contents.has(spec.path) or (spec is LABELS and self._labels is not None)

    def _stored(self) -> dict[str, int]:
        contents, closed = self.contents, [self._counts.closed(level) for level in range(LEVELS)]
        rows = {PASSES.path: contents.n_passes}
        rows |= {
            spec.path: len(contents.column(spec.path)) for spec in (VOCABULARY_IDS, VOCABULARY_ENDS, VOCABULARY_BYTES)
        }
        rows |= {f"blocks/{level}": n for level, n in enumerate(closed)}
        for stream in contents.streams:
            rows |= {
                f"streams/{stream}/spans": contents.n_passes,
                f"streams/{stream}/tokens": contents.n_tokens(stream),
            }
        for table in contents.tables:
            names = ("experts", "weights", "entropy", "margin", "flags", "logits")
            paths = [f"{table.path}/{name}" for name in names]
            rows |= {path: contents.n_tokens(table.stream) for path in paths if contents.has(path)}
            rows |= {f"{table.path}/counts/{level}": n for level, n in enumerate(closed)}
        for spec in (STEPS, LABELS, *OVERRIDES):
            if contents.has(spec.path):
                rows[spec.path] = len(contents.column(spec.path))
        if self._labels is not None:
            rows[LABELS.path] = len(self._labels)
        for table in contents.tables:
            paths = [f"{table.path}/norms/{name}" for name in ("gradients", "outputs", "router", "shared")]
            rows |= {path: rows[STEPS.path] for path in paths if contents.has(path)}
        return rows

    @cached_property
    def _last_block(self) -> dict[str, np.ndarray]:
        """Rows of block index and counts for passes after the last block."""
        first, last = self._counts.covered, self.contents.n_passes
        if first >= last:
            return {}
        rows = {"blocks/0": np.array([(first, last - first)], BLOCK)}
        for table in self.contents.tables:
            lanes = [self._counts.window(table, lane, first, last) for lane in range(len(table.places))]
            rows[f"{table.path}/counts/0"] = np.stack(lanes)[None].astype("<u4")
        return rows

    def rows(self, path: str) -> int:
        """Return how many rows a column has."""
        return self.stored[path] + len(self._last_block.get(path, ()))

    def read(self, path: str, i: int, j: int, lane: int | None = None) -> np.ndarray:
        """Return rows i…j of a column, of one layer or of all."""
        if path == LABELS.path and self._labels is not None:
            return self._labels[i:j]
        n, last = self.stored[path], self._last_block.get(path)
        rows = self.contents.column(path).read(i, min(j, n), lane)
        if last is None or j <= n:
            return rows
        return np.concatenate([rows, last if lane is None else last[:, lane]])
