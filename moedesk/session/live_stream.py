"""One attached model as it arrives: written to a scratch capture on the link's thread, shown from the GUI's."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from moedesk.capture.live import LiveCapture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.batch import RouteBatch
from moedesk.core.live import Counters
from moedesk.core.model import ModelInfo
from moedesk.core.training import TrainingStep
from moedesk.session.conversation import Conversation, Done, Progress
from moedesk.session.live import TOPICS
from moedesk.session.scratch import Scratch
from moedesk.session.session import Session

QUEUE_BYTES = 64 << 20
"""What may wait for the disk; beyond it the link waits, and the model's side sheds rows."""
NOTHING_ATTACHED = "no model is attached; type moe.attach() in the console"


class LiveStream:
    """Implements ``moedesk.session.live.Live``, and takes one stream of a link.

    Methods under "on the link's thread" may wait for the disk; all others are for the GUI thread and never wait.

    Parameters
    ----------
    scratch : Scratch
    name : str
    wake : callable
        Asks for a tick; called from any thread, at most once until ``publish``.
    request : callable
        Sends a request about this stream to the model's process.
    begin_anew : callable
        Takes this stream; puts a new one, with an empty capture, in its place.
    conversation : Conversation
        What else is said with the model's process.

    Attributes
    ----------
    store : LiveCapture
    session : Session or None
        The one that shows it.
    number : int or None
        The link's number of the attached model; None before a model is attached and after it was detached.
    """

    def __init__(
        self,
        scratch: Scratch,
        name: str,
        wake: Callable[[], None],
        request: Callable[["LiveStream", bool], None],
        begin_anew: Callable[["LiveStream"], None],
        conversation: Conversation,
    ) -> None:
        self.recording, self.paused, self.follow, self.preserve = True, False, True, False
        self.ended = ""
        self.counters = Counters()
        self.session: Session | None = None
        self.number: int | None = None
        self.name = name
        self.path = scratch.new(name)
        self._writer = CaptureWriter(
            self.path, byte_budget=scratch.byte_budget(), compress=False, queue_bytes=QUEUE_BYTES
        )
        self.store: LiveCapture = self._writer.live()
        self.store.name = name
        self._wake, self._request, self._begin_anew = wake, request, begin_anew
        self._conversation = conversation
        self._model: ModelInfo | None = None
        self._texts: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._asked = False  # for a tick
        self._counters = self.counters
        self._ended = self.ended
        self._received = 0
        self._raw = self._before = (
            Counters()
        )  # as sent; what happened before the app connected, or before this capture began
        self._listening = False  # no pass came since the model was attached
        self.detached = False
        """Whether the user detached the model, so that the next one may take its place."""
        self._sequences = self.first_sequence = 0

    # On the link's thread

    @property
    def used(self) -> bool:
        """Whether a model was ever attached."""
        return self._model is not None

    def open(self, number: int, name: str) -> None:
        """Take the passes of a model from now on, after those of an earlier one."""
        self.number, self.name = number, name
        self.store.name = name.rstrip("/").rpartition("/")[2] or name  # of a path or org/model, what a tab has room for
        self.first_sequence = self._sequences
        self.detached = False
        self._raw = self._before = Counters()
        self._listening = True
        self._say_ended("")

    def fits(self, model: ModelInfo) -> bool:
        """Whether passes of a model can follow those that are here."""
        if self._model is None or not self._model.layers or not model.layers:
            return True
        return _shape(self._model) == _shape(model)[: len(self._model.layers)]

    def describe(self, model: ModelInfo) -> None:
        """Take what the model is."""
        if self._model is not None and len(model.layers) < len(self._model.layers):
            return  # attached anew; its layers are the ones known, they only have not run yet
        self._model = model
        self._writer.describe(model)
        self._ask()

    def add_texts(self, ids: np.ndarray, texts: Sequence[bytes]) -> None:
        """Take the bytes of token ids."""
        self._texts.update(zip(ids.tolist(), texts, strict=True))
        self._writer.add_texts(ids, texts)

    def append(self, batch: RouteBatch) -> None:
        """Take the routing of one pass."""
        tokens = {}
        for stream, rows in batch.tokens.items():
            if self.first_sequence and len(rows):
                rows = rows.copy()
                rows["sequence"][rows["sequence"] >= 0] += self.first_sequence
            if len(rows):
                self._sequences = max(self._sequences, int(rows["sequence"].max()) + 1)
            tokens[stream] = rows
        self._listening = False
        self._writer.append(replace(batch, tokens=tokens))
        self._received += 1
        self._ask()

    def append_step(self, step: TrainingStep) -> None:
        """Take one training step, after its passes."""
        if self._model is not None:  # a step whose passes came before this app was connected may precede the model
            self._writer.append_step(step)
            self._ask()

    def note(self, line: str) -> None:
        """Take one line that says what is missing."""
        self._writer.note(line)

    def count(self, counters: Counters) -> None:
        """Take the sender's counters; those that come before any pass tell what ran while no app was connected."""
        if self._listening and counters.passes and counters != self._before:
            self._before = counters
            self._writer.note(f"{counters.passes:,} passes ran before this app was connected")
        self._raw = counters
        self._counters = _since(counters, self._before)
        self._ask()

    def end(self, why: str, detached: bool = False) -> None:
        """No more passes come."""
        self.number, self.detached = None, detached
        self._say_ended(why)

    def hand_over(self, other: "LiveStream") -> None:
        """Let another stream go on where this one stands, without its passes."""
        if self._model is not None:
            other.describe(self._model)
        if self._texts:
            other.add_texts(np.fromiter(self._texts, np.int64), list(self._texts.values()))
        other._before = other._raw = self._raw
        other.number, self.number = self.number, None

    def _say_ended(self, why: str) -> None:
        self._ended = why
        self._ask()

    def _ask(self) -> None:
        """Ask for a tick, once until it comes: never a call a pass."""
        with self._lock:
            asked, self._asked = self._asked, True
        if not asked:
            self._wake()

    # On the GUI thread

    @property
    def attached(self) -> bool:
        """Whether a model is attached now."""
        return self.number is not None

    @property
    def waiting(self) -> int:
        """Passes that arrived and are not shown yet."""
        return max(0, self._received - self.store.n_passes)

    def publish(self) -> bool:
        """Show what came since the last time; return whether another tick is wanted."""
        with self._lock:
            self._asked = False
        session = self.session
        if session is None:
            return False
        if (self._counters, self._ended) != (self.counters, self.ended):
            over, self.counters, self.ended = self._ended != self.ended, self._counters, self._ended
            session.changed.emit("live")
            if over:
                self.announce_topics()
        if self.paused:
            return False
        if self.store.publish():
            session.changed.emit("store")
        return self.waiting > 0 and self._writer.stopped is None

    @property
    def link_dropped(self) -> str:
        """What was left out on the way, in one line; empty if nothing."""
        counters = self.counters
        parts = []
        if counters.spared:
            parts.append(f"{counters.spared:,} passes came without entropy and margin")
        if counters.shed:
            parts.append(f"{counters.shed:,} passes came as counts only")
        if counters.dropped:
            parts.append(f"{counters.dropped:,} passes did not come at all")
        if not parts and self._writer.stopped is None:
            return ""
        if self._writer.stopped is not None:
            parts.append(self._writer.stopped)
        rows = f" ({counters.dropped_tokens:,} token rows): the model ran faster than they could be taken"
        return " and ".join(parts) + (rows if counters.dropped_tokens else "")

    def set_recording(self, on: bool) -> None:
        """Start or stop taking passes; the hooks stay."""
        if on != self.recording:
            self.recording = on
            self._request(self, on)
            self._announce()

    def set_paused(self, on: bool) -> None:
        """Hold the display, or let it catch up."""
        if on != self.paused:
            self.paused = on
            self._announce()
            if not on:
                self._wake()

    def set_follow(self, on: bool) -> None:
        """Keep the newest pass in sight, or not."""
        if on != self.follow:
            self.follow = on
            self._announce()

    def set_preserve(self, on: bool) -> None:
        """Keep passes over a new attach, or not."""
        if on != self.preserve:
            self.preserve = on
            self._announce()

    def told(self, topic: str) -> Mapping[str, Any]:
        """Return how things stand with a topic in the model's process; empty if it said nothing, or no model is attached."""
        return self._conversation.about(topic, self.number) if self.number is not None else {}

    def order(self, topic: str, value: Mapping[str, Any]) -> None:
        """Have something done there at once, also while a cell runs; see ``Conversation.order``."""
        number = self.number
        if number is not None:
            self._conversation.order(topic, {**value, "stream": number})

    def ask(
        self, name: str, value: Mapping[str, Any], done: Done, progress: Progress | None = None
    ) -> Callable[[], None]:
        """Have a task done there between cells; returns what cancels it; see ``Conversation.ask``."""
        number = self.number
        if number is None:
            return self._conversation.refuse(done, self.ended or NOTHING_ATTACHED)
        return self._conversation.ask(name, {**value, "stream": number}, done, progress)

    def announce_topics(self) -> None:
        """Say that what is told of every topic may be news: a model was attached, or let go."""
        if self.session is not None:
            for topic in TOPICS:
                self.session.changed.emit(topic)

    def clear(self) -> None:
        """Begin with an empty capture; the one before stays reachable through "Undo close"."""
        self._begin_anew(self)

    def _announce(self) -> None:
        if self.session is not None:
            self.session.changed.emit("live")

    # In a worker

    def close(self) -> None:
        """Finish the scratch capture; it stays on the disk."""
        self._writer.close()


def _shape(model: ModelInfo) -> list[tuple[str, int, int, str]]:
    return [(layer.path, layer.experts, layer.top_k, layer.stream) for layer in model.layers]


def _since(now: Counters, before: Counters) -> Counters:
    grown = {field.name: getattr(now, field.name) - getattr(before, field.name) for field in fields(Counters)}
    return replace(now, **{**grown, "queued_bytes": now.queued_bytes})
