"""The model's side of a link: sends the routing of attached models to the apps that connect, and takes their requests."""

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import zmq
import zmq.utils.garbage  # before ``close`` is registered: at exit it must outlive what is still sent

from moedesk import __version__
from moedesk.core.vocabulary import Texts
from moedesk.link.door import about_this_process, open_door
from moedesk.link.endpoint import Endpoint
from moedesk.link.folder import SocketFolder
from moedesk.link.hub import Client, Hub
from moedesk.link.keys import Gate, KeyPair, raw_key
from moedesk.link.message import Frames, Message, decode, encode, whole
from moedesk.link.protocol import MAX_ANSWER, PING_SECONDS, PROTOCOL, REQUESTS, TO_SERVER, LinkError, mismatch
from moedesk.link.stream import StreamSink

Handler = Callable[[int, Mapping[str, Any], Mapping[str, np.ndarray]], None]
"""Takes a request: the client's number, fields, arrays (read-only)."""

COUNTERS_SECONDS = 0.25
CLOSE_SECONDS = 2.0
"""What still waits is sent for so long when the server closes."""
_log = logging.getLogger("moedesk.link")


class LinkServer:
    """Sends streams to clients from a thread of its own, so that it answers while a cell runs.

    Nothing listens until ``listen_local`` or ``listen_tcp``; streams may be opened before. In a fork of the process it does
    nothing.
    """

    def __init__(self) -> None:
        self._hub = Hub()
        self._handlers: dict[str, Handler] = {}
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._context: zmq.Context | None = None
        self._gate: Gate | None = None
        self._keys: KeyPair | None = None
        self._folder: SocketFolder | None = None
        self._doors: list[zmq.Socket] = []
        self._endpoints: dict[str, Endpoint] = {}
        self._closed = self._leaving = False
        self._thread: threading.Thread | None = None

    # from any thread

    def listen_local(self) -> Endpoint:
        """Listen on a socket that only this user can reach; again returns the same.

        Raises
        ------
        LinkError
            There is no place for the socket.
        """
        with self._lock:
            if "local" not in self._endpoints:
                folder = SocketFolder()
                try:
                    self._open_door(folder.address)
                except BaseException:
                    folder.remove()
                    raise
                self._folder, self._endpoints["local"] = folder, Endpoint(folder.address)
            return self._endpoints["local"]

    def listen_tcp(self, host: str = "127.0.0.1", port: int = 0) -> Endpoint:
        """Listen on the network, encrypted; only clients that were allowed come in. Again returns the same.

        Parameters
        ----------
        host : str
            The address to listen at; 127.0.0.1 can be reached through a tunnel only.
        port : int
            0 takes a free one.

        Raises
        ------
        LinkError
            The port is taken, or the host isn't this machine.
        """
        asked = f"tcp://{host}:{port or '*'}"
        with self._lock:
            if asked not in self._endpoints:
                self._keys = self._keys or KeyPair.make()
                door = self._open_door(asked, self._keys)
                self._endpoints[asked] = Endpoint(str(door.get_string(zmq.LAST_ENDPOINT)), self._keys.public)
            return self._endpoints[asked]

    def allow(self, client_public_key: str) -> None:
        """Let in a client on the network by its public key (Z85).

        Raises
        ------
        LinkError
            It is no key.
        """
        raw_key(client_public_key)
        with self._lock:
            self._start()
            assert self._gate is not None
            self._gate.allow(client_public_key)

    def open_stream(self, name: str, vocabulary: Texts | None = None) -> StreamSink:
        """Return a sink for a model that is attached now.

        Parameters
        ----------
        name : str
            What to call it.
        vocabulary : callable or None
            Gives the bytes of token ids.
        """
        return StreamSink(self._hub, name, vocabulary)

    def on(self, kind: str, handler: Handler) -> None:
        """Have requests of a kind (``record``, ``evaluate``, ``task``, …) handled, on the server's thread: be quick."""
        if kind not in REQUESTS:
            raise ValueError(f"no request {kind!r}; there are {', '.join(REQUESTS)}")
        self._handlers[kind] = handler

    def reveal(self, fields: Mapping[str, Any]) -> int:
        """Ask the apps to show something: fields of a ``Selection`` that are set; returns how many were asked."""
        return self._overtake(encode("revealed", {"place": dict(fields)}))

    def answer(self, client: int, request: int, text: str, ok: bool) -> None:
        """Answer an ``evaluate`` request with a text, or an error if not ``ok``."""
        self._overtake(encode("answered", {"request": request, "text": text, "ok": ok}), client)

    def on_leave(self, handler: Callable[[int], None]) -> None:
        """Have it handled that a client left, by its number, on the server's thread: be quick."""
        self._hub.left = handler

    def tell(self, topic: str, value: Mapping[str, Any], stream: int = 0) -> None:
        """Tell the apps how things stand with a topic; those that connect later are told the latest, until the stream ends.

        It overtakes routing, and nothing is left out if it comes too fast: tell what people look at, a few times a second.

        Parameters
        ----------
        topic : str
        value : mapping
            Plain JSON values.
        stream : int
            Number of the model's that it is about; 0 for what is about every model of the process.

        Raises
        ------
        LinkError
            They are not, or too long.
        """
        letter = encode("told", {"topic": topic, "value": dict(value), "stream": stream})
        if self._is_here:
            self._hub.tell(topic, stream, letter)

    def progress(self, client: int, request: int, share: float, text: str) -> None:
        """Say how far a ``task`` is: a share between 0 and 1, and what is done now."""
        self._overtake(encode("progress", {"request": request, "share": float(share), "text": text}), client)

    def finish(
        self,
        client: int,
        request: int,
        ok: bool,
        text: str,
        value: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Answer a ``task`` with what it gave, or, if not ``ok``, with the line that says why it gave nothing.

        Raises
        ------
        LinkError
            The value is not JSON, an array is of no plain number, or they are too large.
        """
        parts = [whole(name, np.asarray(array)) for name, array in (arrays or {}).items()]
        fields = {"request": request, "ok": ok, "text": text, "value": dict(value or {})}
        letter = encode("finished", fields, parts)
        if letter.nbytes > MAX_ANSWER:
            raise LinkError(f"an answer of {letter.nbytes:,} bytes is too large to send; the limit is {MAX_ANSWER:,}")
        self._overtake(letter, client)

    def explain(self, stream: int, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Give apps an explanation that was asked for here, about the model of a stream: they keep it with its capture."""
        parts = [whole(name, np.asarray(array)) for name, array in arrays.items()]
        letter = encode("explained", {"stream": stream, "value": dict(value)}, parts)
        if letter.nbytes <= MAX_ANSWER:
            self._overtake(letter)

    @property
    def clients(self) -> int:
        """How many apps are connected."""
        return len(self._hub.clients) if self._is_here else 0

    def close(self) -> None:
        """End all streams, send for a moment what still waits, and stop. Twice is harmless."""
        if not self._is_here:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._hub.finish()
        self._leaving = True  # only now: the thread leaves when nothing waits
        if self._thread is None:
            self._hub.bell.close()
            return
        self._hub.bell.ring()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        atexit.unregister(self.close)

    @property
    def usable(self) -> bool:
        """Whether it was neither closed nor left behind by a fork of the process."""
        return self._is_here and not self._closed

    @property
    def _is_here(self) -> bool:
        return os.getpid() == self._process

    def _overtake(self, letter: Frames, client: int | None = None) -> int:
        return self._hub.overtake(letter, client) if self._is_here else 0

    def _start(self) -> None:
        if self._closed or not self._is_here:
            raise LinkError("this link was closed; make a new one")
        if self._hub.failure is not None:
            raise LinkError(self._hub.failure)
        if self._thread is None:
            self._context = zmq.Context()
            self._gate = Gate(self._context)
            self._thread = threading.Thread(target=self._run, name="moedesk-link-server", daemon=True)
            atexit.register(self.close)
            self._thread.start()

    def _open_door(self, address: str, keys: KeyPair | None = None) -> zmq.Socket:
        """Bind a socket and hand it to the thread."""
        self._start()
        assert self._context is not None
        door = open_door(self._context, address, keys)
        self._doors.append(door)
        self._hub.bell.ring()
        return door

    # on the server's thread

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # nobody else would say so; the model goes on
            self._hub.failure = f"the link stopped: {type(error).__name__}: {error}; restart the kernel to have it back"
            _log.warning(self._hub.failure)
        finally:
            assert self._context is not None
            assert self._gate is not None
            for door in self._doors:
                door.close()
            self._gate.close()
            self._context.term()
            self._hub.bell.close()
            if self._folder is not None:
                self._folder.remove()

    def _serve(self) -> None:
        assert self._gate is not None
        poller = zmq.Poller()
        poller.register(self._hub.bell.fileno(), zmq.POLLIN)
        poller.register(self._gate.socket, zmq.POLLIN)
        doors: list[zmq.Socket] = []
        deadline = None
        next_counters = next_probe = 0.0
        while True:
            ready = dict(poller.poll(int(COUNTERS_SECONDS * 1000)))
            self._hub.bell.hush()
            for door in self._doors[len(doors) :]:
                doors.append(door)
                poller.register(door, zmq.POLLIN)
            if self._gate.socket in ready:
                self._gate.answer()
            for door in doors:
                if door in ready:
                    self._receive(door)
            now = time.monotonic()
            if now >= next_counters:
                next_counters = now + COUNTERS_SECONDS
                self._hub.tell_counters()
            if now >= next_probe:
                next_probe = now + PING_SECONDS
                self._probe(now)
            self._pump()
            if self._leaving:
                deadline = deadline or now + CLOSE_SECONDS
                if now >= deadline or not self._hub.pending():
                    return

    def _receive(self, door: zmq.Socket) -> None:
        for _ in range(100):  # others want their turn
            try:
                identity, *frames = door.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            client = self._hub.client(door, identity.bytes)
            try:
                if len(frames) < 2:
                    raise LinkError("a message that is not two frames or more")
                header, buffer, *apart = (frame.buffer for frame in frames)
                self._take(door, identity.bytes, client, decode(header, buffer, TO_SERVER, *apart))
            except LinkError as error:
                self._refuse(door, identity.bytes, client, f"the kernel got {error}; connect again")

    def _take(self, door: zmq.Socket, identity: bytes, client: Client | None, message: Message) -> None:
        now = time.monotonic()
        if client is None:
            if message.kind == "hello":
                self._greet(door, identity, message.fields, now)
            return  # whoever was refused may go on talking
        client.heard_at = now
        match message.kind:
            case "ping":
                self._send(client, encode("pong", {}))
            case "taken":
                self._hub.taken(client, max(0, message.fields["bytes"]))
            case "bye":
                self._send(client, encode("goodbye", {}))
                self._hub.leave(client)
            case "hello":
                raise LinkError("a second hello")
            case _:
                self._handle(client, message)

    def _greet(self, door: zmq.Socket, identity: bytes, fields: Mapping[str, Any], now: float) -> None:
        if fields["protocol"] != PROTOCOL:
            line = mismatch((fields["protocol"], fields["moedesk"][:40]), (PROTOCOL, __version__))
            self._refuse(door, identity, None, line)
            return
        self._hub.join(door, identity, now, encode("welcome", about_this_process()))

    def _handle(self, client: Client, message: Message) -> None:
        handler = self._handlers.get(message.kind)
        try:
            if handler is not None:
                handler(client.number, message.fields, message.arrays)
                return
            problem = "nothing here answers that"
        except Exception as error:  # a fault of the handler must not end the link
            problem = f"{type(error).__name__}: {error}"
            _log.warning("a request %r failed: %s", message.kind, problem)
        match message.kind:
            case "evaluate":
                self.answer(client.number, message.fields["request"], problem, False)
            case "task":
                self.finish(client.number, message.fields["request"], False, problem)

    def _refuse(self, door: zmq.Socket, identity: bytes, client: Client | None, reason: str) -> None:
        """Say why, once, and forget the client: whatever else it sends is ignored."""
        if client is not None:
            self._hub.leave(client)
        _log.warning("a client was refused: %s", reason)
        with contextlib.suppress(zmq.ZMQError):
            letter = encode("refused", {"reason": reason, "protocol": PROTOCOL, "moedesk": __version__})
            door.send_multipart([identity, *letter.frames], zmq.NOBLOCK)

    def _probe(self, now: float) -> None:
        """Write to clients that are silent: if they are gone, that shows it."""
        for client in self._hub.clients:
            if now - client.heard_at > 3 * PING_SECONDS:
                self._send(client, encode("pong", {}))

    def _pump(self) -> None:
        for client, letter in self._hub.urgent():
            self._send(client, letter)
        for client in self._hub.clients:
            while (due := self._hub.next(client)) is not None:
                if not self._send(client, due):
                    break

    def _send(self, client: Client, letter: Frames) -> bool:
        try:
            client.door.send_multipart([client.identity, *letter.frames], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError:  # EHOSTUNREACH: it is gone
            self._hub.leave(client)
            return False
        return True
