"""What one kernel's link brings, sorted into a live stream for each attached model."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from moedesk.core.batch import RouteBatch
from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.core.training import TrainingStep
from moedesk.session.conversation import Conversation, Outcome
from moedesk.session.kernel import Kernel
from moedesk.session.live_stream import LiveStream
from moedesk.session.scratch import Scratch

Deliver = Callable[[Callable[[], None]], None]
Added = Callable[["Feed", LiveStream, LiveStream | None], None]


class Feed:
    """Implements ``moedesk.link.receiver.Receiver``; made before its kernel, and told of it by ``use``.

    Parameters
    ----------
    scratch : Scratch
    deliver : callable
        Runs a function in the GUI thread.
    wake : callable
        Asks for a tick; from any thread.
    added : callable
        In the GUI thread: takes this feed, a stream to show in a session of its own, and the stream whose place it takes.
    revealed : callable
        In the GUI thread: takes the fields of a selection that the user asked to see.

    Attributes
    ----------
    conversation : Conversation
        What is said with the kernel beside routing.
    """

    def __init__(
        self,
        scratch: Scratch,
        deliver: Deliver,
        wake: Callable[[], None],
        added: Added,
        revealed: Callable[["Feed", Mapping[str, Any]], None],
    ) -> None:
        self._scratch, self._deliver, self._wake = scratch, deliver, wake
        self._added, self._revealed = added, revealed
        self._lock = threading.RLock()
        self._streams: dict[int, LiveStream] = {}
        self.streams: tuple[LiveStream, ...] = ()
        """Every stream that a session shows; replaced as a whole, so that the GUI reads it without a lock."""
        self.stopped: tuple[LiveStream, ...] = ()
        """Streams whose model went with its process."""
        self._kernel: Kernel | None = None
        self.conversation = Conversation(deliver, lambda: None if self._kernel is None else self._kernel.client)
        self.conversation.changed.connect(self._announce_topic)

    def use(self, kernel: Kernel) -> None:
        """Say whose link this is."""
        self._kernel = kernel

    def prepare(self, name: str) -> None:
        """Make the stream that the first attached model will fill; in a worker."""
        with self._lock:
            if not self.streams:
                self._show(self._new(name), None)

    def name_unused(self, title: str) -> None:
        """Call sessions that wait for a model after their kernel; in the GUI thread."""
        for stream in self.streams:
            if not stream.used and stream.number is None and stream.store.name != title:
                stream.name = stream.store.name = title
                self._renamed(stream)

    def stop(self, why: str) -> None:
        """No model is attached any more; in a worker, or on the link's thread."""
        with self._lock:
            ended = tuple(self._streams.values())
            self._streams.clear()
            self.stopped = (*(stream for stream in self.stopped if stream not in ended), *ended)
            for stream in ended:
                stream.end(why)

    def explain(self, why: str) -> None:
        """Say why the model of streams that ended with their process went; in a worker."""
        with self._lock:
            for stream in self.stopped:
                stream.end(why)

    def begin_anew(self, stream: LiveStream) -> None:
        """Put a new stream, with an empty capture, in the place of one; in a worker."""
        new = self._new(stream.name)
        with self._lock:
            new.recording, new.follow, new.preserve = stream.recording, stream.follow, stream.preserve
            number = stream.number
            stream.hand_over(new)
            self.stopped = tuple(other for other in self.stopped if other is not stream)
            if number is not None:
                self._streams[number] = new
            self._replace(stream, new)

    def forget(self, stream: LiveStream) -> None:
        """Take no more passes of a stream: its session was closed; in a worker."""
        with self._lock:
            self.streams = tuple(other for other in self.streams if other is not stream)
            self.stopped = tuple(other for other in self.stopped if other is not stream)
            for number in [number for number, other in self._streams.items() if other is stream]:
                del self._streams[number]

    # Receiver, on the link's thread

    def connected(self, about: Mapping[str, Any]) -> None:
        """The server said hello."""

    def opened(self, stream: int, name: str) -> None:
        """A model was attached."""
        with self._lock:
            target = next((old for old in self.streams if not old.used and old.number is None), None)
            target = target or next((old for old in self.streams if old.number is None and old.preserve), None)
            replaced = next((old for old in self.streams if old.detached), None)
            if target is None:
                target = self._new(name)
                if replaced is not None:
                    self._replace(replaced, target)
                else:
                    self._show(target, None)
            self._take(stream, target, name)

    def _take(self, number: int, target: LiveStream, name: str) -> None:
        self._streams[number] = target
        self.stopped = tuple(stream for stream in self.stopped if stream is not target)
        target.open(number, name)
        if not target.recording:
            self._ask_to_record(target, False)
        self._deliver(lambda: self._renamed(target))

    def described(self, stream: int, model: ModelInfo) -> None:
        """What the model is; one with other layers than those preserved gets a stream of its own."""
        with self._lock:
            target = self._streams.get(stream)
            if target is not None and not target.fits(model):
                name = target.name
                target.end("another model was attached")
                target = self._new(name)
                self._show(target, None)
                self._take(stream, target, name)
            if target is not None:
                target.describe(model)

    def texts(self, stream: int, ids: np.ndarray, texts: Sequence[bytes]) -> None:
        """Bytes of token ids."""
        self._do(stream, lambda target: target.add_texts(ids, texts))

    def arrived(self, stream: int, batch: RouteBatch) -> None:
        """The routing of one pass."""
        self._do(stream, lambda target: target.append(batch))

    def stepped(self, stream: int, step: TrainingStep) -> None:
        """One training step."""
        self._do(stream, lambda target: target.append_step(step))

    def noted(self, stream: int, line: str) -> None:
        """One line that says what is missing or special."""
        self._do(stream, lambda target: target.note(line))

    def counted(self, stream: int, counters: Counters) -> None:
        """The sender's counters."""
        self._do(stream, lambda target: target.count(counters))

    def ended(self, stream: int) -> None:
        """The model was detached."""
        self._do(stream, lambda target: target.end("the model was detached; everything it sent is here", detached=True))
        with self._lock:
            self._streams.pop(stream, None)
        self.conversation.take_ended(stream)

    def revealed(self, place: Mapping[str, Any]) -> None:
        """The user asked to see something."""
        self._deliver(lambda: self._revealed(self, place))

    def answered(self, request: int, text: str, ok: bool) -> None:
        """The value of a live expression."""
        if self._kernel is not None:
            self._kernel.answer(request, text, ok)

    def told(self, topic: str, value: Mapping[str, Any], stream: int) -> None:
        """How things stand with a topic of a model."""
        self.conversation.take_told(topic, value, stream)

    def progressed(self, request: int, share: float, text: str) -> None:
        """How far a task is."""
        self.conversation.take_progress(request, share, text)

    def finished(
        self, request: int, ok: bool, text: str, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> None:
        """What a task gave."""
        self.conversation.take_finished(request, Outcome(ok, text, value, arrays))

    def explained(self, stream: int, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """What was explained in the console."""
        with self._lock:
            target = self._streams.get(stream)

        def take() -> None:
            if target is not None and target.session is not None:
                target.session.explaining.take(value, arrays)

        self._deliver(take)

    def lost(self, reason: str) -> None:
        """The link is gone; what came stays."""
        self.stop(reason)
        self.conversation.take_end(reason)
        if self._kernel is not None:
            self._kernel.link_lost(reason)

    def _do(self, number: int, work: Callable[[LiveStream], None]) -> None:
        # Held while a pass waits for the disk: whoever swaps streams meanwhile is a worker, and waits as well.
        with self._lock:
            target = self._streams.get(number)
            if target is not None:
                work(target)

    def _new(self, name: str) -> LiveStream:
        return LiveStream(self._scratch, name, self._wake, self._ask_to_record, self._anew, self.conversation)

    def _anew(self, stream: LiveStream) -> None:
        threading.Thread(target=self.begin_anew, args=(stream,), name="moedesk-clear", daemon=True).start()

    def _ask_to_record(self, stream: LiveStream, on: bool) -> None:
        client = None if self._kernel is None else self._kernel.client
        if stream.number is not None and client is not None:
            client.request("record", {"stream": stream.number, "on": on})

    def _show(self, stream: LiveStream, instead_of: LiveStream | None) -> None:
        if instead_of is None:
            self.streams = (*self.streams, stream)
        self._deliver(lambda: self._added(self, stream, instead_of))

    def _replace(self, old: LiveStream, new: LiveStream) -> None:
        self.streams = tuple(new if stream is old else stream for stream in self.streams)
        self._show(new, old)

    def _renamed(self, stream: LiveStream) -> None:
        if stream.session is not None:
            stream.session.changed.emit("live")
            stream.announce_topics()

    def _announce_topic(self, told: tuple[str, int]) -> None:
        topic, number = told
        if topic == "stopped" and self._kernel is not None:
            self._kernel.take_stop(any(value for (name, _), value in self.conversation.told.items() if name == topic))
        for stream in self.streams:
            if stream.session is not None and stream.number is not None and number in (0, stream.number):
                stream.session.changed.emit(topic)
