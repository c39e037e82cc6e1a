"""What a kernel sends, kept until the window has time for it; what there is no room for is counted."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LINES = 5_000
"""Lines of output that wait, and that the console keeps: to take some away costs 2 ms for each thousand that stay."""
LINE_LENGTH = 4_000
"""Characters of a line that are shown; a text widget takes seconds to lay out a line of a million."""
ENTRIES = 300
"""Messages that wait, pictures among them: a hidden console takes none."""
_PATIENCE, _QUIET = 1.0, 0.5
"""Seconds that a reply waits for the end of its cell's output, and for which nothing must have come."""
_RESET = "\x1b[0m"
_OUTPUTS = ("execute_result", "display_data", "update_display_data", "error")

Message = dict[str, Any]


@dataclass
class _Text:
    """Output of one stream of one cell, taken together although it came in many messages."""

    message: Message
    name: str
    cell: str
    lines: deque[str] = field(default_factory=deque)


class MessageQueue:
    """Collects messages from the threads that receive them; the window takes as many as it can draw.

    Stream texts that follow one another become one message. When more than ``LINES`` lines or ``ENTRIES`` messages wait, the
    oldest go, and a line in their place says how many. What other clients of the kernel run is left to them. An
    ``execute_reply`` waits until all output of its cell was taken: it comes on another socket than the output, and brings the
    next prompt.

    Parameters
    ----------
    wake : callable
        Called from any thread when something came while nothing was waiting.

    Attributes
    ----------
    session : str
        The Jupyter session whose output is taken; empty for all.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.session = ""
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[_Text | tuple[str, Message]] = deque()
        self._lines = 0
        self._replies: dict[str, tuple[float, Message]] = {}
        self._heard_at = 0.0
        self._idle: deque[str] = deque(maxlen=100)  # cells whose last output was taken or is waiting
        self._clip = LineClip()
        self._lines_gone = self._outputs_gone = 0
        self._gone: Message = {}  # one of what was left out

    def __len__(self) -> int:
        """Count what waits to be taken."""
        with self._lock:
            return len(self._waiting)

    @property
    def settled(self) -> bool:
        """Whether nothing waits, not even a reply for its cell's last output."""
        with self._lock:
            return not self._waiting and not self._replies

    def put(self, channel: str, message: Message) -> None:
        """Add a message of a channel; any thread."""
        with self._lock:
            self._heard_at = time.monotonic()
            was_empty = not self._waiting and not self._replies
            self._add(channel, message)
            while len(self._waiting) > ENTRIES and self._drop_oldest():
                pass
            wakes = was_empty and bool(self._waiting or self._replies)
        if wakes:
            self._wake()

    def take(self, lines: int) -> list[tuple[str, Message]]:
        """Take the messages that come next, with that many lines of stream text at most, or one other message."""
        with self._lock:
            self._release()
            taken = self._gap()
            while self._waiting and lines > 0:
                first = self._waiting[0]
                if isinstance(first, tuple):
                    taken.append(first)
                    self._waiting.popleft()
                    break
                count = min(lines, len(first.lines))
                taken.append(("iopub", _stream(first.message, "".join(first.lines.popleft() for _ in range(count)))))
                self._lines -= count
                lines -= count
                if not first.lines:
                    self._waiting.popleft()
        return taken

    def shorten(self, lines: int) -> None:
        """Keep the last lines only of what waits."""
        with self._lock:
            self._leave_out(self._lines - lines)

    def _add(self, channel: str, message: Message) -> None:
        kind, parent = message["header"]["msg_type"], message["parent_header"]
        cell = parent.get("msg_id", "")
        if self.session and parent.get("session", self.session) != self.session and kind != "status":
            return
        if kind == "stream":
            self._add_text(message, cell)
        elif kind == "execute_reply" and cell not in self._idle:
            self._replies[cell] = (time.monotonic(), message)
        else:
            self._waiting.append((channel, message))
            if kind == "status" and message["content"].get("execution_state") == "idle":
                self._idle.append(cell)
                if cell in self._replies:
                    self._waiting.append(("shell", self._replies.pop(cell)[1]))

    def _release(self) -> None:
        """Let replies go whose last output got lost on the way, as it may in a flood, or the prompt would never come."""
        now = time.monotonic()
        if now - self._heard_at > _QUIET:
            for cell in [cell for cell, (came, _) in self._replies.items() if now - came > _PATIENCE]:
                self._waiting.append(("shell", self._replies.pop(cell)[1]))

    def _add_text(self, message: Message, cell: str) -> None:
        name = message["content"].get("name", "")
        last = self._waiting[-1] if self._waiting else None
        if not isinstance(last, _Text) or (last.name, last.cell) != (name, cell):
            last = _Text(message, name, cell)
            self._waiting.append(last)
        new = self._clip.feed(message["content"].get("text", "")).splitlines(keepends=True)
        last.lines.extend(new)
        self._lines += len(new)
        self._leave_out(self._lines - LINES)

    def _leave_out(self, count: int) -> None:
        """Drop the oldest lines."""
        for entry in self._waiting:
            if count <= 0:
                return
            if isinstance(entry, _Text):
                gone = min(count, len(entry.lines))
                for _ in range(gone):
                    entry.lines.popleft()
                self._gone = entry.message
                self._lines_gone += gone
                self._lines -= gone
                count -= gone

    def _drop_oldest(self) -> bool:
        """Drop the oldest output; replies stay, as somebody waits for them."""
        for place, entry in enumerate(self._waiting):
            if isinstance(entry, _Text):
                self._lines_gone += len(entry.lines)
                self._lines -= len(entry.lines)
                self._gone = entry.message
            elif entry[0] == "iopub":
                self._outputs_gone += entry[1]["header"]["msg_type"] in _OUTPUTS
                self._gone = entry[1]
            else:
                continue
            del self._waiting[place]
            return True
        return False

    def _gap(self) -> list[tuple[str, Message]]:
        """Return the message that says what was left out, if anything was."""
        counts = ((self._lines_gone, "lines"), (self._outputs_gone, "outputs"))
        said = " and ".join(f"{count:,} {what}" for count, what in counts if count)
        if not said:
            return []
        self._lines_gone = self._outputs_gone = 0
        return [("iopub", _stream(self._gone, f"{_RESET}… {said} left out: they came faster than they were shown …\n"))]


