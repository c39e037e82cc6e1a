"""What a ``Sankey`` draws. No Qt."""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A block of a column.

    Attributes
    ----------
    name, hint : str
        Written beside it, and said when it is pointed at.
    amount : float
    key : hashable
        What ``picked`` names; None if it can't be picked.
    expert : int or None
        Whose colour it has; None for grey.
    """

    name: str
    amount: float
    hint: str = ""
    key: Hashable = None
    expert: int | None = None


@dataclass(frozen=True)
class Flow:
    """A ribbon from a node of one column to a node of the next.

    Attributes
    ----------
    column, source, target : int
        The source's column, and places in their columns.
    amount : float
    hint : str
    """

    column: int
    source: int
    target: int
    amount: float
    hint: str = ""


@dataclass(frozen=True)
class FlowPicture:
    """Columns of nodes, each with a title, and the flows between them."""

    titles: tuple[str, ...]
    columns: tuple[tuple[Node, ...], ...]
    flows: tuple[Flow, ...]
