"""A sink for a process whose routing another one records."""

from moedesk.core.batch import RouteBatch
from moedesk.core.model import ModelInfo


class Nothing:
    """Takes everything and keeps nothing."""

    stopped: str | None = None

    def describe(self, model: ModelInfo) -> None:
        """Drop it."""

    def append(self, batch: RouteBatch) -> None:
        """Drop it."""

    def note(self, line: str) -> None:
        """Drop it."""

    def close(self) -> None:
        """Do nothing."""
