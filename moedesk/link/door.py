"""What a server opens to be reached, and what it says of itself to who comes in."""

import os
import platform
import socket
import sys
from typing import Any

import zmq

from moedesk import __version__
from moedesk.link.keys import KeyPair
from moedesk.link.protocol import MAX_REQUEST, PROTOCOL, LinkError


def open_door(context: zmq.Context, address: str, keys: KeyPair | None = None) -> zmq.Socket:
    """Return a socket that listens at an address, encrypted if there are keys.

    Raises
    ------
    LinkError
        The address is taken, or none of this machine.
    """
    door = context.socket(zmq.ROUTER)
    door.linger = 2000  # ms at the end; an app on a busy machine may not have had its turn to read
    door.sndhwm = door.rcvhwm = 0  # the windows of the clients bound what is on its way
    door.router_mandatory = True  # a client that is gone shows when it is written to
    door.maxmsgsize = MAX_REQUEST
    if keys is not None:
        door.curve_server = True
        door.curve_publickey, door.curve_secretkey = keys.public.encode(), keys.secret.encode()
        door.heartbeat_ivl, door.heartbeat_timeout = 5_000, 60_000  # a network that vanishes says nothing
    try:
        door.bind(address)
    except zmq.ZMQError as error:
        door.close(0)
        raise LinkError(f"the link cannot listen at {address}: {error}; choose another port or host") from None
    return door


def about_this_process() -> dict[str, Any]:
    """Return what a client is welcomed with: versions, interpreter, process, host."""
    return {
        "protocol": PROTOCOL,
        "moedesk": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "pid": os.getpid(),
        "host": socket.gethostname(),
    }
