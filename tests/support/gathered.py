"""A sink that keeps batches in a list, and a recording into it."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from moedesk.core.batch import LayerRoutes, RouteBatch
from moedesk.core.columns import Phase
from moedesk.core.model import ModelInfo
from moedesk.core.training import TrainingStep
from moedesk.probe.record import Recording
from moedesk.probe.wanted import Wanted


@dataclass
class Gathered:
    """What a recording delivered."""

    batches: list[RouteBatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    models: list[ModelInfo] = field(default_factory=list)
    steps: list[TrainingStep] = field(default_factory=list)
    closed: bool = False
    stopped: str | None = None

    def describe(self, model: ModelInfo) -> None:
        self.models.append(model)

    def append(self, batch: RouteBatch) -> None:
        layers = tuple(layer.filled() for layer in batch.layers)  # as a capture has them
        self.batches.append(replace(batch, layers=layers))

    def append_step(self, step: TrainingStep) -> None:
        self.steps.append(step)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def close(self) -> None:
        self.closed = True

    @property
    def model(self) -> ModelInfo:
        return self.models[-1]

    @property
    def phases(self) -> list[Phase]:
        return [Phase(int(batch.header["phase"])) for batch in self.batches]

    def tokens(self, stream: str = "main") -> np.ndarray:
        """Token rows of all passes."""
        return np.concatenate([batch.tokens[stream] for batch in self.batches if stream in batch.tokens])

    def routes(self, layer: int, batch: int = 0) -> LayerRoutes:
        """One layer's routes in one pass."""
        return next(routes for routes in self.batches[batch].layers if routes.layer == layer)

    def norms(self, name: str, layer: int) -> np.ndarray:
        """One of ``LayerNorms``' fields, a row per training step."""
        return np.stack([getattr(norms, name) for step in self.steps for norms in step.layers if norms.layer == layer])

    def counts(self, layer: int) -> np.ndarray:
        """Counts over all passes."""
        return sum(routes.counts for batch in self.batches for routes in batch.layers if routes.layer == layer)

    def column(self, name: str, layer: int) -> np.ndarray:
        """One column of a layer over all passes."""
        parts = [getattr(routes, name) for batch in self.batches for routes in batch.layers if routes.layer == layer]
        return np.concatenate(parts)


def gather(model: nn.Module, tokenizer: Any = None, layers: Any = None, **wanted: Any) -> tuple[Recording, Gathered]:
    """A recording to enter, and what it will deliver."""
    gathered = Gathered()
    return Recording(model, "unused.h5", tokenizer, layers, Wanted(**wanted), sink=gathered), gathered


def dense(ids: np.ndarray, weights: np.ndarray, experts: int) -> np.ndarray:
    """(T, E) weight of each expert, NaN where it was not chosen: the routing without its slot order."""
    result = np.full((len(ids), experts), np.nan, np.float32)
    for row, (chosen, given) in enumerate(zip(ids, weights, strict=True)):
        result[row, chosen[chosen >= 0]] = given[chosen >= 0]
    return result
