"""The thread that takes recorded passes from the model's thread to the sink: waits for copies, makes batches."""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

import numpy as np

from moedesk.core.batch import RouteBatch
from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.probe.taking.batch import BatchMaker, RecordedPass
from moedesk.probe.taking.cost import Cost
from moedesk.probe.taking.room import Room
from moedesk.probe.taking.tap import Piece
from moedesk.probe.taking.tokens import HostCall
from moedesk.probe.training.steps import RecordedStep

WAIT_BYTES = 256 << 20
"""A recording's next pass waits while more than this is on its way: a capture is complete, however slow the disk."""
SPARE_BYTES = 16 << 20
"""Of a live model, passes above this go without logits, entropies and margins, which cost more than all the rest …"""
SHED_BYTES = 4 * SPARE_BYTES
"""… above this they are only counted …"""
DROP_BYTES = 2 * SHED_BYTES
"""… and above this left out."""
GATHER_SECONDS = 0.01
"""How long short passes gather. The model's thread and this one take the interpreter's lock from one another in every operation
while both work; in turns of several passes that happens less often."""
LONG_BYTES = 1 << 20
"""A pass of this size is worked on at once."""
CLOSE_SECONDS = 2.0
"""A live model is let go without what a sink that hangs didn't take in this time."""


class Sink(Protocol):
    """What batches are given to; ``capture.writer.CaptureWriter`` is one.

    A sink may have a method ``append_step(step)`` that takes a ``core.training.TrainingStep`` after its passes; a method
    ``count(**increments)`` that takes what was added to the fields of ``core.live.Counters``; and ``counters``, a ``Counters`` of
    that and of what the sink itself left out.
    """

    @property
    def stopped(self) -> str | None:
        """Why nothing more is taken, in one line, or None."""

    def describe(self, model: ModelInfo) -> None:
        """Take the model; called again when more layers turned up."""

    def append(self, batch: RouteBatch) -> None:
        """Take the routing of one pass."""

    def note(self, line: str) -> None:
        """Take one line that says what is missing or special."""

    def close(self) -> None:
        """Finish."""


