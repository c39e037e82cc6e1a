"""What is wanted of a recording."""

from dataclasses import dataclass

from moedesk.core.errors import MoedeskError
from moedesk.probe.taking.sampling import EVERY_ROW, Sampling


@dataclass(frozen=True)
class Wanted:
    """What a recording keeps.

    Attributes
    ----------
    every : int
        All of every n-th pass, of the others only counts.
    counts_only : bool
    logits : bool
    backward : bool
        Norms of gradients and of the experts' outputs in training.
    sampling : Sampling
        Which rows of these passes.
    """

    every: int = 1
    counts_only: bool = False
    logits: bool = False
    backward: bool = False
    sampling: Sampling = EVERY_ROW

    def __post_init__(self) -> None:
        if self.every < 1:
            raise MoedeskError(f"every={self.every} makes no sense; it is 1 for each pass, n for each n-th")
