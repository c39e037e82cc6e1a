"""Live expressions: evaluated beside the user's cells, one at a time, each answered with a short text."""

import threading
from collections.abc import Callable, Hashable
from typing import Any

from moedesk.probe.console.dollars import expand
from moedesk.probe.console.shorten import shorten

ERROR_LIMIT = 300
"""Characters of an error."""

Answer = Callable[[str, bool], None]
"""Takes the value or the error as text, and whether it is a value."""


class Expressions:
    """Evaluates expressions in a namespace, on a thread of its own: they answer while a cell runs, and hold nothing up.

    The thread starts with the first question. Of one that waits, only the newest version is evaluated.

    Parameters
    ----------
    namespace : dict
        The user's.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._waiting: dict[Hashable, tuple[str, Answer]] = {}
        self._change = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def ask(self, question: Hashable, text: str, answer: Answer) -> None:
        """Have an expression evaluated; ``answer`` is called on the expressions' thread.

        Parameters
        ----------
        question : hashable
            Who asks what; a newer text for the same question takes the place of one that waits.
        """
        with self._change:
            if self._closing:
                return
            self._waiting[question] = text, answer
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="moedesk-expressions", daemon=True)
                self._thread.start()
            self._change.notify()

    def close(self) -> None:
        """Answer nothing more; an evaluation that goes on is left to itself."""
        with self._change:
            self._closing = True
            self._waiting.clear()
            self._change.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1)

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                question = next(iter(self._waiting))
                text, answer = self._waiting.pop(question)
            answer(*evaluate(text, self._namespace))


def evaluate(text: str, namespace: dict[str, Any]) -> tuple[str, bool]:
    """Return the value of an expression as a short text and True, or its error in one line and False.

    ``$0`` … ``$4`` and ``$_`` work as in a cell. Not in a GPU's memory: see ``shorten``.
    """
    try:
        code = compile(expand(text.strip()), "<live expression>", "eval")
        return _sendable(shorten(eval(code, namespace))), True
    except BaseException as error:  # SystemExit too: an expression ends nothing
        lines = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        return _sendable(reason[:ERROR_LIMIT]), False


def _sendable(text: str) -> str:
    """Text without halves of surrogate pairs, which can't be encoded."""
    return text.encode(errors="backslashreplace").decode()
