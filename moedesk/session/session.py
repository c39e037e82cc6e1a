"""One inspected thing, and what its panels share: selection, brushed passes, replay cursor, filter."""

from collections import deque
from pathlib import Path

from moedesk.analysis.conventions import Conventions
from moedesk.core.event import Event
from moedesk.core.filter import NO_FILTER, Filter
from moedesk.core.selection import NOTHING, Selection
from moedesk.core.store import Store
from moedesk.session.explaining import Explaining
from moedesk.session.explanations import Explanations
from moedesk.session.holding import Holding
from moedesk.session.jobs import Jobs
from moedesk.session.labelling import Labelling
from moedesk.session.live import Live
from moedesk.session.overriding import Overriding

RELABELS = frozenset({"live", "store", "attributions", "labels", "saved"})
"""Changes after which ``Session.label`` may be another."""
HISTORY = 5  # $0 … $4, as in DevTools


class Session:
    """A store and the state its panels share.

    Panels read the attributes and ask for changes through the methods; each change is announced once, by name, through
    ``changed``: ``store``, ``selection``, ``window``, ``cursor``, ``filter``, ``labels``, ``attributions``, ``explaining``,
    ``conventions``, ``saved`` or ``live``, or the topic of which the model's process told something (``live.told``). A listener
    only marks itself stale.

    Attributes
    ----------
    store : Store
    jobs : Jobs
        Where panels put their queries; keys start with the panel's id.
    path : Path or None
        The file, if there is one.
    selection : Selection
        ``$0``.
    window : tuple of int or None
        The brushed passes first…last (end excluded); None for all.
    cursor : int or None
        The pass at which the replay stands; None when it isn't in use. Panels then show the routing up to and including it.
    filter : Filter
    labelling : Labelling
        Names passes and tokens.
    conventions : Conventions
        By which definitions panels show a balance.
    explanations : Explanations
        What was explained of tokens: kept, and saved with the capture.
    explaining : Explaining
        Asks the model for explanations, and finds those that there are.
    overriding : Overriding
        What overrides act on the model, and how to change them.
    live : Live or None
        The model that fills the store, or None for a file.
    scratch : Path or None
        The scratch capture behind the store, which is thrown away at the end unless it is saved.
    saved : Holding
        How much of what a scratch capture holds was saved so far.
    """

    def __init__(self, store: Store, jobs: Jobs, path: Path | None = None) -> None:
        self.store = store
        self.jobs = jobs
        self.path = path
        self._long_jobs: Jobs | None = None
        self.selection: Selection = NOTHING
        self.window: tuple[int, int] | None = None
        self.cursor: int | None = None
        self.filter: Filter = NO_FILTER
        self.conventions = Conventions()
        self.live: Live | None = None
        self.scratch: Path | None = None
        self.saved = Holding()
        self.changed: Event[str] = Event()
        self.labelling = Labelling(store, jobs, self.changed)
        self.explanations = Explanations(store, jobs, self.changed)
        self.explaining = Explaining(store, jobs, self.explanations, lambda: self.live, self.changed)
        self.overriding = Overriding(self)
        self._history: deque[Selection] = deque(maxlen=HISTORY)

    @property
    def long_jobs(self) -> Jobs:
        """Where panels put work of many seconds, so that their questions are answered meanwhile; a thread of its own."""
        if self._long_jobs is None:
            self._long_jobs = self.jobs.sibling()
        return self._long_jobs

    @property
    def idle(self) -> bool:
        """Whether every question is answered."""
        return self.jobs.idle and (self._long_jobs is None or self._long_jobs.idle)

    @property
    def title(self) -> str:
        """The store's name."""
        return self.store.name

    @property
    def label(self) -> str:
        """The name with its state: ``●`` a model is attached, ``○`` it was or none ever was, ``*`` something is unsaved."""
        sign = "" if self.live is None else "○ " if self.live.ended or not self.live.attached else "● "
        return f"{sign}{self.title}{' *' if self.unsaved else ''}"

    @property
    def holding(self) -> Holding:
        """How much there is to be saved, of a scratch capture; whatever else is said of a file is kept beside it at once."""
        return Holding(self.store.n_passes, self.explanations.given, self.labelling.changes)

    @property
    def unsaved(self) -> Holding:
        """What would be lost with the session."""
        return self.holding.beyond(self.saved) if self.scratch is not None else Holding()

    def take_saved(self, saved: Holding) -> None:
        """Take note that so much was saved."""
        self.saved = saved
        self.changed.emit("saved")

    @property
    def history(self) -> tuple[Selection, ...]:
        """The last selections, ``$0`` first."""
        return tuple(self._history)

    @property
    def span(self) -> tuple[int, int]:
        """The passes in view, first…last (end excluded): the brushed ones, or all, and none after the cursor."""
        first, last = self.window or (0, self.store.n_passes)
        if self.cursor is not None:
            last = min(last, self.cursor + 1)
            first = min(first, last)
        return first, last

    def select(self, selection: Selection) -> None:
        """Make ``selection`` ``$0``; what it leaves open is kept from the one before where that makes sense."""
        merged = selection if selection == NOTHING else selection.with_context(self.selection)
        if merged == self.selection:
            return
        self.selection = merged
        self._history.appendleft(merged)
        self.changed.emit("selection")

    def brush(self, window: tuple[int, int] | None) -> None:
        """Restrict the view to passes first…last (end excluded), or to none with None."""
        if window is not None:
            first = max(0, min(window[0], self.store.n_passes - 1))
            window = (first, max(first + 1, min(window[1], self.store.n_passes)))
            if window == (0, self.store.n_passes):
                window = None
        if window != self.window:
            self.window = window
            self.changed.emit("window")

    def seek(self, cursor: int | None) -> None:
        """Put the replay cursor on a pass, or take it away with None."""
        if cursor is not None:
            cursor = max(0, min(cursor, self.store.n_passes - 1)) if self.store.n_passes else None
        if cursor != self.cursor:
            self.cursor = cursor
            self.changed.emit("cursor")

    def set_filter(self, new: Filter) -> None:
        """Show only what matches ``new``."""
        if new != self.filter:
            self.filter = new
            self.changed.emit("filter")

    def choose_conventions(self, new: Conventions) -> None:
        """Show balances by other definitions."""
        if new != self.conventions:
            self.conventions = new
            self.changed.emit("conventions")

    def close(self) -> None:
        """Stop the session's jobs and close its store."""
        self.explaining.cancel()
        self.jobs.close()
        if self._long_jobs is not None:
            self._long_jobs.close()
        if self.live is not None:
            self.live.close()
        close = getattr(self.store, "close", None)
        if close is not None:
            close()
