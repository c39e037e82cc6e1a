"""What a kernel sends, kept until the window has time for it; what there is no room for is counted."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LINES = 10_000
"""Lines of output that wait, and that the console keeps."""
LINE_LENGTH = 4_000
"""Characters of a line that are shown; a text widget takes seconds to lay out a line of a million."""
_RESET = "\x1b[0m"

Message = dict[str, Any]


@dataclass
class _Text:
    """Output of one stream of one cell, taken together although it came in many messages."""

    channel: str
    message: Message
    name: str
    cell: str
    lines: deque[str] = field(default_factory=deque)
    left_out: int = 0


class MessageQueue:
    """Collects messages from the threads that receive them; the window takes as many as it can draw.

    Stream texts that follow one another become one message. When more than ``LINES`` lines wait, the oldest go, and a line in
    their place says how many. An ``execute_reply`` waits until all output of its cell was taken: it comes on another socket
    than the output, and brings the next prompt.

    Parameters
    ----------
    wake : callable
        Called from any thread when something came while nothing was waiting.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[_Text | tuple[str, Message]] = deque()
        self._waiting_lines = 0
        self._replies: dict[str, Message] = {}
        self._idle: deque[str] = deque(maxlen=100)  # cells whose last output was taken or is waiting
        self._clip = LineClip()

    def __len__(self) -> int:
        """Count what waits to be taken."""
        with self._lock:
            return len(self._waiting)

    def put(self, channel: str, message: Message) -> None:
        """Add a message of a channel; any thread."""
        with self._lock:
            was_empty = not self._waiting
            self._add(channel, message)
            wakes = was_empty and bool(self._waiting)
        if wakes:
            self._wake()

    def take(self, lines: int) -> list[tuple[str, Message]]:
        """Take the messages that come next, with that many lines of stream text at most, or one other message."""
        taken: list[tuple[str, Message]] = []
        with self._lock:
            while self._waiting and lines > 0:
                first = self._waiting[0]
                if isinstance(first, _Text):
                    text, count = self._cut(first, lines)
                    lines -= count
                    taken.append((first.channel, _with_text(first.message, text)))
                    if not first.lines:
                        self._waiting.popleft()
                else:
                    taken.append(first)
                    self._waiting.popleft()
                    break
        return taken

    def clear(self) -> None:
        """Throw away what waits."""
        with self._lock:
            self._waiting.clear()
            self._replies.clear()
            self._waiting_lines = 0

    def _add(self, channel: str, message: Message) -> None:
        kind, cell = message["header"]["msg_type"], message["parent_header"].get("msg_id", "")
        if kind == "stream":
            self._add_text(channel, message, cell)
        elif kind == "execute_reply" and cell not in self._idle:
            self._replies[cell] = message
        else:
            self._waiting.append((channel, message))
            if kind == "status" and message["content"].get("execution_state") == "idle":
                self._idle.append(cell)
                reply = self._replies.pop(cell, None)
                if reply is not None:
                    self._waiting.append(("shell", reply))

    def _add_text(self, channel: str, message: Message, cell: str) -> None:
        name = message["content"].get("name", "")
        last = self._waiting[-1] if self._waiting else None
        if not isinstance(last, _Text) or (last.name, last.cell) != (name, cell):
            last = _Text(channel, message, name, cell)
            self._waiting.append(last)
        new = self._clip.feed(message["content"].get("text", "")).splitlines(keepends=True)
        last.lines.extend(new)
        self._waiting_lines += len(new)
        if self._waiting_lines > LINES:
            self._leave_out(self._waiting_lines - LINES)

    def _leave_out(self, count: int) -> None:
        for entry in self._waiting:
            if isinstance(entry, _Text):
                gone = min(count, max(len(entry.lines) - 1, 0))
                for _ in range(gone):
                    entry.lines.popleft()
                entry.left_out += gone
                count -= gone
                self._waiting_lines -= gone
            if not count:
                return

    def _cut(self, entry: _Text, limit: int) -> tuple[str, int]:
        """Take lines off an entry; return their text and number."""
        count = min(limit, len(entry.lines))
        text = "".join(entry.lines.popleft() for _ in range(count))
        self._waiting_lines -= count
        if entry.left_out:
            text = f"{_RESET}… {entry.left_out:,} lines left out: they came faster than they can be shown\n{text}"
            entry.left_out = 0
        return text, count


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


def _with_text(message: Message, text: str) -> Message:
    return {**message, "content": {**message["content"], "text": text}}
