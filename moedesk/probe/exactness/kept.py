"""A sink that keeps what it is given, for runs whose routing is looked at and not recorded."""

from dataclasses import dataclass, field

from moedesk.core.batch import RouteBatch
from moedesk.core.model import ModelInfo


@dataclass
class Kept:
    """A sink that keeps what it is given."""

    batches: list[RouteBatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stopped: str | None = None

    def describe(self, model: ModelInfo) -> None:
        """The layers come with their bindings."""

    def append(self, batch: RouteBatch) -> None:
        """Keep a pass."""
        self.batches.append(batch)

    def note(self, line: str) -> None:
        """Keep a line."""
        self.notes.append(line)

    def close(self) -> None:
        """Nothing is left to do."""
