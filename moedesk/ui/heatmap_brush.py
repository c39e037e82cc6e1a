"""A brush over passes: what a drag does to it. No Qt."""

from dataclasses import dataclass
from math import ceil, floor


@dataclass(frozen=True)
class Brush:
    """A drag in progress.

    Attributes
    ----------
    fixed : float
        The end that stays, or where the drag began.
    span : float or None
        Length of a brush that is moved as a whole; ``fixed`` is then where in it it was grabbed.
    """

    fixed: float
    span: float | None = None

    @classmethod
    def grab(cls, window: tuple[int, int] | None, at: float, near: float) -> "Brush":
        """Return the drag that starts at ``at``: an end of ``window`` within ``near`` of it, its inside, or a new brush."""
        if window is not None:
            first, last = window
            if abs(at - first) <= near:
                return cls(float(last))
            if abs(at - last) <= near:
                return cls(float(first))
            if first < at < last:
                return cls(at - first, float(last - first))
        return cls(at)

    def moved(self, at: float, passes: int) -> tuple[int, int]:
        """Return the brushed passes when the pointer is at ``at``: at least one, all of them whole."""
        if self.span is not None:
            span = round(self.span)
            first = min(max(round(at - self.fixed), 0), max(passes - span, 0))
            return first, first + span
        low, high = sorted((self.fixed, at))
        first = min(max(floor(low), 0), passes - 1)
        return first, min(max(ceil(high), first + 1), passes)


def extended(window: tuple[int, int] | None, at: int, by: int, passes: int) -> tuple[int, int]:
    """Return the brush after one key press: begun at pass ``at``, or its end moved by ``by`` passes."""
    first, last = window if window is not None else (at, at + 1)
    if window is not None or by > 0:
        last += by
    elif by < 0:
        first += by
    first = max(first, 0)
    return first, min(max(last, first + 1), passes)
