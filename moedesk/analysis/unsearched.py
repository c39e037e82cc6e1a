"""What a filter could not judge."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from moedesk.core.columns import PassFlag
from moedesk.core.filter import Filter


@dataclass(frozen=True)
class Unsearched:
    """Passes of which a filter could not judge all; those of several searches add up.

    Attributes
    ----------
    counts_only : int
        Passes that could not be looked into because only their counts were kept.
    unjudged : int
        Passes with events that are left out only since an entropy or a margin that the filter asks for is not known.
    spared : int
        Those of ``unjudged`` that were spared these numbers (``PassFlag.SPARED``).
    certainties : tuple of str
        The numbers that the filter asks for, ``Filter.certainties``.
    """

    counts_only: int = 0
    unjudged: int = 0
    spared: int = 0
    certainties: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, filter: Filter, flags: npt.NDArray[np.uint8], kept: npt.NDArray[np.bool_], unjudged: npt.NDArray[np.bool_]
    ) -> Self:
        """Count passes by their (P,) flags; ``kept`` are those that the filter's terms about passes hold for."""
        bare = kept & ((flags & PassFlag.COUNTS_ONLY) != 0)
        return cls(
            0 if filter.asks_passes_only else int(np.count_nonzero(bare)),
            int(np.count_nonzero(unjudged)),
            int(np.count_nonzero(unjudged & ((flags & PassFlag.SPARED) != 0))),
            filter.certainties,
        )

    def __add__(self, other: Self) -> "Unsearched":
        return Unsearched(
            self.counts_only + other.counts_only,
            self.unjudged + other.unjudged,
            self.spared + other.spared,
            self.certainties or other.certainties,
        )

    @property
    def note(self) -> str:
        """What could not be judged, in one line; empty if nothing."""
        parts = []
        if self.counts_only:
            parts.append(f"{_passes(self.counts_only)} kept counts only and could not be searched token by token")
        if self.unjudged:
            what = " or ".join(_MANY[key] for key in self.certainties)
            passes, verb = _passes(self.unjudged), "is" if self.unjudged == 1 else "are"
            if self.spared == self.unjudged:
                parts.append(f"{passes} without {what} {verb} left out (is:spared)")
            else:
                which = f" ({self.spared:,} of them is:spared)" if self.spared else ""
                parts.append(f"{passes} without {what}, of some tokens at least, {verb} left out there{which}")
        return "; ".join(parts)


_MANY = {"entropy": "entropies", "margin": "margins"}


def _passes(count: int) -> str:
    return f"{count:,} pass{'es' * (count != 1)}"
