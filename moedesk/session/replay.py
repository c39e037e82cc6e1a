"""Replay: moves a session's cursor through its passes at a chosen speed."""

from moedesk.session.session import Session

PASSES_PER_SECOND = 10
"""Speed 1×."""
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class Replay:
    """The replay of one session.

    Attributes
    ----------
    speed : float
        Multiple of ``PASSES_PER_SECOND``.
    playing : bool
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.speed = 1.0
        self.playing = False
        self._owed = 0.0  # passes due but not yet shown, less than one
        self._at: float | None = None

    @property
    def last(self) -> int:
        """The last pass; -1 without any."""
        return self.session.store.n_passes - 1

    def play(self) -> None:
        """Start at the cursor; at the first pass if it isn't in use or stands at the end."""
        if self.last < 0:
            return
        if self.session.cursor is None or self.session.cursor >= self.last:
            self.session.seek(0)
        self.playing = True
        self._owed, self._at = 0.0, None

    def pause(self) -> None:
        """Stay where it is."""
        self.playing = False

    def leave(self) -> None:
        """Take the cursor away: panels show all passes again."""
        self.pause()
        self.session.seek(None)

    def step(self, passes: int) -> None:
        """Pause, and go some passes on (or back)."""
        self.pause()
        cursor = self.session.cursor
        if cursor is None:
            self.session.seek(0 if passes > 0 else self.last)
        else:
            self.session.seek(cursor + passes)

    def advance(self, now: float) -> bool:
        """Move on to where the replay stands at ``now`` (seconds, any clock); return whether it goes on."""
        if not self.playing:
            return False
        if self._at is not None:
            self._owed += (now - self._at) * self.speed * PASSES_PER_SECOND
        self._at = now
        whole = int(self._owed)
        self._owed -= whole
        if whole and self.session.cursor is not None:
            self.session.seek(self.session.cursor + whole)
        if self.session.cursor is None or self.session.cursor >= self.last:
            self.playing = False
        return self.playing
