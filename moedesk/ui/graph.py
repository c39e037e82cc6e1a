"""What a ``FriendGraph`` draws. No Qt."""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class GraphNode:
    """An expert: the first one stands in the middle, the others clockwise around it from the top."""

    name: str
    expert: int
    hint: str = ""
    key: Hashable = None


@dataclass(frozen=True)
class GraphEdge:
    """A bond of two nodes, by their places; ``strength`` 0 to 1 is its thickness."""

    a: int
    b: int
    strength: float
    hint: str = ""
