"""The first words with a kernel: is moedesk there, does it speak this protocol, where does it send the routing?"""

import ast
import json
import shlex
import sys
import time
from collections.abc import Mapping
from typing import Any

from moedesk import __version__
from moedesk.link.connection import Channel, Connection, KernelError
from moedesk.link.machine import machine_identity
from moedesk.link.protocol import PROTOCOL

_SOURCE = """
import json, sys
answer = {"executable": sys.executable, "python": "%d.%d.%d" % sys.version_info[:3]}
try:
    import moedesk
    answer["moedesk"] = getattr(moedesk, "__version__", "")
    from moedesk.link.protocol import PROTOCOL
    answer["protocol"] = PROTOCOL
    if PROTOCOL == asked["protocol"]:
        from moedesk.probe.console.greeting import greet
        answer.update(greet(asked["key"], asked["machine"]))
except ImportError as error:
    answer["missing"], answer["error"] = error.name or "", str(error)
except Exception as error:
    answer["error"] = "%s: %s" % (type(error).__name__, error)
answer = json.dumps(answer)
"""


class Greeting:
    """Asks a kernel to greet, and waits for the answer without blocking; a busy kernel answers when its cell ends.

    The code runs silently, leaves no name behind and nothing in the history.

    Parameters
    ----------
    connection : Connection
    public_key : str
        The app's public key, which the kernel's link is to let in.

    Attributes
    ----------
    asked_at : float
        Monotonic time of the first request.
    """

    def __init__(self, connection: Connection, public_key: str) -> None:
        self.asked_at = time.monotonic()
        self._expression = expression(public_key, machine_identity())
        self._channel = Channel(connection, "shell")
        self._channel.send("kernel_info_request", {})
        self._request = ""

    def poll(self, seconds: float = 0.0) -> dict[str, Any] | None:
        """Return what the kernel answered: fields of ``greet`` plus ``executable``, ``error``, ``missing``; None if not yet.

        Raises
        ------
        KernelError
            The kernel runs another language, or its answer makes no sense.
        """
        message = self._channel.receive(seconds)
        if message is None:
            return None
        content = message["content"]
        if message["msg_type"] == "kernel_info_reply" and not self._request:
            language = content.get("language_info", {}).get("name", "python")
            if language != "python":
                raise KernelError(f"This kernel runs {language}; moedesk watches models in Python")
            self._ask()
        elif message["msg_type"] == "execute_reply" and message["parent_header"].get("msg_id") == self._request:
            if content.get("status") == "aborted":  # a cell before it in the queue failed, which throws the queue away
                self._ask()
                return None
            return parse(content)
        return None

    def close(self) -> None:
        """Stop waiting."""
        self._channel.close()

    def _ask(self) -> None:
        self._request = self._channel.send(
            "execute_request",
            {
                "code": "",
                "silent": True,
                "store_history": False,
                "user_expressions": {"greeting": self._expression},
                "allow_stdin": False,
                "stop_on_error": False,
            },
        )


def expression(public_key: str, machine: str) -> str:
    """Return the Python expression that a kernel evaluates to greet."""
    asked = {"protocol": PROTOCOL, "key": public_key, "machine": machine}
    return f"(lambda names: (exec({_SOURCE!r}, names), names['answer'])[1])({{'asked': {asked!r}}})"


def parse(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields in the content of an execute reply.

    Raises
    ------
    KernelError
        There are none.
    """
    value = content.get("user_expressions", {}).get("greeting", {})
    try:
        fields = json.loads(ast.literal_eval(value["data"]["text/plain"]))
    except (KeyError, TypeError, ValueError, SyntaxError):
        reason = value.get("evalue") or content.get("evalue") or "no value"
        raise KernelError(f"The kernel could not greet: {reason}") from None
    if not isinstance(fields, dict):
        raise KernelError("The kernel could not greet: its answer is no record")
    return fields


def trouble(about: Mapping[str, Any]) -> str:
    """Return why a kernel that greeted so can't send routing, with the command that cures it; empty if it can."""
    python = shlex.quote(str(about.get("executable") or "python"))
    install = f"{python} -m pip install"
    version, missing = about.get("moedesk"), str(about.get("missing", ""))
    if version is None:
        return f"No moedesk in the kernel's Python: {install} moedesk=={__version__}, then restart the kernel"
    protocol = about.get("protocol")
    if protocol is None or protocol < PROTOCOL:
        cure = f"{install} -U moedesk=={__version__}"
        return (
            f"The kernel's moedesk {version} is too old for this app ({__version__}): {cure}, then restart the kernel"
        )
    if protocol != PROTOCOL:
        here = f"{shlex.quote(sys.executable)} -m pip install -U moedesk=={version}"
        return f"The kernel's moedesk {version} is too new for this app ({__version__}): {here}, then restart the app"
    if missing and not missing.startswith("moedesk"):
        return f"The kernel's Python lacks {missing}: {install} {missing.split('.')[0]}, then restart the kernel"
    if about.get("error"):
        return f"The kernel's moedesk could not greet: {about['error']}"
    return "" if about.get("address") else "The kernel's moedesk gave no address for the routing; restart the kernel"
