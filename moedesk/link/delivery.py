"""The thread that hands what came over a link to its receiver, which may take its time."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from moedesk.core.live import Counters
from moedesk.link.message import Message
from moedesk.link.model_json import model_from_json
from moedesk.link.protocol import CREDITED, WINDOW, LinkError
from moedesk.link.receiver import Receiver
from moedesk.link.routes import decode_batch
from moedesk.link.steps import decode_step
from moedesk.link.texts import decode_texts

_TELL_BYTES = WINDOW // 4
"""Each time the server is told wakes two threads here and one there."""


class Delivery:
    """Calls a receiver for each message, in order, from a thread of its own; ``lost`` is the last call.

    What waits here is bounded by the window that the server keeps to.

    Parameters
    ----------
    receiver : Receiver
    progressed : callable
        Told when ``take`` is worth calling, or the delivery failed; from the delivery's thread.

    Attributes
    ----------
    failure : str
        Why it delivers no more, in one line; empty while all is well.
    """

    def __init__(self, receiver: Receiver, progressed: Callable[[], None]) -> None:
        self._receiver = receiver
        self._progressed = progressed
        self._messages: SimpleQueue[Message | str] = SimpleQueue()
        self._delivered = 0  # bytes; written by this thread
        self._told = 0  # bytes; written by the link's thread
        self.failure = ""
        self._thread = threading.Thread(target=self._run, name="moedesk-link-delivery", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Deliver a message after those before it."""
        self._messages.put(message)

    def finish(self, reason: str) -> None:
        """After everything before it, say that the link is lost, and why; with no reason say nothing."""
        self._messages.put(reason)

    def join(self) -> None:
        """Wait for the thread's end, unless this is it."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def take(self, everything: bool = False) -> int:
        """Return how many bytes were delivered that the server wasn't told of; 0 if it isn't worth telling."""
        due = self._delivered - self._told
        if due < _TELL_BYTES and not everything:
            return 0
        self._told += due
        return due

    def _run(self) -> None:
        while isinstance(message := self._messages.get(), Message):
            if self.failure:
                continue
            try:
                self._deliver(message)
            except LinkError as error:
                self._fail(f"the kernel sent {error}; restart it to connect anew")
            except Exception as error:  # whatever a receiver raises ends this link, and is said
                self._fail(f"what came from the kernel could not be taken: {type(error).__name__}: {error}")
            if message.kind in CREDITED:
                self._delivered += message.nbytes
                if self._delivered - self._told >= _TELL_BYTES:
                    self._progressed()
        reason = self.failure or message
        if reason:
            self._receiver.lost(str(reason))

    def _fail(self, line: str) -> None:
        self.failure = line
        self._progressed()

    def _deliver(self, message: Message) -> None:
        fields = message.fields
        match message.kind:
            case "batch":
                self._receiver.arrived(fields["stream"], decode_batch(message))
            case "stepped":
                self._receiver.stepped(fields["stream"], decode_step(message))
            case "counted":
                self._receiver.counted(fields["stream"], _counters(fields["counters"]))
            case "texts":
                self._receiver.texts(fields["stream"], *decode_texts(message))
            case "opened":
                self._receiver.opened(fields["stream"], fields["name"])
            case "described":
                if "json" not in message.arrays:
                    raise LinkError("a model without a description")
                self._receiver.described(fields["stream"], model_from_json(message.arrays["json"].tobytes()))
            case "noted":
                self._receiver.noted(fields["stream"], fields["line"])
            case "ended":
                self._receiver.ended(fields["stream"])
            case "revealed":
                self._receiver.revealed(fields["place"])
            case "answered":
                self._receiver.answered(fields["request"], fields["text"], fields["ok"])
            case "told":
                self._receiver.told(fields["topic"], fields["value"], fields["stream"])
            case "progress":
                self._receiver.progressed(fields["request"], fields["share"], fields["text"])
            case "finished":
                self._receiver.finished(
                    fields["request"], fields["ok"], fields["text"], fields["value"], message.arrays
                )
            case "explained":
                self._receiver.explained(fields["stream"], fields["value"], message.arrays)
            case "welcome":
                self._receiver.connected(fields)


def _counters(fields: dict[str, object]) -> Counters:
    known = {name: value for name, value in fields.items() if name in Counters.__dataclass_fields__}
    if not all(type(value) is int for value in known.values()):
        raise LinkError("counters that are no numbers")
    return Counters(**known)  # type: ignore[arg-type]
