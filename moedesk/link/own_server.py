"""The link server that a process has for itself."""

import os
import threading

from moedesk.link.server import LinkServer

_own: LinkServer | None = None
_lock, _process = threading.Lock(), os.getpid()


def own_server() -> LinkServer:
    """Return this process's server, made when first asked for, or when it was closed; a fork gets one of its own."""
    global _own, _lock, _process
    if os.getpid() != _process:  # another thread may have held the lock when the process was forked
        _own, _lock, _process = None, threading.Lock(), os.getpid()
    with _lock:
        if _own is None or not _own.usable:
            _own = LinkServer()
        return _own
