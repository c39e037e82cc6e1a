"""What both ends of a link agree on: version, kinds of messages and their fields, sizes."""

from collections.abc import Mapping
from typing import Any

from moedesk.core.errors import MoedeskError

PROTOCOL = 4
"""Two ends with different numbers refuse each other."""

WINDOW = 16 << 20
"""Bytes on their way to a client that it has not yet taken; more are sent only when it says it took some."""
HIGH_WATER = 64 << 20
"""Bytes that wait for a client or are on their way to it; above, a pass is shed to its counts."""
HARD_LIMIT = 128 << 20
"""Above, a pass is dropped."""
MAX_PASS = 1 << 30
"""A larger pass is always shed."""
MAX_HEADER = 4 << 20
MAX_REQUEST = 64 << 20
"""The largest message that a client may send."""
MAX_ANSWER = 64 << 20
"""The largest answer to a task: it overtakes routing, and nothing bounds how much of it is on its way."""
PING_SECONDS = 1.0
GOODBYE_SECONDS = 1.0
"""How long a client that leaves reads on, for what is on its way and the goodbye that follows it."""

Fields = Mapping[str, type]

# The first words of both sides keep their fields in every version, so that two versions can tell each other what to do.
TO_CLIENT: Mapping[str, Fields] = {
    "welcome": {"protocol": int, "moedesk": str},
    "refused": {"reason": str},
    "pong": {},
    "opened": {"stream": int, "name": str},
    "described": {"stream": int},
    "texts": {"stream": int},
    "batch": {"stream": int, "streams": list, "groups": list},
    "stepped": {"stream": int, "layers": list, "experts": list},
    "noted": {"stream": int, "line": str},
    "counted": {"stream": int, "counters": dict},
    "ended": {"stream": int},
    "closed": {},
    "goodbye": {},
    "revealed": {"place": dict},
    "answered": {"request": int, "text": str, "ok": bool},
    "told": {"topic": str, "value": dict, "stream": int},
    "progress": {"request": int, "share": float, "text": str},
    "finished": {"request": int, "ok": bool, "text": str, "value": dict},
    "explained": {"stream": int, "value": dict},
}
"""Kinds a server sends."""

CREDITED = frozenset({"opened", "described", "texts", "batch", "stepped", "noted", "counted", "ended", "closed"})
"""Kinds sent in order, within the client's window; the others overtake them."""

REQUESTS: Mapping[str, Fields] = {
    "record": {"stream": int, "on": bool},
    "selection": {"history": list},
    "evaluate": {"request": int, "text": str},
    "order": {"topic": str, "value": dict},
    "task": {"request": int, "name": str, "value": dict},
}
"""Kinds for which a server may have a handler."""

TO_SERVER: Mapping[str, Fields] = {
    "hello": {"protocol": int, "moedesk": str},
    "ping": {},
    "taken": {"bytes": int},
    "bye": {},
    **REQUESTS,
}
"""Kinds a client sends."""


class LinkError(MoedeskError):
    """A link cannot be made, or what came over it makes no sense; one line that says what to do."""


def check_fields(kind: str, fields: Mapping[str, Any], kinds: Mapping[str, Fields]) -> None:
    """Refuse a message of an unknown kind, or without a field that its kind needs; more fields are let pass.

    Raises
    ------
    LinkError
    """
    if kind not in kinds:
        raise LinkError(f"a message of unknown kind {kind[:40]!r}")
    for name, wanted in kinds[kind].items():
        value = fields.get(name)
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise LinkError(f"a message {kind!r} without a proper {name!r}")


def mismatch(app: tuple[int, str], kernel: tuple[int, str]) -> str:
    """Return the line that names the cure for two versions that don't go together.

    Parameters
    ----------
    app, kernel : (protocol, moedesk version)
    """
    (app_protocol, app_version), (kernel_protocol, kernel_version) = app, kernel
    kernel_older = kernel_protocol < app_protocol
    cure = f"pip install -U moedesk=={app_version if kernel_older else kernel_version}"
    where = "the kernel's Python, then restart the kernel" if kernel_older else "the app's Python, then start it again"
    return (
        f"the app's moedesk {app_version} (link protocol {app_protocol}) and the kernel's {kernel_version} "
        f"(link protocol {kernel_protocol}) don't go together: run `{cure}` in {where}"
    )
