"""A line of ``Terms``. No Qt."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One term of a sum.

    Attributes
    ----------
    name, value : str
        Written at the left and at the right.
    start, end : float
        Where its bar begins and ends, in the unit of the sum.
    kind : str
        ``term``, ``remainder`` or ``sum``.
    hint : str
        What is said when it is pointed at.
    """

    name: str
    value: str
    start: float
    end: float
    kind: str = "term"
    hint: str = ""