class LineClip:
    """Shortens long lines, though they may come in pieces."""

    def __init__(self) -> None:
        self._length = 0  # of the line that is not finished
        self._cut = 0  # characters left out of it

    def feed(self, text: str) -> str:
        """Return ``text`` without what makes a line longer than ``LINE_LENGTH``; the line then says how much is missing."""
        pieces = []
        for line in text.splitlines(keepends=True):
            body = line.rstrip("\r\n")
            end = line[len(body) :]
            kept = body[: max(LINE_LENGTH - self._length, 0)]
            self._length += len(kept)
            self._cut += len(body) - len(kept)
            pieces.append(kept)
            if end:
                if self._cut:
                    pieces.append(f"{_RESET}… {self._cut:,} characters left out")
                pieces.append(end)
                self._length = self._cut = 0
        return "".join(pieces)


def clip(text: str) -> str:
    """Return a complete text with long lines shortened and no more than ``LINES`` lines."""
    lines = LineClip().feed(text if text.endswith("\n") else text + "\n").splitlines(keepends=True)
    if len(lines) > LINES:
        lines = [f"… {len(lines) - LINES:,} lines left out\n", *lines[-LINES:]]
    joined = "".join(lines)
    return joined if text.endswith("\n") else joined[:-1]


def _stream(message: Message, text: str) -> Message:
    """Return output of the same cell as another message."""
    header = {**message["header"], "msg_type": "stream"}
    content = {"name": message["content"].get("name", "stdout"), "text": text}
    return {**message, "header": header, "msg_type": "stream", "content": content}
