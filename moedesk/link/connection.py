"""How a Jupyter kernel is reached: its connection file, and one of its channels."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.session import Session

from moedesk.core.errors import MoedeskError

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
_POLITE_CLOSE = 500  # ms in which a last message still leaves


class KernelError(MoedeskError):
    """A kernel cannot be started or reached."""


@dataclass(frozen=True)
class Connection:
    """What a connection file says.

    Attributes
    ----------
    path : Path
    fields : dict
        ``transport``, ``ip``, ``key``, ``signature_scheme`` and ``*_port`` of each of ``CHANNELS``.
    """

    path: Path
    fields: dict[str, Any] = field(repr=False)  # it holds the key

    def url(self, channel: str) -> str:
        """Return where one of ``CHANNELS`` listens."""
        transport, ip, port = self.fields["transport"], self.fields["ip"], self.fields[f"{channel}_port"]
        return f"ipc://{ip}-{port}" if transport == "ipc" else f"{transport}://{ip}:{port}"


def read_connection(path: Path) -> Connection:
    """Read a connection file.

    Raises
    ------
    KernelError
        It can't be read, or is no connection file.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KernelError(f"{path} does not exist: %connect_info in the kernel says which file is its own") from None
    except OSError as error:
        raise KernelError(f"{path} can't be read: {error.strerror}") from None
    except ValueError:
        raise KernelError(f"{path.name} is no connection file: it is not JSON") from None
    known = fields if isinstance(fields, dict) else {}
    ports = [known.get(f"{channel}_port") for channel in CHANNELS]
    complete = all(isinstance(port, int) for port in ports) and isinstance(known.get("ip"), str)
    if not complete or not isinstance(known.get("key"), str):
        raise KernelError(f"{path.name} is no connection file: ports, ip or key are missing")
    return Connection(path, {"transport": "tcp", "signature_scheme": "hmac-sha256", **known})


class Channel:
    """The app's end of the shell or control channel, apart from the console's own. Used by one thread."""

    def __init__(self, connection: Connection, name: str) -> None:
        fields = connection.fields
        self._session = Session(key=fields["key"].encode(), signature_scheme=fields["signature_scheme"])
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        _secure(self._socket, fields)
        self._socket.connect(connection.url(name))

    def send(self, kind: str, content: dict[str, Any]) -> str:
        """Send a request; return its id, which the reply names."""
        message = self._session.msg(kind, content)
        self._session.send(self._socket, message)
        return str(message["header"]["msg_id"])

    def receive(self, seconds: float = 0.0) -> dict[str, Any] | None:
        """Return the next reply, or None if none comes in time; one that is not signed as it must be counts as none."""
        if not self._socket.poll(round(seconds * 1000)):
            return None
        try:
            return dict(self._session.recv(self._socket)[1] or {}) or None
        except ValueError:
            return None

    def close(self, polite: bool = False) -> None:
        """Let go; ``polite`` waits half a second at most for the last request to leave."""
        self._context.destroy(linger=_POLITE_CLOSE if polite else 0)


def heart_beats(connection: Connection, seconds: float = 1.0) -> bool:
    """Return whether a kernel's process answers in time, which it does even while a C call holds its interpreter."""
    with zmq.Context() as context, context.socket(zmq.REQ) as heart:
        heart.linger = 0
        _secure(heart, connection.fields)
        heart.connect(connection.url("hb"))
        heart.send(b"ping")
        return bool(heart.poll(round(seconds * 1000)))


def _secure(end: zmq.Socket[bytes], fields: dict[str, Any]) -> None:
    """Encrypt, if the kernel does."""
    if fields.get("curve_publickey"):
        end.curve_publickey, end.curve_secretkey = zmq.curve_keypair()
        end.curve_serverkey = fields["curve_publickey"].encode()
