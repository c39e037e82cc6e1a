"""The app's side of a link: hands what a server sends to a receiver, and sends requests."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from moedesk import __version__
from moedesk.link.bell import Bell
from moedesk.link.delivery import Delivery
from moedesk.link.endpoint import Endpoint
from moedesk.link.keys import KeyPair, raw_key
from moedesk.link.message import Frames, Message, decode, encode, whole
from moedesk.link.protocol import (
    GOODBYE_SECONDS,
    MAX_REQUEST,
    PING_SECONDS,
    PROTOCOL,
    REQUESTS,
    TO_CLIENT,
    LinkError,
    check_fields,
    mismatch,
)
from moedesk.link.receiver import Receiver

_GONE = "the connection to the kernel is gone: its process ended or the network was cut; restart or connect anew"
_CLOSED = "the kernel closed its link, as it does when it exits; restart it and attach the model again"
_KEY_REFUSED = "the kernel doesn't know this app's key; connect anew, so that it is handed over again"
_OTHER_KEY = (
    "who answers at {address} doesn't have the kernel's key; connect anew, and check that the tunnel leads to it"
)
_NOBODY = "nobody listens at {address}; restart the kernel, or connect anew"
_SILENT = "the kernel did not answer the link within {seconds:.0f} s; wait until it is idle, then connect anew"

_FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_ENDED = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_CONNECT_RETRIED
_EVENTS = _FAILED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | _ENDED | zmq.EVENT_HANDSHAKE_SUCCEEDED


class _LostError(Exception):
    """The link is gone; the line says why."""


class LinkClient:
    """A connection to a link server. Returns at once; what comes, failures included, is told to the receiver.

    A thread of its own keeps the connection alive, whatever the receiver does meanwhile; another calls the receiver.

    Parameters
    ----------
    endpoint : Endpoint
    receiver : Receiver
    keys : KeyPair or None
        Needed on anything but a local socket; the server must have allowed the public one.
    patience : float
        Seconds that the server may take to say hello.

    Raises
    ------
    LinkError
        A key is missing or none.
    """

    def __init__(
        self, endpoint: Endpoint, receiver: Receiver, keys: KeyPair | None = None, patience: float = 30.0
    ) -> None:
        if not endpoint.local:
            if keys is None or not endpoint.server_key:
                raise LinkError(
                    f"a link to {endpoint.address} needs keys; connect through the kernel, which hands them over"
                )
            raw_key(endpoint.server_key)
        self._endpoint, self._keys, self._patience = endpoint, keys, patience
        self._bell = Bell()
        self._requests: deque[Frames] = deque()
        self._closing = self._left = self._welcome = False
        self._connected_at: float | None = None
        self._started_at = self._answered_at = time.monotonic()
        self._delivery = Delivery(receiver, self._bell.ring)
        self._thread = threading.Thread(target=self._run, name="moedesk-link-client", daemon=True)
        self._thread.start()

    @property
    def answered_at(self) -> float:
        """Monotonic time of the server's last sign of life; it is asked for one every second."""
        return self._answered_at

    def request(self, kind: str, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Send a request; returns at once, and does nothing when the link is gone.

        Parameters
        ----------
        kind : str
            One of ``protocol.REQUESTS``.
        fields : mapping
            Plain JSON values.
        arrays : mapping of str to ndarray, optional

        Raises
        ------
        LinkError
            It is no such request, or too large.
        """
        check_fields(kind, fields, REQUESTS)
        letter = encode(kind, fields, [whole(name, np.asarray(array)) for name, array in (arrays or {}).items()])
        if letter.nbytes > MAX_REQUEST:
            raise LinkError(f"a {kind} of {letter.nbytes:,} bytes is too large to send; the limit is {MAX_REQUEST:,}")
        if self._thread.is_alive():
            self._requests.append(letter)
            self._bell.ring()

    def close(self, wait: bool = True) -> None:
        """Leave: what has come is still delivered, then ``lost`` if the server turns out to be gone, else nothing more.

        So nothing is missing when a kernel died and whoever saw that first closes its link. Twice is harmless.

        Parameters
        ----------
        wait : bool
            Whether to wait for all that, which takes as long as the receiver does; the GUI's thread shouldn't.
        """
        self._closing = True
        self._bell.ring()
        if wait:
            if threading.current_thread() is not self._thread:
                self._thread.join()
            self._delivery.join()

    # on the link's thread

    def _run(self) -> None:
        reason = ""
        context = zmq.Context()
        try:
            dealer = self._connect(context)
            monitor = dealer.get_monitor_socket(_EVENTS)
            monitor.linger = 0
            try:
                dealer.connect(self._endpoint.address)
                self._talk(dealer, monitor)
            finally:
                dealer.disable_monitor()
                monitor.close()
                dealer.close()
        except _LostError as lost:
            reason = str(lost)
        except Exception as error:  # nobody else would say so
            reason = f"the link to the kernel failed: {type(error).__name__}: {error}; connect anew"
        finally:
            context.term()
            self._delivery.finish(reason)
            self._bell.close()

    def _connect(self, context: zmq.Context) -> zmq.Socket:
        dealer: zmq.Socket = context.socket(zmq.DEALER)
        dealer.linger = 200
        dealer.sndhwm = dealer.rcvhwm = 0  # the window bounds what is on its way
        dealer.reconnect_ivl = 60_000  # never in effect; without it (-1), zmq throws away what came before the end
        if not self._endpoint.local:
            assert self._keys is not None
            dealer.curve_serverkey = self._endpoint.server_key.encode()
            dealer.curve_publickey, dealer.curve_secretkey = self._keys.public.encode(), self._keys.secret.encode()
            dealer.heartbeat_ivl, dealer.heartbeat_timeout = 5_000, 60_000
        return dealer

    def _talk(self, dealer: zmq.Socket, monitor: zmq.Socket) -> None:
        poller = zmq.Poller()
        for thing in (dealer, monitor, self._bell.fileno()):
            poller.register(thing, zmq.POLLIN)
        self._send(dealer, encode("hello", {"protocol": PROTOCOL, "moedesk": __version__}))
        next_ping = time.monotonic() + PING_SECONDS
        leave_at = None
        while True:
            ready = dict(poller.poll(max(1, int((min(next_ping, leave_at or next_ping) - time.monotonic()) * 1000))))
            self._bell.hush()
            if self._delivery.failure:
                self._send(dealer, encode("bye", {}))
                return
            if dealer in ready:
                self._receive(dealer)
                if self._left:
                    return
            if monitor in ready:
                self._observe(dealer, monitor)
            now = time.monotonic()
            if pings := now >= next_ping:
                next_ping = now + PING_SECONDS
                self._send(dealer, encode("ping", {}))
            if not self._welcome and now > self._started_at + self._patience:
                raise _LostError(_SILENT.format(seconds=self._patience))
            if taken := self._delivery.take(everything=pings):
                self._send(dealer, encode("taken", {"bytes": taken}))
            while self._welcome and self._requests:
                self._send(dealer, self._requests.popleft())
            if self._closing and leave_at is None:
                leave_at = now + GOODBYE_SECONDS
                self._send(dealer, encode("bye", {}))
            if leave_at is not None and (now >= leave_at or not self._welcome):
                return

    def _send(self, dealer: zmq.Socket, letter: Frames) -> None:
        with contextlib.suppress(zmq.Again):  # the connection is gone, which the monitor says in a moment
            dealer.send_multipart(letter.frames, zmq.NOBLOCK)

    def _receive(self, dealer: zmq.Socket, most: int = 1000) -> None:
        for _ in range(most):
            try:
                frames = dealer.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._answered_at = time.monotonic()
            try:
                if len(frames) < 2:
                    raise LinkError("a message that is not two frames or more")
                header, buffer, *apart = (frame.buffer for frame in frames)
                message = decode(header, buffer, TO_CLIENT, *apart)
            except LinkError as error:
                raise _LostError(f"the kernel sent {error}; restart it to connect anew") from None
            self._take(message)

    def _take(self, message: Message) -> None:
        match message.kind:
            case "pong":
                return
            case "welcome":
                fields = message.fields
                if fields["protocol"] != PROTOCOL:
                    raise _LostError(mismatch((PROTOCOL, __version__), (fields["protocol"], fields["moedesk"][:40])))
                self._welcome = True
            case "refused":
                raise _LostError(message.fields["reason"][:500])
            case "closed":
                raise _LostError(_CLOSED)
            case "goodbye":
                self._left = True
                return
        self._delivery.put(message)

    def _observe(self, dealer: zmq.Socket, monitor: zmq.Socket) -> None:
        """Find out what became of the connection."""
        event = zmq.Event(recv_monitor_message(monitor)["event"])
        address = self._endpoint.address
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._connected_at = time.monotonic()
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise _LostError(_KEY_REFUSED)
        elif event & _FAILED:
            raise _LostError(_OTHER_KEY.format(address=address))
        elif self._connected_at is None:
            raise _LostError(_NOBODY.format(address=address))
        else:
            while dealer.poll(50):
                self._receive(dealer)
            raise _LostError(_GONE)
