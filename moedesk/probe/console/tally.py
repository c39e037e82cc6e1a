"""Sums what passes by on its way to the app: the load of every expert since a model was attached."""

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from moedesk.core.batch import RouteBatch
from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.probe.console.recent_tokens import RecentTokens

if TYPE_CHECKING:
    from moedesk.probe.explaining.passage import Passage
    from moedesk.probe.taking.courier import Sink  # it imports torch

Counts = dict[int, npt.NDArray[np.int64]]
"""Slots each expert received, (E,), by the layer's place."""


class Tally:
    """A sink that counts, and hands everything on to another; exact, whatever the other leaves out.

    Parameters
    ----------
    sink : Sink
        Where batches go next; its other attributes are this one's too.

    Attributes
    ----------
    recent : RecentTokens
        The tokens that ran last.
    """

    def __init__(self, sink: "Sink") -> None:
        self._sink = sink
        self._counts: Counts = {}
        self._passes = 0
        self.recent = RecentTokens()
        self._change = threading.Condition()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    @property
    def counters(self) -> Counters:
        """What ran and what was left out, as far as the sink knows."""
        return getattr(self._sink, "counters", None) or Counters()

    @property
    def stopped(self) -> str | None:
        """Why nothing more is taken, in one line, or None."""
        return self._sink.stopped

    def describe(self, model: ModelInfo) -> None:
        """Take the model; called again when more layers turned up."""
        self._sink.describe(model)

    def append(self, batch: RouteBatch) -> None:
        """Hand one pass on, then count it: who waits for the count knows what became of the pass."""
        self._sink.append(batch)
        with self._change:
            for routes in batch.layers:
                sums = self._counts.get(routes.layer)
                if sums is None:
                    self._counts[routes.layer] = routes.counts.copy()
                else:
                    sums += routes.counts
            self.recent.take(batch.tokens)
            self._passes += 1
            self._change.notify_all()

    def note(self, line: str) -> None:
        """Hand on one line that says what is missing or special."""
        self._sink.note(line)

    def close(self) -> None:
        """Finish."""
        self._sink.close()

    def counts(self) -> Counts:
        """Return the counts so far."""
        with self._change:
            return {layer: sums.copy() for layer, sums in self._counts.items()}

    def passage(self, sequence: int, column: int, stream: str, tokenizer: Any) -> "Passage":
        """Return the passage up to a token of what ran last; see ``RecentTokens.passage``."""
        with self._change:
            return self.recent.passage(sequence, column, stream, tokenizer)

    def wait(self, passes: int, seconds: float) -> bool:
        """Wait until so many passes were counted; return whether they were."""
        with self._change:
            return self._change.wait_for(lambda: self._passes >= passes, seconds)


def difference(after: Counts, before: Counts) -> Counts:
    """Return what came between two counts."""
    return {layer: counts - before.get(layer, 0) for layer, counts in after.items()}