class Courier:
    """Delivers models, passes and notes to a sink, in order, from a thread of its own.

    Nothing here takes a lock that the thread holds while it works, so that handing over costs the model a microsecond.

    Parameters
    ----------
    sink : Sink
        Closed by the thread, when it ends.
    maker : BatchMaker
    cost : Cost
        Its growth is told to the sink.
    waits : bool
        Whether the model waits while too much is on its way; if not, ``room`` says what it may still hand over.
    """

    def __init__(self, sink: Sink, maker: BatchMaker, cost: Cost, waits: bool = True) -> None:
        self._sink = sink
        self._maker = maker
        self._cost, self._told = cost, Cost()
        self._waits = waits
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._given = self._done = 0  # bytes; each is written by one thread
        self._passes_given = self._passes_done = 0
        self._eased, self._hurry = threading.Event(), threading.Event()
        self._last: Sequence[str] = ()
        self._failure: str | None = None
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="moedesk-courier", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why no more passes are delivered, in one line, or None."""
        return self._failure or self._sink.stopped

    @property
    def room(self) -> Room:
        """What may be handed over now; everything if this courier waits."""
        queued = 0 if self._waits else self.queued_bytes
        if queued >= SHED_BYTES:
            return Room.COUNTS if queued < DROP_BYTES else Room.NOTHING
        return Room.ROUTES if queued >= SPARE_BYTES else Room.EVERYTHING

    @property
    def queued_bytes(self) -> int:
        """What is on its way."""
        return self._given - self._done

    @property
    def counters(self) -> Counters:
        """What ran, what was left out, what it cost: here, and in the sink if it says so."""
        said = getattr(self._sink, "counters", None)
        if not isinstance(said, Counters):
            return self._cost.counters(self.queued_bytes)
        untold = self._cost.beyond(self._told)
        sums = {name: getattr(said, name) + added for name, added in untold.items()}
        return Counters(queued_bytes=said.queued_bytes + self.queued_bytes, **sums)

    def describe(self, model: ModelInfo) -> None:
        """Deliver what the model is."""

        def deliver() -> None:
            self._maker.places = {layer.experts_path: layer.place for layer in model.layers}
            self._sink.describe(model)

        self._put(_Job(deliver))

    def note(self, line: str) -> None:
        """Deliver a line that says what is missing or special."""
        self._put(_Job(lambda: self._sink.note(line)))

    def reduce(self, piece: Piece) -> None:
        """Reduce a part of a pass that is still running."""

        def work() -> None:
            piece.groups()

        self._put(_Job(work, piece.pass_on()))

    def deliver(self, recorded: RecordedPass) -> None:
        """Deliver a pass; a courier that waits does so while too much is on its way."""
        whole = not recorded.shed
        self._put(_Job(lambda: self._sink.append(self._maker.make(recorded)), recorded.nbytes, whole))

    def deliver_step(self, recorded: RecordedStep) -> None:
        """Deliver a training step, to a sink that takes any."""
        append_step = getattr(self._sink, "append_step", None)
        if append_step is not None:
            self._put(_Job(lambda: append_step(self._maker.make_step(recorded))))

    def sequences_of(self, calls: Sequence[HostCall], seconds: float) -> list[np.ndarray] | None:
        """Return the sequences of calls of the next pass; waits, so many seconds at most, for the passes before it."""
        if self.failure is not None or os.getpid() != self._process:
            return None
        found: list[list[np.ndarray]] = []
        done = threading.Event()

        def number() -> None:
            try:
                found.append(self._maker.sequences_of(calls))
            finally:
                done.set()

        self._put(_Job(number))
        done.wait(seconds)
        return found[0] if found else None

    def close(self, last: Sequence[str] = ()) -> bool:
        """Deliver what is left, then the maker's notes and ``last``, close the sink and end the thread.

        Returns whether all that is done; a courier that doesn't wait gives up after ``CLOSE_SECONDS``, counts what wasn't
        delivered as dropped, and leaves its thread to the sink.
        """
        if os.getpid() != self._process:  # a fork has no such thread
            return True
        self.end(last)
        if threading.current_thread() is self._thread:
            return False
        self._thread.join(None if self._waits else CLOSE_SECONDS)
        if not self._thread.is_alive():
            return True
        left, self._passes_given = self._passes_given - self._passes_done, self._passes_done
        self._cost.dropped += left
        return False

    def end(self, last: Sequence[str] = ()) -> None:
        """Ask for the same and return at once; a finalizer may call it."""
        self._last = self._last or last
        self._hurry.set()
        self._jobs.put(None)

    def _put(self, job: "_Job") -> None:
        if os.getpid() != self._process:
            return
        while self._waits and self.queued_bytes >= WAIT_BYTES:
            self._eased.clear()
            if self.queued_bytes >= WAIT_BYTES:
                self._eased.wait()
        self._given += job.nbytes
        self._passes_given += job.whole_pass
        self._jobs.put(job)

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                if self.failure is None:
                    self._attempt(job.work)
                self._done += job.nbytes
                self._passes_done += job.whole_pass
                self._eased.set()
                if job.nbytes:
                    self._attempt(self._tell)
                del job
            for line in (*self._maker.notes, *self._maker.outputs.notes, *self._last):
                self._attempt(partial(self._sink.note, line))
            self._attempt(self._tell)
        finally:
            self._sink.close()

    def _next(self) -> "_Job | None":
        """Wait for a job; after a pause for one that had to be waited for, so that those of short passes gather."""
        try:
            return self._jobs.get_nowait()
        except Empty:
            job = self._jobs.get()
        if job is not None and job.nbytes < LONG_BYTES:
            self._hurry.wait(GATHER_SECONDS)
        return job

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # the model goes on; the capture keeps what it has
            self._failure = f"recording stopped: {type(error).__name__}: {error}"
            with contextlib.suppress(Exception):
                self._sink.note(self._failure)

    def _tell(self) -> None:
        """Say what the passes cost and what became of them, to a sink that wants to know."""
        count = getattr(self._sink, "count", None)
        if count is not None:
            added = self._cost.beyond(self._told)
            count(**added)
            self._told.add(added)


class _Job(NamedTuple):
    """Something to do on the courier's thread.

    Attributes
    ----------
    work : function
    nbytes : int
        What it holds until it is done.
    whole_pass : bool
        Whether it delivers a pass that was not shed.
    """

    work: Callable[[], None]
    nbytes: int = 0
    whole_pass: bool = False
