"""Which passes and experts of a waterfall are in view, and where their pixels lie. No Qt."""

from dataclasses import dataclass, replace
from math import ceil, floor, log2

import numpy as np
import numpy.typing as npt

WIDEST = 32.0  # pixels a pass
FEWEST_ROWS = 4


@dataclass(frozen=True)
class Viewport:
    """What is in view. Passes count from the first one; pixels are device pixels.

    Attributes
    ----------
    right : float
        The pass at the right edge (its left end): with ``n`` there, pass ``n - 1`` is the last in view.
    per_pass : float
        Pixels a pass.
    rows : tuple of int
        Experts first…last (end excluded), numbered through all layers, from top to bottom.
    width, height : int
        Pixels.
    """

    right: float = 0.0
    per_pass: float = 4.0
    rows: tuple[int, int] = (0, 1)
    width: int = 1
    height: int = 1

    @property
    def left(self) -> float:
        """The pass at the left edge; negative where the passes don't fill the width."""
        return self.right - self.width / self.per_pass

    @property
    def passes(self) -> int:
        """Passes a column: a power of two, so that a column is at least a pixel wide."""
        return 1 << max(0, ceil(-log2(self.per_pass) - 1e-9))

    def columns(self, end: int) -> tuple[int, int]:
        """Return the columns first…last (end excluded) in view, of ``end`` passes."""
        last = min(ceil(self.right / self.passes), ceil(end / self.passes))
        first = max(0, floor(self.left / self.passes))
        return min(first, last), last

    def x(self, number: float) -> float:
        """Return where a pass begins."""
        return self.width - (self.right - number) * self.per_pass

    def pass_at(self, x: float) -> float:
        """Return the pass at a pixel."""
        return self.right - (self.width - x) / self.per_pass

    def scrolled(self, right: float, end: int) -> "Viewport":
        """Return it with another right edge, within the ``end`` passes; whole columns of pixels, so that nothing flickers."""
        lowest = min(self.width / self.per_pass, end)
        right = min(max(right, lowest), end)
        if right < end:
            right = round(right * self.per_pass) / self.per_pass
        return replace(self, right=right)

    def zoomed(self, factor: float, x: float, end: int, follow: bool) -> "Viewport":
        """Return it with ``factor`` times as many pixels a pass, the pass at ``x`` (or, following, the end) left where it is."""
        fewest = self.width / max(end, self.width / WIDEST, 1) / 2
        per_pass = min(max(self.per_pass * factor, min(fewest, 1.0)), WIDEST)
        kept = self.pass_at(x)
        new = replace(self, per_pass=per_pass).whole()
        right = float(end) if follow else kept + (self.width - x) / new.per_pass
        return new.scrolled(right, end)

    def whole(self) -> "Viewport":
        """Return it with columns of whole pixels, at most as wide, which scroll without flicker."""
        return replace(self, per_pass=float(floor(self.per_pass)) if self.per_pass >= 1 else 1 / self.passes)

    def fitted(self, end: int) -> "Viewport":
        """Return it with all passes in view."""
        return replace(self, per_pass=min(self.width / max(end, 1), WIDEST), right=float(end))

    def rows_zoomed(self, factor: float, y: float, total: int) -> "Viewport":
        """Return it with ``factor`` times as many rows in view, the one at ``y`` left where it is."""
        top, bottom = self.rows
        count = min(max((bottom - top) * factor, min(FEWEST_ROWS, total)), total)
        share = y / max(self.height, 1)
        first = top + share * (bottom - top) - share * count
        return self.rows_from(first, round(count), total)

    def rows_from(self, first: float, count: int, total: int) -> "Viewport":
        """Return it with ``count`` rows from ``first`` on, within the ``total``."""
        start = int(min(max(round(first), 0), max(total - count, 0)))
        return replace(self, rows=(start, max(min(start + count, total), start + 1)))


def row_y(row: float, row_edges: npt.NDArray[np.int64], height: int) -> float:
    """Return where an expert's row begins in a picture whose rows are equally high, ``height`` pixels in all."""
    last = len(row_edges) - 2
    place = min(max(int(np.searchsorted(row_edges, row, side="right")) - 1, 0), last)
    start, stop = row_edges.item(place), row_edges.item(place + 1)
    return (place + (row - start) / (stop - start)) / (last + 1) * height
