"""Wakes a thread that waits in a zmq poll, from any other thread."""

import contextlib
import socket


class Bell:
    """One thread waits for it, any may ring; ringing one that rings already costs next to nothing."""

    def __init__(self) -> None:
        self._ear, self._hand = socket.socketpair()
        self._ear.setblocking(False)
        self._hand.setblocking(False)
        self._rings = False

    def fileno(self) -> int:
        """Return what to poll for reading."""
        return self._ear.fileno()

    def ring(self) -> None:
        """Wake the thread that waits. Whatever was handed over before is seen by it."""
        if not self._rings:
            self._rings = True
            with contextlib.suppress(OSError):  # closed, or so full that it wakes anyway
                self._hand.send(b"\0")

    def hush(self) -> None:
        """Stop ringing; the waiting thread calls this before it looks at what was handed over."""
        with contextlib.suppress(BlockingIOError):
            while len(self._ear.recv(64)) == 64:
                pass
        self._rings = False

    def close(self) -> None:
        """Take it down; ringing it then does nothing."""
        self._ear.close()
        self._hand.close()
