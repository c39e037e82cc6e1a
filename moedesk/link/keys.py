"""CURVE keys, and the gate that lets only known ones in. Secret keys live in memory only."""

from dataclasses import dataclass, field
from typing import Self

import zmq
from zmq.utils import z85

from moedesk.link.protocol import LinkError


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, as Z85 text.

    Attributes
    ----------
    public : str
        May be shown and handed over.
    secret : str
        Never leaves the process, nor shows in a repr.
    """

    public: str
    secret: str = field(repr=False)

    @classmethod
    def make(cls) -> Self:
        """Make a fresh pair.

        Raises
        ------
        LinkError
            This pyzmq cannot encrypt.
        """
        if not zmq.has("curve"):
            raise LinkError("this pyzmq has no CURVE encryption: run `pip install -U pyzmq`")
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())


class Gate:
    """Answers zmq's question who may connect (ZAP, RFC 27): the CURVE keys that were allowed, and nobody else.

    Parameters
    ----------
    context : zmq.Context
        All sockets of it that ask for keys are let through here; one gate a context.
    """

    def __init__(self, context: zmq.Context) -> None:
        self._allowed: frozenset[bytes] = frozenset()
        self.socket: zmq.Socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def allow(self, public_key: str) -> None:
        """Let a client in that proves to have this key (Z85); from any thread.

        Raises
        ------
        LinkError
            It is no public key.
        """
        self._allowed |= {raw_key(public_key)}

    def answer(self) -> None:
        """Answer one question; in the thread of the socket."""
        version, request, _domain, _address, _identity, mechanism, *credentials = self.socket.recv_multipart()
        known = mechanism == b"CURVE" and len(credentials) == 1 and credentials[0] in self._allowed
        status = (b"200", b"OK") if known else (b"400", b"key not allowed")
        self.socket.send_multipart([version, request, *status, b"", b""])

    def close(self) -> None:
        """Take it down."""
        self.socket.close()


def raw_key(public_key: str) -> bytes:
    """Return the 32 bytes of a key in Z85.

    Raises
    ------
    LinkError
        It is none.
    """
    try:
        raw = z85.decode(public_key.encode())
    except (ValueError, KeyError, AttributeError):
        raw = b""
    if len(raw) != 32:
        raise LinkError("that is no CURVE public key (40 characters of Z85); connect again so that a new one is made")
    return bytes(raw)
