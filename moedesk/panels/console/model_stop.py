"""What the console knows of a model that stands at a breakpoint: its prompt, its commands, the lines typed there."""

from dataclasses import dataclass, field

PROMPT = "stopped at "
"""How the prompt of a stop begins."""
HINT = (
    "Stopped: c resume (F8) · n next token (F10) · s next layer (F11) · w where · q quit the cell · h help; "
    "anything else is Python: token, layer, expert, ids, weights, logits, hidden, $0 …"
)
NO_PROMPT = (
    "Stopped in a cell that this console didn't start: go on with F8, F10 or F11; what is typed here runs after it"
)


def is_stop_prompt(prompt: str) -> bool:
    """Whether a prompt is that of a model which stands at a breakpoint."""
    return prompt.startswith(PROMPT)


def stop_hint(stopped: bool, prompt: bool) -> str:
    """Return what can be typed while a model stands; empty while none does.

    Parameters
    ----------
    stopped : bool
        Whether the kernel's model stands at a breakpoint.
    prompt : bool
        Whether this console shows its prompt.
    """
    return HINT if prompt else NO_PROMPT if stopped else ""


@dataclass
class LineHistory:
    """Lines typed at stops, to be walked through with Up and Down.

    Attributes
    ----------
    lines : list of str
        The oldest first; the same one twice in a row once.
    """

    lines: list[str] = field(default_factory=list)
    _place: int = 0  # the length of ``lines`` is the line being typed
    _draft: str = ""

    def add(self, line: str) -> None:
        """Take a line that was sent."""
        line = line.rstrip()
        if line and self.lines[-1:] != [line]:
            self.lines.append(line)
        self._place, self._draft = len(self.lines), ""

    def step(self, by: int, typed: str) -> str:
        """Return the line before (-1) or after (1) the one on show; ``typed`` is what stands at the prompt now."""
        if self._place == len(self.lines):
            self._draft = typed
        self._place = min(max(self._place + by, 0), len(self.lines))
        return self.lines[self._place] if self._place < len(self.lines) else self._draft
