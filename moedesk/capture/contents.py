"""What a store is made of: columns by name, the model, and where each layer lies among the columns."""

from dataclasses import dataclass
from typing import Protocol

from moedesk.capture.schema import State
from moedesk.capture.stored import ColumnRows
from moedesk.capture.texts import Vocabulary
from moedesk.core.model import ModelInfo


@dataclass(frozen=True)
class TableInfo:
    """A table of routes.

    Attributes
    ----------
    path : str
    places : tuple of int
        Layers in the order of its lanes.
    stream : str
    experts, top_k : int
    """

    path: str
    places: tuple[int, ...]
    stream: str
    experts: int
    top_k: int


class Contents(Protocol):
    """The columns of a capture at one moment: of a file, or of a recording that goes on."""

    @property
    def n_passes(self) -> int:
        """Passes whose data is all there."""

    @property
    def state(self) -> State:
        """What became of the recording."""

    @property
    def created(self) -> str:
        """When recording began: ISO 8601, UTC."""

    @property
    def model(self) -> ModelInfo:
        """The model; one without layers before it is known."""

    @property
    def lines(self) -> tuple[str, ...]:
        """Notes taken while recording."""

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all token streams."""

    @property
    def tables(self) -> tuple[TableInfo, ...]:
        """All tables of routes."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Texts of the token ids that occur."""

    def n_tokens(self, stream: str) -> int:
        """Return the rows of a stream that belong to these passes."""

    def column(self, path: str) -> ColumnRows:
        """Return the column at a path."""

    def has(self, path: str) -> bool:
        """Whether there is such a column."""
