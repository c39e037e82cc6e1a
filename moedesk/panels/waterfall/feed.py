"""Asks for the columns of the waterfall that are in view and not there yet, one question at a time."""

from collections.abc import Callable

from moedesk.analysis.balance_window import Tail
from moedesk.analysis.ring import ColumnRing
from moedesk.analysis.waterfall import Columns, Frame, new_ring, read_columns
from moedesk.session.jobs import Ticket
from moedesk.session.session import Session

KEY = "waterfall.columns"


class Feed:
    """Keeps a ring filled with what is in view.

    Each answer goes on where the ring ends, so a tick costs what its new passes cost. A question that no longer fits (another
    measure, zoom or size) is interrupted; one that only lacks the newest passes is let finish, or no answer would ever come.

    Parameters
    ----------
    renewed : callable
        Called when another ring takes the place of the one before.
    taken : callable
        Called with the columns first…last that were put into the ring.
    failed : callable
        Called with what went wrong.

    Attributes
    ----------
    ring, frame
        What there is to show.
    coarse, cut : int
        As in ``Columns``, the largest in the ring.
    """

    def __init__(
        self,
        session: Session,
        renewed: Callable[[], None],
        taken: Callable[[int, int], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._session = session
        self._renewed, self._taken, self._failed = renewed, taken, failed
        self.ring: ColumnRing | None = None
        self.frame: Frame | None = None
        self.coarse = 0
        self.cut = 0
        self._wanted: tuple[Frame, int, int, int, int] | None = None
        self._asked: Frame | None = None  # of the question under way, else of the ring
        self._busy = False
        self._end = 0  # pass before which the ring's last column ends
        self._tail: Tail | None = None

    def want(self, frame: Frame, first: int, last: int, end: int, capacity: int) -> None:
        """Say what is in view: columns first…last of ``end`` passes, in a ring that holds at least ``capacity``."""
        self._wanted = (frame, first, last, end, capacity)
        if self._asked != frame or (self.ring is not None and self.ring.capacity < capacity and not self._busy):
            self._asked = frame
            self._tail = None  # it counts in the columns of the frame before
            self._ask(frame, first, last, end, interrupt=True)
        elif not self._busy:
            self._go_on()

    def _go_on(self) -> None:
        """Ask for what the ring lacks."""
        assert self._wanted is not None
        frame, first, last, end, _ = self._wanted
        if self.ring is None or self.frame is None:
            self._ask(frame, first, last, end, interrupt=False)
            return
        missing = self.ring.missing(first, last)
        if self._end < min(self.ring.last * self.frame.passes, end) and last >= self.ring.last:
            start, stop = missing or (self.ring.last, self.ring.last)  # the last column has grown
            missing = (min(start, self.ring.last - 1), stop)
        if missing is not None and missing[0] < missing[1]:
            self._ask(frame, *missing, end, interrupt=False)

    def _ask(self, frame: Frame, first: int, last: int, end: int, interrupt: bool) -> None:
        if first >= last:
            return
        store, tail = self._session.store, self._tail
        asked = self._asked
        self._busy = True

        def work(ticket: Ticket) -> Columns:
            return read_columns(store, frame, first, last, end, tail, ticket)

        def done(columns: Columns) -> None:
            if asked == self._asked:
                self._take(columns)

        self._session.jobs.latest(KEY, work, done, self._fail, interrupt=interrupt)

    def _fail(self, error: Exception) -> None:
        self._busy = False
        self._failed(error)

    def _take(self, columns: Columns) -> None:
        assert self._wanted is not None
        self._busy = False
        capacity = self._wanted[-1]
        if self.ring is None or not self._fits(columns, capacity):
            self._begin(columns, capacity)
        assert self.ring is not None
        span = self.ring.put(columns.first, columns.fields)
        if columns.first + columns.fields["image"].shape[1] == self.ring.last:
            self._end, self._tail = columns.end, columns.tail
        else:
            self._end = min(self._end, self.ring.last * columns.frame.passes)
        self.coarse, self.cut = max(self.coarse, columns.coarse), max(self.cut, columns.cut)
        self._taken(*span)
        self._go_on()

    def _fits(self, columns: Columns, capacity: int) -> bool:
        """Whether columns go into the ring: of the same frame and model, and it is large enough."""
        ring = self.ring
        same = ring is not None and all(
            ring[name].shape[:-1] == field.shape[:-1] for name, field in columns.fields.items()
        )
        return ring is not None and same and self.frame == columns.frame and ring.capacity >= capacity

    def _begin(self, columns: Columns, capacity: int) -> None:
        self.ring = new_ring(columns, capacity)
        self.frame = columns.frame
        self.coarse = self.cut = self._end = 0
        self._tail = None
        self._renewed()
