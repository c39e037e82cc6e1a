"""How far a long task is, in a line that rewrites itself: in terminals, notebooks and qtconsole alike."""

import sys
import time
from typing import TextIO

EVERY = 0.1
"""Seconds between two rewrites."""


class ProgressLine:
    """Call it with the share that is done, 0 to 1; ``done`` ends the line.

    Text with a carriage return rather than a widget: a bar of ``tqdm`` needs ipywidgets in a notebook, and its text goes to
    stderr, which qtconsole takes for an error. Where text can't be rewritten (a file, a pipe) only the end is written.

    Parameters
    ----------
    what : str
        What is done: ``loading mixtral``.
    of : str
        What the shares are of, if that isn't said with each.
    out : text file
        Standard output if left out.
    """

    def __init__(self, what: str, of: str = "", out: TextIO | None = None) -> None:
        self.what = what
        self._of = of
        self._out = out or sys.stdout
        self._rewrites = self._out.isatty() or type(self._out).__module__.startswith("ipykernel")
        self._started = time.monotonic()
        self._shown = -EVERY
        self._width = 0

    def __call__(self, share: float, of: str = "") -> None:
        """Write how far it is, at most ten times a second; ``of`` says what is done just now."""
        seconds = time.monotonic() - self._started
        if self._rewrites and seconds - self._shown >= EVERY:
            self._shown = seconds
            self._write(f"{self.what}: {share:.0%} {of or self._of} · {seconds:.0f} s")

    def done(self, text: str) -> None:
        """Write what was done in place of how far it was."""
        self._write(f"{text} · {time.monotonic() - self._started:.1f} s")
        self._out.write("\n")
        self._out.flush()

    def stop(self) -> None:
        """Leave the line as it is, and go to the next."""
        if self._width:
            self._out.write("\n")
            self._out.flush()

    def _write(self, text: str) -> None:
        start = "\r" if self._width else ""
        self._out.write(start + text.ljust(self._width))
        self._out.flush()
        self._width = max(self._width, len(text))
