"""The thread that takes recorded passes from the model's thread to the sink: waits for copies, makes batches."""

import os
import threading
from collections import deque
from typing import Protocol

from moedesk.core.batch import RouteBatch
from moedesk.core.model import ModelInfo
from moedesk.probe.batch import BatchMaker, RecordedPass

QUEUE_BYTES = 256 << 20
"""The model's next pass waits while more than this is on its way: a capture is complete, however slow the disk."""


class Sink(Protocol):
    """What batches are given to; ``capture.writer.CaptureWriter`` is one."""

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
    """Delivers models, passes and notes to a sink, in order, from a thread of its own."""

    def __init__(self, sink: Sink, maker: BatchMaker) -> None:
        self._sink = sink
        self._maker = maker
        self._jobs: deque[tuple[int, ModelInfo | RecordedPass]] = deque()
        self._bytes = 0
        self._closing = False
        self._change = threading.Condition()
        self._failure: str | None = None
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="moedesk-courier", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why no more passes are delivered, in one line, or None."""
        return self._failure or self._sink.stopped

    def describe(self, model: ModelInfo) -> None:
        """Deliver what the model is."""
        self._put(0, model)

    def deliver(self, recorded: RecordedPass) -> None:
        """Deliver a pass; waits while too much is on its way."""
        self._put(_bytes_of(recorded), recorded)

    def close(self) -> None:
        """Deliver what is left, then the maker's notes, and end the thread."""
        if os.getpid() != self._process:  # a fork has no such thread
            return
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join()
        for line in self._maker.notes:
            self._sink.note(line)

    def _put(self, size: int, job: ModelInfo | RecordedPass) -> None:
        if os.getpid() != self._process:
            return
        with self._change:
            self._change.wait_for(lambda: self._bytes < QUEUE_BYTES)
            self._jobs.append((size, job))
            self._bytes += size
            self._change.notify_all()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    return
                size, job = self._jobs.popleft()
            if self.failure is None:
                try:
                    self._do(job)
                except Exception as error:  # the model goes on; the capture keeps what it has
                    self._failure = f"recording stopped: {type(error).__name__}: {error}"
                    self._sink.note(self._failure)
            del job
            with self._change:
                self._bytes -= size
                self._change.notify_all()

    def _do(self, job: ModelInfo | RecordedPass) -> None:
        if isinstance(job, ModelInfo):
            self._maker.places = {layer.experts_path: layer.place for layer in job.layers}
            self._sink.describe(job)
        else:
            self._sink.append(self._maker.make(job))


def _bytes_of(recorded: RecordedPass) -> int:
    tensors = [
        tensor
        for group in recorded.groups
        for tensor in (group.ids, group.weights, group.entropy, group.margin, group.logits)
        if tensor is not None
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
