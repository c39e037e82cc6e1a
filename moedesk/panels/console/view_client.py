"""The console's own connection to a kernel: channels that put what comes into a queue, not into Qt's."""

import os
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_API", "pyside6")  # qtconsole comes to Qt through qtpy, which asks for it

import zmq
from jupyter_client.threaded import ThreadedKernelClient
from qtconsole.client import QtKernelClient, QtZMQSocketChannel

from moedesk.panels.console.model_messages import MessageQueue

_BREATH = 0.0005  # seconds after a message in a flood: the window's thread gets at the interpreter between them


def connect(connection_file: Path, queue: MessageQueue) -> QtKernelClient:
    """Return a client of a kernel whose messages go to ``queue``; ``dispatch`` hands them to the widgets.

    Qt is told nothing: a signal for each message would flood the event loop.
    """

    def collecting(name: str) -> type:
        def call_handlers(_: Any, message: dict[str, Any]) -> None:
            queue.put(name, message)
            if len(queue):
                time.sleep(_BREATH)

        def flush(*_: Any) -> None:
            """Do nothing: the queue keeps replies until the output before them was taken."""

        return type("CollectingChannel", (QtZMQSocketChannel,), {"call_handlers": call_handlers, "flush": flush})

    client = QtKernelClient(connection_file=str(connection_file))
    client.load_connection_file()
    client.context.setsockopt(zmq.RCVHWM, 0)  # or zmq would throw away what comes faster than Python takes it
    client.iopub_channel_class = collecting("iopub")
    client.shell_channel_class = collecting("shell")
    client.stdin_channel_class = collecting("stdin")
    # No heartbeat: the app's Kernel watches the process, and knows more.
    client.start_channels(hb=False)
    return client


def disconnect(client: QtKernelClient) -> threading.Thread:
    """Close a client's sockets in a thread of its own, which is returned: Jupyter takes up to a second for it."""
    client.comm_manager = None
    thread = threading.Thread(
        target=ThreadedKernelClient.stop_channels, args=(client,), name="moedesk-console-close", daemon=True
    )
    thread.start()
    return thread


def dispatch(client: QtKernelClient, channel: str, message: dict[str, Any]) -> None:
    """Hand a message to the widgets that listen to a channel; in the GUI thread."""
    getattr(client, f"{channel}_channel").message_received.emit(message)
