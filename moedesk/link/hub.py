"""What the streams of a process and the clients of its link share: who is there, what is known, what waits."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import zmq

from moedesk.core.live import Counters
from moedesk.link.bell import Bell
from moedesk.link.message import Frames, encode
from moedesk.link.outbox import Fate, Outbox
from moedesk.link.texts import encode_texts

STEPS_LEFT_OUT = "some training steps are missing: the model ran faster than they could be taken"
NOTES = 1000
"""Notes kept for clients that come later."""


@dataclass(eq=False)
class Client:
    """An app that said hello.

    Attributes
    ----------
    number : int
        What handlers of requests are told.
    door : zmq.Socket
        Where it came in; only the server's thread touches it.
    identity : bytes
        Its connection at that door.
    heard_at : float
        Monotonic time of its last sign of life.
    lacks_steps : set of int
        Streams of which it didn't get every training step.
    """

    number: int
    door: zmq.Socket
    identity: bytes
    heard_at: float
    outbox: Outbox = field(default_factory=Outbox)
    lacks_steps: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Record:
    """What is known of a stream: a client that comes later gets this first.

    Attributes
    ----------
    opening, model, notes
        Messages that were sent, to be sent again.
    ids, texts : list
        Token ids that were seen, and the bytes of each.
    counters : Counters
        ``queued_bytes`` apart.
    told : Counters or None
        What all clients know.
    """

    number: int
    opening: Frames
    model: Frames | None = None
    ids: list[int] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    notes: list[Frames] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    told: Counters | None = None

    @property
    def known(self) -> list[Frames]:
        """All of it but the counters, in order."""
        texts = [encode_texts(self.number, self.ids, self.texts)] if self.ids else []
        return [self.opening, *([self.model] if self.model else []), *texts, *self.notes]


class Hub:
    """Records of the streams and outboxes of the clients; every method may be called from any thread and returns at once.

    A fork of the process has a copy that does nothing: its lock may be held by a thread that the fork doesn't have.
    """

    def __init__(self) -> None:
        self.bell = Bell()
        self.failure: str | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._records: dict[int, Record] = {}
        self._clients: dict[tuple[zmq.Socket, bytes], Client] = {}
        self._urgent: list[tuple[Client, Frames]] = []
        self._told: dict[tuple[str, int], Frames] = {}  # by topic and stream
        self.left: Callable[[int], None] = lambda number: None
        """Told the number of each client that leaves."""

    @property
    def alive(self) -> bool:
        """Whether this is the process that made it, and all is well."""
        return self.failure is None and os.getpid() == self._process

    # for streams

    def open(self, name: str) -> Record:
        """Open a stream."""
        with self._lock:
            number = next(self._numbers)
            record = Record(number, encode("opened", {"stream": number, "name": name}))
            self._records[number] = record
            self._send_all(record.opening)
        return record

    def describe(self, record: Record, letter: Frames) -> None:
        """Send the model, and keep it for later clients."""
        with self._lock:
            record.model = letter
            self._send_all(letter)

    def add_texts(self, record: Record, ids: npt.NDArray[np.int64], texts: Sequence[bytes]) -> None:
        """Send texts, and keep them for later clients."""
        letter = encode_texts(record.number, ids, texts)
        with self._lock:
            record.ids += ids.tolist()
            record.texts += texts
            self._send_all(letter)

    def note(self, record: Record, letter: Frames) -> None:
        """Send a note, and keep it for later clients."""
        with self._lock:
            record.notes = [*record.notes, letter][-NOTES:]
            self._send_all(letter)

    def step(self, record: Record, letter: Frames) -> None:
        """Hand a training step to every client that has room; the others are told, once, that steps are missing."""
        with self._lock:
            for client in self._clients.values():
                if client.outbox.offer(letter, None) is Fate.DROPPED and record.number not in client.lacks_steps:
                    client.lacks_steps.add(record.number)
                    client.outbox.put(encode("noted", {"stream": record.number, "line": STEPS_LEFT_OUT}))
        self.bell.ring()

    def wishes(self) -> tuple[bool, bool]:
        """Return whether any client would take a pass whole, and whether any would take its counts only."""
        with self._lock:
            wishes = [client.outbox.wants_rows for client in self._clients.values()]
        return any(wishes), not all(wishes)

    def offer(self, record: Record, full: Frames | None, counts: Frames | None, rows: int) -> None:
        """Hand a pass to every client, as each has room, and count the worst that became of it.

        Parameters
        ----------
        full, counts : Frames or None
            As ``Outbox.offer`` takes them.
        rows : int
            Token rows that are lost with ``full``.
        """
        with self._lock:
            fates = [client.outbox.offer(full, counts) for client in self._clients.values()]
            fate = max(fates, default=Fate.DROPPED)
            if fate is not Fate.SENT:
                lost = {"shed" if fate is Fate.SHED else "dropped": 1, "dropped_tokens": rows}
                record.counters = _added(record.counters, lost)
        if fates:
            self.bell.ring()

    def count(self, record: Record, increments: dict[str, int]) -> None:
        """Add to a stream's counters."""
        with self._lock:
            record.counters = _added(record.counters, increments)

    def counters(self, record: Record) -> Counters:
        """Return a stream's counters."""
        with self._lock:
            return self._counters(record)

    def close(self, record: Record) -> None:
        """End a stream: its last counters, then the end."""
        with self._lock:
            if self._records.pop(record.number, None) is None:
                return
            self._told = {key: letter for key, letter in self._told.items() if key[1] != record.number}
            self._send_all(_counted(record.number, record.counters))  # who reads it finds nothing waiting before it
            self._send_all(encode("ended", {"stream": record.number}))

    def _counters(self, record: Record) -> Counters:
        waiting = max((client.outbox.waiting for client in self._clients.values()), default=0)
        return replace(record.counters, queued_bytes=waiting)

    def _send_all(self, letter: Frames) -> None:
        for client in self._clients.values():
            client.outbox.put(letter)
        self.bell.ring()

    # for the server

    @property
    def clients(self) -> tuple[Client, ...]:
        """Who is connected."""
        with self._lock:
            return tuple(self._clients.values())

    def client(self, door: zmq.Socket, identity: bytes) -> Client | None:
        """Return who is behind a connection, if it said hello."""
        return self._clients.get((door, identity))

    def join(self, door: zmq.Socket, identity: bytes, now: float, welcome: Frames) -> None:
        """Take in a client: it is sent what is known of the streams, and the latest of each topic."""
        with self._lock:
            client = Client(next(self._numbers), door, identity, now)
            self._clients[door, identity] = client
            self._urgent += [(client, letter) for letter in (welcome, *self._told.values())]
            for record in self._records.values():
                for letter in record.known:
                    client.outbox.put(letter)
                client.outbox.put(_counted(record.number, self._counters(record)))

    def leave(self, client: Client) -> None:
        """Forget a client and free what waited for it."""
        with self._lock:
            known = self._clients.pop((client.door, client.identity), None)
        if known is not None:
            self.left(client.number)

    def taken(self, client: Client, nbytes: int) -> None:
        """Note that a client took so many bytes more."""
        with self._lock:
            client.outbox.taken(nbytes)

    def overtake(self, letter: Frames, number: int | None = None) -> int:
        """Send a message at once, to one client or to all; returns to how many."""
        with self._lock:
            chosen = [client for client in self._clients.values() if number in (None, client.number)]
            self._urgent += [(client, letter) for client in chosen]
        self.bell.ring()
        return len(chosen)

    def tell(self, topic: str, stream: int, letter: Frames) -> None:
        """Send the latest of a topic to all at once, and keep it for later clients; nothing of a stream that has ended."""
        with self._lock:
            if stream and stream not in self._records:
                return
            self._told[topic, stream] = letter
            self._urgent += [(client, letter) for client in self._clients.values()]
        self.bell.ring()

    def urgent(self) -> Sequence[tuple[Client, Frames]]:
        """Return, once, what overtakes everything else."""
        with self._lock:
            urgent, self._urgent = self._urgent, []
        return urgent

    def next(self, client: Client) -> Frames | None:
        """Return what to send to a client next, if it may be sent now."""
        with self._lock:
            return client.outbox.next()

    def tell_counters(self) -> None:
        """Send the counters that changed."""
        with self._lock:
            for record in self._records.values():
                counters = self._counters(record)
                if counters != record.told:
                    letter = _counted(record.number, counters)
                    told = [client.outbox.put_counters(record.number, letter) for client in self._clients.values()]
                    record.told = counters if all(told) else None

    def finish(self) -> None:
        """End all streams and say goodbye."""
        for record in tuple(self._records.values()):
            self.close(record)
        with self._lock:
            self._send_all(encode("closed", {}))

    def pending(self) -> bool:
        """Whether anything still waits to be sent."""
        with self._lock:
            return bool(self._urgent) or any(client.outbox.waiting for client in self._clients.values())


def _added(counters: Counters, increments: dict[str, int]) -> Counters:
    changed: dict[str, Any] = {name: getattr(counters, name) + value for name, value in increments.items()}
    return replace(counters, **changed)


def _counted(number: int, counters: Counters) -> Frames:
    return encode("counted", {"stream": number, "counters": asdict(counters)})
