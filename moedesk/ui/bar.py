"""A line of ``RankedBars``. No Qt."""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One line.

    Attributes
    ----------
    name, value : str
        Written at the left and at the right.
    length : float or None
        Of the bar, 0 to 1; None for none.
    interval : (float, float) or None
        Ends of a whisker, 0 to 1.
    hint : str
        What is said when it is pointed at.
    key : hashable
        What ``picked`` names; None if it can't be picked.
    expert : int or None
        The expert whose colour the bar has; None for the accent colour.
    """

    name: str
    value: str
    length: float | None = None
    interval: tuple[float, float] | None = None
    hint: str = ""
    key: Hashable = None
    expert: int | None = None
