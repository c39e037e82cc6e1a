"""How much of a pass may be kept."""

from enum import IntEnum


class Room(IntEnum):
    """What there is room for."""

    NOTHING = 0
    COUNTS = 1
    EVERYTHING = 2
