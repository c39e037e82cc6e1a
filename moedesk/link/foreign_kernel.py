"""A kernel that somebody else started: a notebook's, or one on another machine."""

import contextlib
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moedesk.link.connection import Channel, Connection, heart_beats, read_connection
from moedesk.link.machine import machine_identity
from moedesk.link.private_folder import private_folder
from moedesk.link.ssh import Tunnel, fetch_connection, through

_CONNECT_TIMEOUT = 1.0  # seconds


class ForeignKernel:
    """Reaches a running kernel by its connection file, through ssh if a host is given. Used by one thread.

    Parameters
    ----------
    named : Path
        The connection file; with ``ssh`` it may be one of that host.
    ssh : str
        ``user@host``, or empty.

    Raises
    ------
    KernelError
        The file can't be read, or ssh can't be started.
    """

    def __init__(self, named: Path, ssh: str = "") -> None:
        self._ssh = ssh
        self._tunnels: dict[int, Tunnel] = {}  # by the far port; 0 for the kernel's own five
        self._folder: Path | None = None
        if not ssh:
            self._connection = read_connection(named)
            return
        there = read_connection(named) if named.exists() else fetch_connection(str(named), ssh)
        self._folder = private_folder()
        try:
            self._tunnels[0], self._connection = through(there, ssh, self._folder)
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    @property
    def connection(self) -> Connection | None:
        """How to reach it from here; None while the tunnel is being built.

        Raises
        ------
        KernelError
            The tunnel ended.
        """
        return None if 0 in self._tunnels and not self._tunnels[0].ready else self._connection

    def link_address(self, address: str) -> str | None:
        """Return where a link that listens at ``address`` there is reached from here; None while it is not.

        Raises
        ------
        KernelError
            The tunnel ended.
        """
        parts = urlsplit(address)
        if parts.scheme != "tcp" or not parts.hostname or not parts.port:
            return address
        host, port = parts.hostname, parts.port
        if self._ssh:
            if port not in self._tunnels:
                self._tunnels[port] = Tunnel(self._ssh, (port,), host)
            tunnel = self._tunnels[port]
            if not tunnel.ready:
                return None
            host, port = "127.0.0.1", tunnel.local_ports[0]
        try:
            socket.create_connection((host, port), _CONNECT_TIMEOUT).close()
        except OSError:
            return None
        return f"tcp://{host}:{port}"

    def unreachable(self, address: str) -> str:
        """Return the line for a link that is not reached, with the command that helps."""
        port = urlsplit(address).port
        if self._ssh:
            return f"The ssh tunnel to port {port} of {self._ssh} is being built"
        return (
            f"The kernel is on another machine and sends its routing through port {port}, which is not reached from here; "
            f"forward it: ssh -N -L {port}:127.0.0.1:{port} user@host"
        )

    def is_gone(self, about: Mapping[str, Any]) -> bool:
        """Return whether its process has surely ended: known only on this machine."""
        pid = about.get("pid")
        if about.get("machine") != machine_identity() or not isinstance(pid, int):
            return False
        with contextlib.suppress(PermissionError):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
        return False

    def heart_beats(self) -> bool:
        """Return whether it answers at all; takes a second at most."""
        return heart_beats(self._connection)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running cell."""
        channel = Channel(self._connection, "control")
        channel.send("interrupt_request", {})
        channel.close(polite=True)

    def close(self) -> None:
        """End the tunnels; the kernel goes on."""
        for tunnel in self._tunnels.values():
            tunnel.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
