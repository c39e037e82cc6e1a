"""What waits for one client, in order and within bounds."""

from collections import deque
from enum import IntEnum

from moedesk.link.message import Frames
from moedesk.link.protocol import HARD_LIMIT, HIGH_WATER, WINDOW


class Fate(IntEnum):
    """What became of a pass, from good to bad."""

    SENT = 0
    SHED = 1
    DROPPED = 2


class Outbox:
    """Messages for one client. One thread at a time.

    Bounded by bytes: what waits here and what is on its way (sent, but the client has not said that it took it) together. So
    nothing can pile up out of sight in the sockets between.

    Attributes
    ----------
    waiting : int
        Bytes not yet sent.
    travelling : int
        Bytes sent and not yet taken.
    """

    def __init__(self) -> None:
        self._letters: deque[tuple[Frames, int | None]] = deque()
        self._counted: set[int] = set()
        self.waiting = 0
        self.travelling = 0

    @property
    def wants_rows(self) -> bool:
        """Whether it is below its high-water mark."""
        return self.waiting + self.travelling < HIGH_WATER

    def offer(self, full: Frames | None, counts: Frames | None) -> Fate:
        """Take a pass whole, or its counts, or nothing of it.

        Parameters
        ----------
        full, counts : Frames or None
            The pass, and what it is shed to. With ``full`` alone it is taken whole or not at all.
        """
        if full is not None and (self.wants_rows or counts is None) and self._has_room(full):
            self.put(full)
            return Fate.SENT
        if counts is not None and self._has_room(counts):
            self.put(counts)
            return Fate.SHED
        return Fate.DROPPED

    def _has_room(self, letter: Frames) -> bool:
        level = self.waiting + self.travelling
        return level == 0 or level + letter.nbytes <= HARD_LIMIT  # a pass larger than the limit may travel alone

    def put(self, letter: Frames) -> None:
        """Take a message that must not be lost; these are small or few."""
        self._put(letter, None)

    def put_counters(self, stream: int, letter: Frames) -> bool:
        """Take the counters of a stream unless earlier ones still wait; returns whether it did."""
        if stream in self._counted:
            return False
        self._counted.add(stream)
        self._put(letter, stream)
        return True

    def _put(self, letter: Frames, stream: int | None) -> None:
        self._letters.append((letter, stream))
        self.waiting += letter.nbytes

    def next(self) -> Frames | None:
        """Return the next message to send now; None if there is none or the client must take something first."""
        if not self._letters or self.travelling >= WINDOW:
            return None
        letter, stream = self._letters.popleft()
        if stream is not None:
            self._counted.discard(stream)
        self.waiting -= letter.nbytes
        self.travelling += letter.nbytes
        return letter

    def taken(self, nbytes: int) -> None:
        """Note that the client took so many bytes more."""
        self.travelling = max(0, self.travelling - nbytes)
