"""Writes a capture from a thread of its own, so that the model never waits for gzip or the disk."""

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, Self

import numpy as np

from moedesk.capture.file import free_bytes, reason
from moedesk.capture.live import LiveCapture
from moedesk.capture.recording import Recording
from moedesk.capture.schema import State
from moedesk.core.batch import RouteBatch
from moedesk.core.label import Label
from moedesk.core.model import ModelInfo
from moedesk.core.training import TrainingStep
from moedesk.core.vocabulary import Texts, Unseen

FLUSH_SECONDS = 0.25
"""Between two commits while data comes in: a kill loses at most this and the time a commit takes."""
QUEUE_BYTES = 256 << 20
"""``append`` waits when more than this is queued: the disk is slower than the model."""
PUBLISH_SECONDS = 0.005
"""At most so old is what a ``LiveCapture`` may go on to while the writer is busy."""
CHECK_BYTES = 512 << 10
"""The free space of the disk is looked at after so many bytes; ``file.RESERVE_BYTES`` is more."""


class CaptureWriter:
    """A capture being written.

    Calls return at once; their work is done in order in the writer's thread. If that fails (a full disk), the writer stops:
    what is committed stays readable, ``stopped`` says why, and later calls are ignored.

    Parameters
    ----------
    path : path-like
        File to write; an existing one is replaced.
    vocabulary : callable or None
        Gives the bytes of token ids; called in the thread that calls ``append``, once for each id.
    store_logits : bool
    weights : "exact" or "float16"
        ``exact`` keeps weights, entropy, margin and logits as float32, ``float16`` halves them.
    byte_budget : int or None
        Beyond it only counts are recorded.
    compress : bool
        Whether chunks are compressed; without, the file is several times as large and its writing much faster.
    queue_bytes : int
        ``append`` waits while more than this is queued.

    Raises
    ------
    CaptureError
        If the file can't be written there.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        vocabulary: Texts | None = None,
        store_logits: bool = False,
        weights: Literal["exact", "float16"] = "exact",
        byte_budget: int | None = None,
        compress: bool = True,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.path = Path(path)
        self._recording = Recording(self.path, weights == "float16", store_logits, byte_budget, compress)
        self._contents = self._recording.contents()
        self._next_publish = 0.0
        self._unchecked_bytes = CHECK_BYTES
        self._vocabulary = vocabulary
        self._unseen = Unseen()
        self._stopped = ""
        self._size = self._recording.file.size()
        self._jobs: deque[tuple[int, Callable[[], None]]] = deque()
        self._queued_bytes, self._most_bytes = 0, queue_bytes
        self._waiting = 0  # calls of append that wait for the queue
        self._asked = self._flushed = 0  # numbers of the last flush asked for and done
        self._closing = self._closed = False
        lock = threading.Lock()
        self._work, self._done = threading.Condition(lock), threading.Condition(lock)
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="moedesk-capture-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def stopped(self) -> str | None:
        """Why nothing more is written, in one line; None while all is well."""
        return self._stopped or None

    @property
    def bytes_written(self) -> int:
        """Size of the file at the last commit."""
        return self._size

    @property
    def queued_bytes(self) -> int:
        """What was appended and is not written yet."""
        return self._queued_bytes

    def live(self) -> LiveCapture:
        """Return a store of what this writer has taken so far, for this process; close it when it is no longer needed."""
        return LiveCapture(self.path, self._recording.file, lambda: self._contents)

    def describe(self, model: ModelInfo) -> None:
        """Say what is recorded; again when more layers or streams turned up. Comes before the first ``append``."""
        self._put(0, lambda: self._recording.describe(model))

    def append(self, batch: RouteBatch) -> None:
        """Add the routing of one pass. Its arrays must not change afterwards. It waits while too much is queued."""
        if self._vocabulary is not None and not self._stopped:
            for tokens in batch.tokens.values():
                self._ask_texts(self._vocabulary, tokens["token_id"])
        self._put(batch.nbytes, lambda: self._recording.append(batch))

    def append_step(self, step: TrainingStep) -> None:
        """Add one training step, after its passes. Its arrays must not change afterwards."""
        size = step.row.nbytes + sum(norms.gradients.nbytes + norms.outputs.nbytes for norms in step.layers)
        self._put(size, lambda: self._recording.append_step(step))

    def add_label(self, label: Label) -> None:
        """Label passes or token rows that are there."""
        self._put(0, lambda: self._recording.add_label(label))

    def add_texts(self, ids: np.ndarray, texts: Sequence[bytes]) -> None:
        """Add the bytes of token ids; those that are known already, or negative, are left out.

        Raises
        ------
        ValueError
            If there are not as many texts as ids.
        """
        given = dict(zip(ids.tolist(), texts, strict=True))
        new = self._unseen.take(ids)
        if len(new):
            found = [given[token_id] for token_id in new.tolist()]
            self._put(sum(map(len, found)), lambda: self._recording.add_texts(new, found))

    def note(self, line: str) -> None:
        """Keep one line in the file that says what is missing or special."""
        self._put(0, lambda: self._recording.note(line))

    def flush(self) -> None:
        """Return when everything so far is committed (or the writer stopped)."""
        if not self._is_here():
            return
        with self._done:
            self._asked += 1
            wanted = self._asked
            self._work.notify()
            self._done.wait_for(lambda: self._flushed >= wanted or self._closed)

    def close(self) -> None:
        """Write what is pending, mark the file complete (unless the writer stopped) and close it. Twice is harmless."""
        if not self._is_here():
            return
        with self._work:
            self._closing = True
            self._work.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        atexit.unregister(self.close)

    def _is_here(self) -> bool:
        """Whether this is the process that opened the file, not a fork of it (such as a data loader's worker)."""
        return os.getpid() == self._process

    def _ask_texts(self, vocabulary: Texts, ids: np.ndarray) -> None:
        new = self._unseen.take(ids)
        if not len(new):
            return
        try:
            texts = vocabulary(new)
            if len(texts) != len(new):
                raise ValueError(f"{len(texts)} texts for {len(new)} ids")
        except Exception as error:  # whatever a tokenizer raises must not reach the model
            self._vocabulary = None
            self.note(f"token texts are missing from here on: {type(error).__name__}: {error}")
            return
        self._put(0, lambda: self._recording.add_texts(new, texts))

    def _put(self, size: int, job: Callable[[], None]) -> None:
        if not self._is_here():
            return
        with self._work:
            if self._stopped or self._closing:
                return
            if self._queued_bytes >= self._most_bytes:  # then wait for half: not for a turn a job
                self._waiting += 1
                self._done.wait_for(lambda: self._queued_bytes <= self._most_bytes // 2 or self._closed)
                self._waiting -= 1
            self._jobs.append((size, job))
            self._queued_bytes += size
            self._work.notify()

    # in the writer's thread

    def _run(self) -> None:
        next_commit = time.monotonic() + FLUSH_SECONDS
        dirty = False
        while True:
            with self._work:
                wait = max(0.0, next_commit - time.monotonic()) if dirty else None
                self._work.wait_for(lambda: self._jobs or self._closing or self._asked > self._flushed, wait)
                jobs, asked, closing = tuple(self._jobs), self._asked, self._closing
                self._jobs.clear()
            for size, job in jobs:
                dirty |= self._attempt(job, size)
                with self._done:
                    self._queued_bytes -= size
                    if self._waiting and self._queued_bytes <= self._most_bytes // 2:
                        self._done.notify_all()
                now = time.monotonic()
                if now >= self._next_publish:
                    self._publish(now)
                if dirty and (now >= next_commit or self._is_good_moment(next_commit - now)):
                    dirty, next_commit = self._commit()
            if jobs:
                self._publish(time.monotonic())
            if closing:
                break
            if dirty and (asked > self._flushed or time.monotonic() >= next_commit):
                dirty, next_commit = self._commit()
            with self._done:
                self._flushed = asked if not dirty else self._flushed
                self._done.notify_all()
        self._finish()

    def _is_good_moment(self, until_commit: float) -> bool:
        """Whether the next commit should rather be now: in the second half of the time until it, when it costs least."""
        return until_commit < FLUSH_SECONDS / 2 and self._recording.file.has_short_tails

    def _publish(self, now: float) -> None:
        """Let live captures go on to what was done so far."""
        if not self._stopped:
            self._contents = self._recording.contents()
            self._next_publish = now + PUBLISH_SECONDS

    def _attempt(self, job: Callable[[], None], size: int) -> bool:
        """Do one job; stop if it fails. Returns whether there is something to commit."""
        if self._stopped:
            return False
        try:
            self._unchecked_bytes += size
            if self._unchecked_bytes >= CHECK_BYTES:
                self._unchecked_bytes = 0
                if self._recording.file.lacks_space(size):
                    raise OSError(f"the disk is full ({free_bytes(self.path) / 2**20:.1f} MiB left)")
            job()
        except Exception as error:
            self._stop(error)
            return False
        return True

    def _commit(self) -> tuple[bool, float]:
        if not self._stopped:
            try:
                self._recording.commit()
                self._size = self._recording.file.size()
            except Exception as error:
                self._stop(error)
        return False, time.monotonic() + FLUSH_SECONDS

    def _stop(self, error: Exception) -> None:
        """Give up writing; what came before stays in the file."""
        said = reason(error) if isinstance(error, OSError | RuntimeError) else f"{type(error).__name__}: {error}"
        passes = self._recording.passes
        self._stopped = f"recording stopped after {passes:,} passes: {said.splitlines()[0]}"
        try:
            self._recording.note(self._stopped)
            self._recording.close(State.STOPPED)
            self._size = self._recording.file.size()
        except Exception:  # the disk refuses even that: the last commit stands
            self._recording.file.abandon()
        self._contents = self._recording.contents(State.STOPPED)

    def _finish(self) -> None:
        if not self._stopped:
            try:
                self._recording.close(State.COMPLETE)
                self._size = self._recording.file.size()
                self._contents = self._recording.contents(State.COMPLETE)
            except Exception as error:
                self._stop(error)
        with self._done:
            self._closed = True
            self._done.notify_all()
