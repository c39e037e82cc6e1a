"""A kernel on another machine, reached through ``ssh`` tunnels that the app starts and ends."""

import json
import shutil
import socket
import subprocess
import threading
from pathlib import Path

from moedesk.link.connection import CHANNELS, Connection, KernelError, read_connection
from moedesk.link.private_folder import private_folder

_FETCH_TIMEOUT = 20  # seconds
_CONNECT_TIMEOUT = 0.5  # seconds; the port is on this machine
_OPTIONS = (
    *("-o", "BatchMode=yes"),  # never ask for a password: there is no terminal to type it in
    *("-o", "ExitOnForwardFailure=yes"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=10"),
    *("-o", "ServerAliveCountMax=3"),
)


class Tunnel:
    """Ports of another machine's loopback address, forwarded to free ports of this one.

    Starting does not wait: ask ``ready``.

    Parameters
    ----------
    host : str
        ``user@host``, or a name of ``~/.ssh/config``.
    remote_ports : sequence of int
    remote_ip : str
        Where the ports are, seen from that host.

    Attributes
    ----------
    local_ports : tuple of int
        In the order of ``remote_ports``.
    """

    def __init__(self, host: str, remote_ports: tuple[int, ...], remote_ip: str = "127.0.0.1") -> None:
        self.host = _checked(host)
        self.local_ports = _free_ports(len(remote_ports))
        pairs = zip(self.local_ports, remote_ports, strict=True)
        forwards = [part for here, there in pairs for part in ("-L", f"127.0.0.1:{here}:{remote_ip}:{there}")]
        self._said = ""
        try:
            self._process = subprocess.Popen(
                [_ssh(), "-N", *_OPTIONS, *forwards, self.host],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise KernelError(f"ssh can't be started: {error.strerror}") from None
        self._reader = threading.Thread(target=self._read, name="moedesk-ssh", daemon=True)
        self._reader.start()

    @property
    def ready(self) -> bool:
        """Whether the ports can be used.

        Raises
        ------
        KernelError
            The tunnel ended; the line says what ssh said.
        """
        code = self._process.poll()
        if code is not None:
            self._reader.join(1)
            raise KernelError(self._failure(code))
        try:
            for port in self.local_ports:
                socket.create_connection(("127.0.0.1", port), _CONNECT_TIMEOUT).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End the tunnel."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join()

    def _failure(self, code: int) -> str:
        reason = self._said or f"exit code {code}"
        hint = ""
        if "Permission denied" in reason:
            hint = "; set up a key (ssh-copy-id) or an agent: passwords can't be typed here"
        elif "Host key verification failed" in reason:
            hint = f"; run ssh {self.host} once in a terminal and accept its key"
        return f"The ssh tunnel to {self.host} ended: {reason}{hint}"

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                if line.strip() and not line.startswith("Warning: Permanently added"):
                    self._said = line.strip()[:300]


def fetch_connection(path: str, host: str) -> Connection:
    """Read a connection file of another machine, which takes up to 20 seconds; nothing is kept of it here."""
    try:
        done = subprocess.run(
            [_ssh(), *_OPTIONS[:2], *_OPTIONS[4:6], _checked(host), f"cat -- {_quoted(path)}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FETCH_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise KernelError(f"{host} did not answer ssh within {_FETCH_TIMEOUT} seconds") from None
    except OSError as error:
        raise KernelError(f"ssh can't be started: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise KernelError(f"{path} can't be read on {host}: {lines[-1] if lines else f'exit code {done.returncode}'}")
    folder = private_folder()
    try:
        file = folder / Path(path).name
        file.touch(mode=0o600)
        file.write_text(done.stdout, encoding="utf-8")
        return read_connection(file)
    finally:
        shutil.rmtree(folder)


def through(connection: Connection, host: str, folder: Path) -> tuple[Tunnel, Connection]:
    """Return a tunnel to a kernel and the connection that goes through it, whose file is written to ``folder``."""
    if connection.fields["transport"] != "tcp":
        raise KernelError(f"{connection.path.name} names sockets of one machine's files: no tunnel can reach them")
    names = [f"{channel}_port" for channel in CHANNELS]
    ip = connection.fields["ip"]
    tunnel = Tunnel(host, tuple(connection.fields[name] for name in names), "127.0.0.1" if ip == "0.0.0.0" else ip)
    forwarded = dict(zip(names, tunnel.local_ports, strict=True))
    file = folder / connection.path.name
    file.touch(mode=0o600)
    file.write_text(json.dumps({**connection.fields, **forwarded, "ip": "127.0.0.1"}), encoding="utf-8")
    return tunnel, read_connection(file)


def _checked(host: str) -> str:
    if not host or host.startswith("-") or any(letter.isspace() for letter in host):
        raise KernelError(f"{host!r} is no ssh host; write user@host")
    return host


def _quoted(path: str) -> str:
    """Quote for the other side's shell, which still fills in a leading ~."""
    home, rest = ("~/", path[2:]) if path.startswith("~/") else ("", path)
    return home + "'" + rest.replace("'", "'\"'\"'") + "'"


def _ssh() -> str:
    found = shutil.which("ssh")
    if found is None:
        raise KernelError("There is no ssh on this machine; install openssh-client")
    return found


def _free_ports(count: int) -> tuple[int, ...]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()
