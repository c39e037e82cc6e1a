"""How much of a pass may be kept."""

from enum import IntEnum


class Room(IntEnum):
    """What there is room for."""

    NOTHING = 0
    COUNTS = 1
    ROUTES = 2  # ids and weights, but no logits, and so neither entropy nor margin
    EVERYTHING = 3
